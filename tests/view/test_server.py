"""``tbseg view``: only who knows the address, only of this machine, and only what is of the run."""

import os
import re
import signal
import socket
import subprocess
import time
from urllib.parse import urlsplit

import h5py
import imagecodecs
import numpy as np
import pytest
import tensorstore

from tbseg_ops import steps
from tbseg_ops.view.zarr import Space
from tests.runs import VESSELS, command, copied, planned, spec_of, stack, through
from tests.view.serving import ask, served, told


@pytest.fixture(scope="module")
def url(finished):
    with served(finished / "run") as server:
        yield server.url


def test_without_the_token_nothing_is_said(url):
    here = urlsplit(url)
    token = here.path.strip("/")
    assert len(token) >= 32
    wrong = [f"/{token}", f"/{token[:-1]}/", f"/{token}x/api/run", f"/{token.lower()}/api/run"]
    for path in ("/", "/api/run", "/x/api/run", "//", "/%00/", "/%e9/", *wrong):
        assert ask(url, path)[0] == 403, path
        assert ask(url, path, method="POST")[0] == 403, path


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "localhost.evil.example", "[::1]:80", ""]
)
def test_a_page_of_another_origin_is_refused_by_the_host_it_names(url, host):
    assert ask(url, "api/run", Host=host)[0] == 403
    assert ask(url, "api/run", Host=f"localhost:{urlsplit(url).port}")[0] == 200


def test_it_listens_on_loopback_only(url):
    try:
        here = socket.gethostbyname(socket.gethostname())
    except OSError:  # a machine that does not know its own name
        here = "127.0.0.1"
    if not here.startswith("127."):
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((here, urlsplit(url).port), timeout=5)
    assert urlsplit(url).hostname == "127.0.0.1"


@pytest.mark.parametrize(
    "path",
    [
        *("../plan.json", "..%2fplan.json", "%2e%2e/plan.json", "plan.json", "spec.json", "%00"),
        *("v/3d/../../x", "v/3d/..%2f..%2f__init__.py", "v/3d/%2fetc%2fpasswd", "v/3d/x.js"),
        *("data/raw/../../plan.json", "data/nothing/.zattrs", "data/probability-1/.zarray"),
        *("data/labels/0/0/0/-1", "data/labels/9/0/0/0", "data/labels/0/0/0", "data/raw/0/99/0/0"),
        *("data/labels/0/0/0/0/0", "data/labels/0/.zarray/x", "api/nothing", "api/../api/run"),
        *("index.html/", "page/index.html", "report.html", "tiles.py", "segmentation.h5"),
    ],
)
def test_what_is_not_of_the_run_is_not_there(url, path):
    status, _, body = ask(url, path)
    assert status == 404, body
    assert b"root:" not in body


def test_pages_are_not_to_be_framed_read_or_kept_by_others(url):
    for path in ("", "volume", "page.js", "api/run", "data/raw/.zattrs", "report"):
        status, headers, body = ask(url, path)
        assert (status, len(body) > 0) == (200, True), path
        assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
    page = ask(url)[2].decode()
    assert "http" not in page.replace("http-equiv", "")  # nothing is fetched from elsewhere


def test_data_of_the_page(url, finished):
    run = told(url, "api/run")
    assert [c["label"] for c in run["classes"]] == list(spec_labels(finished))
    assert (run["shape"], run["grid"], run["verified"]) == ([37, 45, 53], [2, 2, 2], True)
    assert len(told(url, "api/layer?number=1")["tiles"]) == 4
    assert told(url, "api/tile?name=z001_y000_x001")["state"] == "done"
    assert told(url, "api/progress")[0] == {"layer": 0, "done": 4, "total": 4}
    assert told(url, "api/revision")["revision"] == run["revision"]
    assert ask(url, "api/tile?name=../../x")[0] == 404
    assert ask(url, "api/plane?kind=x")[0] == 409


def spec_labels(finished):
    with h5py.File(finished / "run" / "segmentation.h5") as file:
        return file.attrs["labels"]


def test_pictures_are_of_the_plane_that_was_asked_for(url, finished):
    with h5py.File(finished / "run" / "segmentation.h5") as file:
        labels, colors = file["labels"][()], file.attrs["label_colors"]
    raw = imagecodecs.png_decode(ask(url, "api/plane?kind=raw&axis=1&at=20")[2])
    assert np.corrcoef(raw.ravel(), VESSELS.raw()[:, 20, :, 0].ravel())[0, 1] > 0.98
    painted = imagecodecs.png_decode(ask(url, "api/plane?kind=labels&axis=0&at=30")[2])
    assert np.array_equal(painted[..., :3], np.asarray(colors)[labels[30] - 1])
    tile = told(url, "api/tile?name=z001_y000_x001")
    path = "api/tile-plane?kind=raw&axis=2&name=z001_y000_x001"
    shape = imagecodecs.png_decode(ask(url, path)[2]).shape
    assert list(shape) == [tile["halo"]["hi"][a] - tile["halo"]["lo"][a] for a in (0, 1)]


def opened(url, path):
    spec = {
        "driver": "zarr",
        "kvstore": {"driver": "http", "base_url": f"{url}data/", "path": path},
    }
    return tensorstore.open(spec, read=True, open=True).result()


def test_a_reader_of_zarr_reads_all_levels(url, finished):
    with h5py.File(finished / "run" / "segmentation.h5") as file:
        labels = file["labels"][()]
    assert np.array_equal(opened(url, "labels/0/").read().result(), labels)
    assert np.array_equal(opened(url, "raw/0/").read().result(), VESSELS.raw()[..., 0])
    (scales,) = told(url, "data/labels/.zattrs")["multiscales"]
    for dataset in scales["datasets"]:
        array = opened(url, f"labels/{dataset['path']}/")
        step = 2 ** int(dataset["path"])
        assert list(array.shape) == [-(-n // step) for n in labels.shape]
        assert dataset["coordinateTransformations"][0]["scale"] == [step] * 3


def test_voxel_size_part_channels_and_maps_in_the_layout(tmp_path):
    planned(
        tmp_path / "run",
        stack(tmp_path / "slices"),
        probabilities="all",
        probability_dtype="uint8",
        box="5:37,0:45,10:53",
    )
    through(tmp_path / "run", until="classify")
    with served(tmp_path / "run") as server:
        (scales,) = told(server.url, "data/labels/.zattrs")["multiscales"]
        moved = scales["datasets"][0]["coordinateTransformations"][1]["translation"]
        assert moved == [5.0, 0.0, 10.0]
        probability = opened(server.url, "probability-1/0/").read().result()
        labels = opened(server.url, "labels/0/").read().result()
        assert (probability[labels == 1] >= 50).all()
        layers = told(server.url, "api/scene")["layers"]
        assert [layer["type"] for layer in layers] == ["image", "segmentation", "image", "image"]


def test_space_is_what_the_volume_says(tmp_path):
    plan = planned(tmp_path / "run", stack(tmp_path / "slices"))
    assert Space.of(plan) == Space((1, 1, 1), None, 1.0)
    sized = plan.volume.model_copy(update={"voxel_size": (5.0, 1.0, 1.0), "unit": "µm"})
    assert Space.of(plan.model_copy(update={"volume": sized})) == Space(
        (5, 1, 1), "micrometer", 1e-6
    )


def test_a_tile_is_there_seconds_after_its_commit_and_nothing_is_in_the_way(tmp_path):
    planned(tmp_path / "run", stack(tmp_path / "slices"))
    through(tmp_path / "run", until="split")
    with served(tmp_path / "run") as server:
        before = told(server.url, "api/revision")
        assert ask(server.url, "data/labels/0/0/0/0")[0] == 404
        steps.classify(run=tmp_path / "run")
        start = time.monotonic()
        assert told(server.url, "api/revision") != before
        assert told(server.url, "api/progress")[0]["done"] == 4
        assert ask(server.url, "data/labels/0/0/0/0")[0] == 200
        assert time.monotonic() - start < 1
        through(tmp_path / "run")  # written and replaced while it is looked at
        assert told(server.url, "api/run")["verified"]
        assert not [n for n in os.listdir("/proc/self/fd") if held(n, tmp_path)]


def held(number, folder):
    try:
        return os.readlink(f"/proc/self/fd/{number}").startswith(str(folder))
    except OSError:
        return False


def test_a_damaged_file_is_an_answer_and_looking_changes_nothing(finished, tmp_path):
    run = copied(finished, tmp_path)
    with served(run) as server:
        tile = told(server.url, "api/tile?name=z000_y000_x000")
        file = run / tile["record"]["file"]
        file.write_bytes(b"x" * file.stat().st_size)
        records = {p: p.read_bytes() for p in run.rglob("*.json")}
        status, _, body = ask(server.url, "data/labels/0/0/0/0")
        assert status == 409
        assert b"missing or damaged" in body
        assert {p: p.read_bytes() for p in run.rglob("*.json")} == records


def test_names_are_data_and_never_markup(tmp_path):
    run = tmp_path / "<img src=x onerror=alert(1)>"
    steps.plan(spec=spec_of(stack(tmp_path / "slices")), run=run)
    with served(run) as server:
        assert told(server.url, "api/run")["name"] == run.name
        for page in ("", "volume", "page.js"):
            assert b"onerror" not in ask(server.url, page)[2]


def test_neuroglancer_is_served_whole_and_its_stream_stays_open(url):
    assert told(url, "api/run")["client"]
    page = ask(url, "v/3d/")[2].decode()
    for name in re.findall(r'(?:src|href)="([^"]+)"', page):
        status, headers, body = ask(url, f"v/3d/{name}")
        assert status == 200, name
        assert body
        assert headers["Content-Type"].split(";")[0] in ("text/javascript", "text/css")
        assert "immutable" in headers["Cache-Control"]
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)) as line:
        host = f"127.0.0.1:{urlsplit(url).port}"
        line.sendall(f"GET {urlsplit(url).path}events/3d HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        line.settimeout(1)
        headers = line.recv(12)
        assert headers == b"HTTP/1.1 200"
        while b"\r\n\r\n" not in headers:
            headers += line.recv(1000)
        with pytest.raises(TimeoutError):  # open, and silent
            line.recv(1000)
    assert ask(url, "state/3d", method="POST")[0] == 200


def test_without_neuroglancer_the_page_says_so(finished, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with served(finished / "run") as server:
        assert not told(server.url, "api/run")["client"]
        assert ask(server.url, "v/3d/")[0] == 404
        assert b"pip install 'tbseg[view]'" in ask(server.url, "volume.js")[2]


def test_the_command_says_its_address_and_ends_at_ctrl_c(finished):
    words = command("view", finished / "run", "--no-browser")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        assert told(url, "api/run")["name"] == "run"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
