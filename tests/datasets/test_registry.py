"""The registry: what is written is read again, what is wrong is refused with its name."""

import contextlib
import os
import sys
import threading

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tbseg_ops import datasets
from tbseg_ops.datasets import Dataset, Runs
from tbseg_ops.errors import ConfigError
from tbseg_ops.processes.identity import Process
from tests.runs import spec_of


def test_what_is_added_is_read_again(dataset, tmp_path, registry):
    assert datasets.names() == ()
    full = Dataset.of(
        owner="lab of A. Nobody",
        schedule=True,
        runs=str(tmp_path / "others"),
        backend="ssh",
        threads=2,
        workers=8,
        approval_hours=12.5,
        spec=spec_of("/d/s.h5:/raw", mask="/d/mask", probabilities=("a", "b")).model_dump(),
        retention={"keep_runs": 7, "keep_sub_volumes": True},
    )
    datasets.add("brain.1", dataset)
    datasets.add("Brain_2", full)
    assert datasets.names() == ("Brain_2", "brain.1")
    assert datasets.get("brain.1") == dataset
    assert datasets.get("Brain_2") == full
    assert sorted(os.listdir(registry)) == [".lock", "Brain_2.toml", "brain.1.toml"]


def test_a_name_is_taken_until_it_is_replaced_or_removed(dataset):
    datasets.add("brain", dataset)
    changed = dataset.model_copy(update={"threads": 4})
    with pytest.raises(ConfigError, match="there is a dataset of that name"):
        datasets.add("brain", changed)
    assert datasets.get("brain") == dataset
    datasets.add("brain", changed, replace=True)
    assert datasets.get("brain") == changed
    datasets.remove("brain")
    assert datasets.names() == ()
    for call in (datasets.get, datasets.remove):
        with pytest.raises(ConfigError, match="no such dataset"):
            call("brain")


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../x", "a/b", "/etc/x", "a\0b", "a\nb", "a\n", ".hidden", "-x", "ä"),
        *("a" * 101, "a" * 100_000, "$(id)", "a b"),
    ],
    ids=lambda name: ascii(name[:12]),
)
def test_hostile_names_never_become_a_path(name, dataset, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    for call in (
        lambda: datasets.add(name, dataset),
        lambda: datasets.add(name, dataset, replace=True),
        lambda: datasets.get(name),
        lambda: datasets.remove(name),
    ):
        with pytest.raises(ConfigError, match="no name for a dataset") as caught:
            call()
        assert len(str(caught.value)) < 1000
    assert sorted(tmp_path.rglob("*")) == before


GOOD = """
schema_version = 1
owner = "me"
runs = "/data/runs"
[spec]
volume = "/data/slices"
classifier = "/data/c.ilp"
"""


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (GOOD.replace("owner", "ownr"), "owner: Field required"),
        (GOOD.replace('"me"', '"a\\u0000b"'), "owner: "),
        (GOOD.replace("= 1", "= 2"), "schema_version: "),
        (GOOD.replace("/data/runs", "runs"), "runs: .*absolute"),
        (GOOD.replace("/data/runs", "/data/../runs"), r"runs: .*\.\."),
        (GOOD + "tile = [0, 1, 1]\n", "spec.tile.0: "),
        (GOOD + "[retention]\nkeep_runs = 0\n", "retention.keep_runs: "),
        (GOOD + "[resources]\n", "resources: Extra"),
        (GOOD + "x =\n", "damaged"),
        ("x = " + "[" * 100_000, "damaged"),
        ("\udcff\udcfe", "damaged"),
        ("", "owner: Field required"),
        (GOOD + "#" * 300_000, "not a file of tbseg"),
    ],
)
def test_a_wrong_file_is_named_with_its_field(text, named, registry):
    registry.mkdir()
    path = registry / "x.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert datasets.names() == ("x",)
    with pytest.raises(ConfigError, match=named) as caught:
        datasets.get("x")
    assert caught.value.file == str(path)
    assert caught.value.mend


def test_the_good_text_is_good(registry):
    registry.mkdir()
    (registry / "x.toml").write_text(GOOD)
    assert datasets.get("x").spec.volume == "/data/slices"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(), st.text().map(str.encode), st.sampled_from(GOOD.split("\n"))))
@example(data=b"threads = " + b"9" * 10_000)
def test_any_bytes_give_an_error_of_the_project_or_a_dataset(data, registry):
    registry.mkdir(exist_ok=True)
    more = data if isinstance(data, bytes) else data.encode()
    for content in (more, GOOD.encode() + more, GOOD.encode().replace(b"me", more)):
        (registry / "x.toml").write_bytes(content)
        with contextlib.suppress(ConfigError):
            assert datasets.get("x").spec.volume == "/data/slices"


@pytest.mark.parametrize("odd", ["link", "dangling", "folder", "fifo"])
def test_a_link_or_device_in_the_registry_is_not_followed(odd, dataset, tmp_path, registry):
    datasets.add("good", dataset)
    path = registry / "x.toml"
    if odd == "link":
        path.symlink_to(registry / "good.toml")
    elif odd == "dangling":
        path.symlink_to(tmp_path / "nothing")
    elif odd == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(ConfigError, match="not a file of tbseg"):
        datasets.get("x")
    with pytest.raises(ConfigError, match="there is a dataset of that name"):
        datasets.add("x", dataset.model_copy(update={"runs": str(tmp_path / "x")}))
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("field", ["volume", "classifier", "mask", "runs"])
def test_paths_outside_of_the_roots_are_refused(field, tmp_path, monkeypatch):
    inside = {name: str(tmp_path / "in" / name) for name in ("volume", "classifier", "mask")}
    runs = str(tmp_path / "in" / "runs")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    outside = str(tmp_path / "in" / "link" / "out")
    good = Dataset.of(owner="me", runs=runs, spec=spec_of(inside.pop("volume"), **inside))
    bad = (
        good.model_copy(update={"runs": outside})
        if field == "runs"
        else good.model_copy(update={"spec": good.spec.model_copy(update={field: outside})})
    )
    datasets.add("bad", bad)
    monkeypatch.setenv("TBSEG_ROOTS", str(tmp_path / "in"))
    datasets.add("good", good)
    assert datasets.get("good") == good
    with pytest.raises(ConfigError, match="outside of the folders"):
        datasets.get("bad")
    with pytest.raises(ConfigError, match="outside of the folders"):
        datasets.add("bad", bad, replace=True)


def test_two_datasets_do_not_share_their_runs(dataset, tmp_path, registry):
    datasets.add("a", dataset)
    (tmp_path / "link").symlink_to(tmp_path)
    same = dataset.model_copy(update={"runs": str(tmp_path / "link" / "runs")})
    with pytest.raises(ConfigError, match="belongs to another dataset"):
        datasets.add("b", same)
    datasets.add("a", same, replace=True)
    (registry / "damaged.toml").write_text("x =")
    datasets.add("b", dataset.model_copy(update={"runs": str(tmp_path / "more")}))


def test_the_folder_of_runs_stays_while_a_run_is_going_on(dataset, tmp_path):
    datasets.add("a", dataset)
    other = dataset.model_copy(update={"runs": str(tmp_path / "more")})
    runs = Runs(tmp_path / "runs", "a")
    held = datasets.claim(runs, lambda: ("0001", ()), holder="me", process=Process.this())
    with pytest.raises(ConfigError, match="while a run is going on"):
        datasets.add("a", other, replace=True)
    datasets.release(runs, held.token)
    datasets.add("a", other, replace=True)


def test_a_relative_registry_is_refused(monkeypatch):
    monkeypatch.setenv("TBSEG_DATASETS", "registry")
    with pytest.raises(ConfigError, match="registry is not known"):
        datasets.names()


def test_the_registry_is_below_home_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("TBSEG_DATASETS")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert datasets.registry_folder() == tmp_path / ".tbseg" / "datasets"


def test_of_two_who_want_one_folder_of_runs_at_once_one_gets_it(dataset, monkeypatch):
    """D14: both looked, and then both wrote."""
    module = sys.modules["tbseg_ops.datasets.registry"]
    check, barrier, found = module._check_runs, threading.Barrier(2), []

    def slowly(*of):
        check(*of)
        with contextlib.suppress(threading.BrokenBarrierError):
            barrier.wait(0.5)

    monkeypatch.setattr(module, "_check_runs", slowly)

    def attempt(name):
        try:
            found.append(datasets.add(name, dataset).stem)
        except ConfigError as error:
            found.append(error.what)

    both = [threading.Thread(target=attempt, args=(name,)) for name in ("one", "two")]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(datasets.names()) == 1
    assert "the folder of runs belongs to another dataset" in found
