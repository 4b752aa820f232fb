"""What is asked of the page: by whom is decided elsewhere; where one may pick, hostile names."""

import json
import os
import shlex
from pathlib import Path

import pytest

from tbseg_ops.errors import ConfigError
from tbseg_ops.look.desk import Job
from tbseg_ops.look.folders import listing
from tbseg_ops.look.site import LookSite, command
from tbseg_ops.look.subject import Subject
from tests.runs import VESSELS, spec_of, stack
from tests.view.serving import ask, told


def names(found):
    return [(entry["name"], entry["kind"]) for entry in found["entries"]]


def test_only_folders_and_usable_files_below_the_roots_are_listed(tmp_path):
    root, secret = tmp_path / "root", tmp_path / "secret"
    stack(root / "slices")
    (secret / "more").mkdir(parents=True)
    for name in ("c.ilp", "v.h5", "one.tif", "notes.txt", ".hidden.h5", "a\nb.h5", "<b>.h5"):
        (root / name).write_bytes(b"")
    (root / "v.zarr").mkdir()
    (root / "v.zarr" / ".zarray").write_text("{}")
    os.mkfifo(root / "pipe.h5")
    (root / "out").symlink_to(secret)
    (root / "out.h5").symlink_to(secret / "more")
    (root / "in").symlink_to(root / "slices")
    (root / "nowhere.h5").symlink_to(root / "nothing")
    found = listing(str(root), [root])
    assert names(found) == [
        *(("in", "folder"), ("slices", "folder")),
        *(("<b>.h5", "volume"), ("c.ilp", "classifier"), ("one.tif", "volume")),
        *(("v.h5", "volume"), ("v.zarr", "volume")),
    ]
    assert (found["parent"], found["slices"]) == ("", 1)
    inside = listing(str(root / "slices"), [root])
    assert (inside["slices"], inside["entries"], inside["parent"]) == (37, [], str(root))
    assert names(listing("", [root])) == [(str(root), "folder")]
    for path in (secret, root / "out", root / ".." / "secret", root / "v.h5", root / "gone", "/"):
        with pytest.raises(ConfigError, match="not one that can be looked at"):
            listing(str(path), [root])


def test_without_roots_nothing_is_shown(monkeypatch):
    monkeypatch.delenv("TBSEG_ROOTS", raising=False)
    answer = LookSite().get("api/folder", {"path": "/"})
    assert answer.status == 404
    assert "TBSEG_ROOTS is not set" in json.loads(answer.body)["error"]["what"]


def posted(path, value):
    return LookSite().post(path, value if isinstance(value, bytes) else json.dumps(value).encode())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("api/volume", b"no JSON"), ("api/volume", []), ("api/volume", {}), ("api/x", {})),
        ("api/volume", {"dataset": "brain"}),
        ("api/dataset", {"texts": {"volume": "/data"}}),  # it may name no path
        ("api/dataset", {"dataset": "../../etc/passwd"}),
        ("api/dataset", {"dataset": "brain", "texts": {"volume": "/data"}}),
        ("api/volume", {"texts": {"volume": "/data\0x"}}),
        ("api/volume", {"texts": {"volume": "/data", "tile": "1,1,1"}}),
        ("api/volume", {"texts": {"volume": "/data", "channel": "one"}}),
        ("api/volume", {"texts": {"volume": {"a": 1}}}),
        ("api/classes", {"texts": {"volume": "/data"}, "box": {"lo": [0, 0, 0]}}),
    ],
)
def test_what_makes_no_sense_starts_no_process(path, value, monkeypatch, tmp_path):
    monkeypatch.setenv("TBSEG_DATASETS", str(tmp_path))
    answer = posted(path, value)
    assert not isinstance(answer, Job)
    assert answer.status in (404, 409)
    assert json.loads(answer.body)["error"]["what"]


def test_a_dataset_is_looked_at_as_its_runs_read_it(monkeypatch, tmp_path):
    from tbseg_ops import datasets
    from tbseg_ops.datasets import Dataset

    monkeypatch.setenv("TBSEG_DATASETS", str(tmp_path / "registry"))
    spec = spec_of("/data/v", order="reversed", channel=1, mask="/data/m.h5")
    runs = str(tmp_path / "runs")
    datasets.add("brain", Dataset(owner="me", runs=runs, spec=spec))
    subject = Subject.of_dataset("brain")
    assert (subject.volume, subject.classifier) == ("/data/v", str(VESSELS.classifier))
    assert (subject.order, subject.channel, subject.mask) == ("reversed", 1, "/data/m.h5")
    assert LookSite().get("api/datasets", {}).body == b'["brain"]'


def test_the_command_is_the_one_to_type():
    assert command({"dataset": "brain"}) == "tbseg run --dataset brain"
    texts = {"volume": "/data/my brain", "classifier": "/c/v.ilp", "channel": "1"}
    texts |= {"channels_from": ["/data/a", "/data/$(b)"], "order": "reversed"}
    assert shlex.split(command(texts)) == [
        *("tbseg", "run", "--channels-from", "/data/a", "--channels-from", "/data/$(b)"),
        *("--channel", "1", "--order", "reversed", "/data/my brain", "/c/v.ilp"),
        "/data/my brain-v",
    ]


def test_over_http_only_with_the_token_and_within_bounds(tmp_path):
    from tests.look.serving import looked

    with looked(roots=[tmp_path], given={"volume": "/a/<b>"}) as server:
        assert told(server.url, "api/options")["given"] == {"volume": "/a/<b>"}
        assert told(server.url, "api/folder?path=")["entries"][0]["path"] == str(tmp_path)
        page = ask(server.url)[2].decode()
        assert "<b>" not in page
        assert "http" not in page.replace("http-equiv", "")  # nothing from elsewhere
        assert ask(server.url, "/x/api/volume", method="POST")[0] == 403
        assert ask(server.url, "api/volume", "POST", Host="evil.example")[0] == 403
        assert ask(server.url, "api/volume", "POST", **{"Content-Length": str(1 << 30)})[0] == 413
        assert ask(server.url, "api/volume", "POST")[0] == 409
        for name in Path("tbseg_ops/look/page").iterdir():
            assert ask(server.url, name.name)[0] == 200
        for path in ("child.py", "..%2fchild.py", "api/nothing", "page/look.js"):
            assert ask(server.url, path)[0] == 404
