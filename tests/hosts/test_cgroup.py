"""Memory that a control group leaves, of both versions."""

import pytest

from tbseg_ops.hosts.cgroup import memory_left

GIB = 1 << 30


def group(folder, names, limit, used, cache):
    folder.mkdir(parents=True, exist_ok=True)
    values = (limit, used, f"anon 5\n{names[2]} {cache}\n")
    for name, value in zip((*names[:2], "memory.stat"), values, strict=True):
        (folder / name).write_text(f"{value}".removesuffix("\n") + "\n")


V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


@pytest.fixture
def said(tmp_path):
    def say(text):
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(text)
        return tmp_path / "sys/fs/cgroup"

    return say


def test_a_pod_sees_its_own_group_as_the_top(tmp_path, said):
    group(said("0::/\n"), V2, 4 * GIB, GIB, GIB // 2)
    assert memory_left(tmp_path) == 4 * GIB - GIB + GIB // 2


def test_the_tightest_of_the_groups_above_counts(tmp_path, said):
    top = said("0::/jobs/step\n")
    group(top / "jobs/step", V2, "max", GIB, 0)
    group(top / "jobs", V2, 2 * GIB, GIB, 0)
    assert memory_left(tmp_path) == GIB


def test_version_1(tmp_path, said):
    top = said("5:cpu,cpuacct:/x\n4:memory:/kubepods/pod1\n0::/\n") / "memory"
    group(top, V1, 9223372036854771712, 50 * GIB, 0)
    group(top / "kubepods/pod1", V1, 4 * GIB, 3 * GIB, GIB)
    assert memory_left(tmp_path) == 2 * GIB


def test_version_1_where_only_the_top_is_mounted(tmp_path, said):
    """As in a container that shares the names of its node."""
    group(said("4:memory:/kubepods/pod1\n") / "memory", V1, 4 * GIB, GIB, 0)
    assert memory_left(tmp_path) == 3 * GIB


@pytest.mark.parametrize("text", ["", "0::/\n", "4:cpu:/\n"])
def test_no_limit(tmp_path, said, text):
    group(said(text), V2, "max", GIB, 0)
    assert memory_left(tmp_path) is None
