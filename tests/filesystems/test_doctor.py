"""doctor on a place without a plan: what its file system lacks, and how late two hosts see it."""

import errno
import os
import re
import subprocess
import sys

import pytest

from tbseg_ops.hosts.doctor import doctor_of_place
from tbseg_ops.settings import SEEN_WITHIN
from tests.filesystems.mounts import NEEDED, mounted
from tests.runs import command, last_json, tbseg

pytestmark = NEEDED


@pytest.mark.parametrize(
    ("behaviour", "check", "state", "mend"),
    [
        ({"always": {"flock": errno.ENOLCK}}, "write, rename, lock", "bad", "local_lock"),
        ({"always": {"create": errno.EROFS}}, "write, rename, lock", "bad", "rights"),
        ({"always": {"link": errno.EPERM}}, "hard links", "note", "copied"),
        ({"always": {"fsync": errno.EINVAL}}, "fsync of a file", "note", "power cut"),
        ({"always": {"fsyncdir": errno.EINVAL}}, "fsync of a folder", "note", "power cut"),
        ({"caseless": True}, "case of names", "note", "never differ"),
    ],
)
def test_what_is_lacking_has_its_line(behaviour, check, state, mend, tmp_path):
    with mounted(tmp_path / "backing", tmp_path / "mount", behaviour) as mount:
        found = doctor_of_place(place=mount)
        rows = {row.check: row for row in found.rows}
        assert rows[check].state == state
        assert mend in rows[check].mend
        assert found.fit == (state != "bad")
        if "create" not in str(behaviour):
            others = [row for row in found.rows if row.check != check]
            assert {row.state for row in others} == {"good"}
    assert list((tmp_path / "backing").iterdir()) == []


def test_a_place_that_has_all(tmp_path):
    answer = last_json(tbseg("doctor", "--place", tmp_path, "--json"))
    assert {row["state"] for row in answer["rows"]} == {"good"}
    assert list(tmp_path.iterdir()) == []


def test_how_late_two_hosts_see_each_other_is_measured(tmp_path):
    places = [tmp_path / "a", tmp_path / "b"]
    late = {"late": 1}
    with (
        mounted(tmp_path / "backing", places[0], late),
        mounted(tmp_path / "backing", places[1], late),
    ):
        started = [
            subprocess.Popen(
                command("doctor", "--place", place, "--hosts", "2"),
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, SEEN_WITHIN.name: "8"},
            )
            for place in places
        ]
        said = [process.communicate(timeout=100)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    seen = [float(re.search(r"is seen here after (\d+\.\d) s", text)[1]) for text in said]
    assert 0.1 < max(seen) < 8
    assert list((tmp_path / "backing").iterdir()) == []


def test_caches_that_are_longer_than_what_is_waited_are_bad(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys.modules["tbseg_ops.hosts.doctor"], "meet", lambda folder, hosts: {"node7": 12.2}
    )
    found = doctor_of_place(place=tmp_path, hosts=2)
    row = next(row for row in found.rows if row.check == "other hosts")
    assert (row.state, found.fit) == ("bad", False)
    assert row.found == "what node7 writes is seen here after 12.2 s"
    assert "actimeo=1" in row.mend
    assert f"{SEEN_WITHIN.name}=25" in row.mend


def test_hosts_that_do_not_come_are_said(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["tbseg_ops.hosts.meeting"], "_COMING", 0.1)
    monkeypatch.setattr(sys.modules["tbseg_ops.hosts.meeting"], "seen_within", lambda path: -1.0)
    monkeypatch.setattr(sys.modules["tbseg_ops.hosts.meeting"], "_LEAST", 0.1)
    row = next(r for r in doctor_of_place(place=tmp_path, hosts=3).rows if r.check == "other hosts")
    assert (row.state, row.found) == ("bad", "not all hosts are seen in the folder: none")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [[], ["--run=a", "--place=b"], ["--run=a", "--hosts=2"]])
def test_either_a_run_or_a_place(words):
    done = tbseg("doctor", *words)
    assert done.returncode == 2
