"""The engine ``ilastik`` with a stand-in for the program (tests/fake_ilastik.py)."""

import errno
import hashlib
import json
import os
import pickle
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from tbseg_ops.classifier import read_passport
from tbseg_ops.engines import load_engine
from tbseg_ops.engines.ilastik.engine import IlastikEngine, find_ilastik
from tbseg_ops.engines.ilastik.limits import Limits
from tbseg_ops.errors import ConfigError, InputError, IntegrityError, ResourceError
from tbseg_ops.geometry import Box
from tests.classifier.projects import trained_on
from tests.quick import some_slow
from tests.reference_sets import REFERENCE, ReferenceSet

FAKE = Path(__file__).parents[2] / "fake_ilastik.py"
ROOT = FAKE.parents[1]
VESSELS = ReferenceSet("vessels-3d")
SHAPE = (16, 20, 24)
CORE = Box((2, 3, 4), (9, 17, 20))
CANARY = "canary-7f3a91"


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A TMPDIR of its own, which every test must leave empty."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    for name in ("TIMEOUT", "MEMORY_MB", "ISOLATION", "LOGS"):
        monkeypatch.delenv(f"TBSEG_ILASTIK_{name}", raising=False)
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def fake(monkeypatch):
    """Make the stand-in, with these arguments, the installed ilastik."""

    def install(mode: str = "ramp", *arguments: object) -> None:
        words = [sys.executable, str(FAKE), "--fake-mode", mode, *map(str, arguments)]
        monkeypatch.setenv("TBSEG_ILASTIK", shlex.join(words))

    return install


def engine_for(classifier=VESSELS.classifier, shape=SHAPE, **options) -> IlastikEngine:
    return IlastikEngine(read_passport(classifier), volume_shape=shape, **options)


def tile(shape=SHAPE, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (*shape, channels), np.uint8)


# What comes out


@pytest.mark.parametrize("name", ["vessels-3d", "vessels-2d", "two-channel", "label-gap"])
def test_equals_the_engine_native_bit_for_bit(name, fake):
    fake("native")
    reference = ReferenceSet(name)
    raw = reference.raw()[:14, :30, :31]
    core = Box((3, 5, 0), (11, 30, 20))
    passport = read_passport(reference.classifier)
    found = load_engine("ilastik", passport, volume_shape=raw.shape[:3], threads=2).predict(
        raw, core
    )
    native = load_engine("native", passport, volume_shape=raw.shape[:3])
    np.testing.assert_array_equal(found, native.predict(raw, core))
    assert found.dtype == np.float32
    assert found.flags.c_contiguous


def test_a_project_of_two_stages_is_handed_over_whole(fake, tmp_path):
    fake("native", "--fake-note", tmp_path / "note")
    project = REFERENCE / "two-stage" / "classifier.ilp"
    raw = ReferenceSet("two-channel").raw()[:14, :30, :31]
    core = Box((3, 5, 0), (11, 30, 20))
    found = engine_for(project, raw.shape[:3]).predict(raw, core)
    native = load_engine("native", read_passport(project), volume_shape=raw.shape[:3])
    np.testing.assert_array_equal(found, native.predict(raw, core))
    seen = json.loads((tmp_path / "note").read_text())
    assert "--export_source=Probabilities Stage 2" in seen["argv"]
    assert seen["groups"].keys() == {
        "Input Data",
        "FeatureSelections",
        "FeatureSelections01",
        "PixelClassification",
        "PixelClassification01",
    }


def test_pickles_of_the_second_stage_are_looked_at_too(fake, tmp_path):
    fake("ramp")

    def edit(file):
        file["PixelClassification01/ClassifierFactory"][()] = b"cos\nsystem\n(S'true'\ntR."

    with pytest.raises(InputError, match="PixelClassification01/ClassifierFactory"):
        engine_for(altered(tmp_path, REFERENCE / "two-stage" / "classifier.ilp", edit))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_core_of_the_tile_in_the_order_of_the_labels(dtype, fake):
    fake("ramp")
    raw = tile().astype(dtype) * np.iinfo(dtype).max // 255
    expected = raw[CORE.slices][..., 0].astype(np.float32) / np.float32(np.iinfo(dtype).max)
    background, vessel = engine_for().predict(raw, CORE)
    np.testing.assert_array_equal(vessel, expected)
    np.testing.assert_array_equal(background, 1 - expected)


def test_a_voxel_without_any_class_is_allowed(fake):
    fake("zero")
    found = engine_for().predict(tile(), Box((0, 0, 0), SHAPE))
    assert np.count_nonzero(found.sum(axis=0) == 0) == 1


def test_a_classifier_of_images_gets_an_image_or_a_series_of_them(tmp_path, fake):
    fake("ramp", "--fake-note", tmp_path / "note")
    flat = trained_on(tmp_path, ReferenceSet("vessels-2d").classifier, "yx")
    for slices, axes in ((1, "yxc"), (3, "tyxc")):
        raw = tile((slices, 20, 24))
        found = engine_for(flat, (3, 20, 24)).predict(raw, Box((0, 2, 3), (slices, 20, 20)))
        np.testing.assert_array_equal(found[1], raw[:, 2:20, 3:20, 0] / np.float32(255))
        seen = json.loads((tmp_path / "note").read_text())
        assert seen["input_axes"] == axes
        assert f"--output_axis_order={axes.rjust(4, 'z')}" in seen["argv"]


# Several tiles at once


CORES = [CORE, Box((0, 0, 0), SHAPE), Box((1, 0, 5), (4, 20, 6))]


def tiles(number: int = 3) -> list[tuple[np.ndarray, Box]]:
    """Of different sizes and content."""
    whole = tile((16 + number, 20, 24))
    return [(whole[n : n + 16], CORES[n % 3]) for n in range(number)]


@pytest.mark.parametrize("mode", ["ramp", "native"])
def test_several_tiles_are_what_each_is_alone_for_one_start(mode, tmp_path, fake):
    fake(mode, "--fake-starts", tmp_path / "starts")
    engine = engine_for(shape=(19, 20, 24))
    together = list(engine.predict_all(tiles()))
    assert (tmp_path / "starts").read_text() == "3\n"
    for (raw, core), found in zip(tiles(), together, strict=True):
        np.testing.assert_array_equal(found, engine.predict(raw, core))
    assert (tmp_path / "starts").read_text() == "3\n1\n1\n1\n"
    assert list(engine.predict_all([])) == []


def test_images_and_series_of_images_are_not_mixed_in_one_start(tmp_path, fake):
    fake("ramp", "--fake-starts", tmp_path / "starts")
    flat = trained_on(tmp_path, ReferenceSet("vessels-2d").classifier, "yx")
    raws = [tile((slices, 20, 24)) for slices in (3, 2, 1)]
    whole = [Box((0, 0, 0), raw.shape[:3]) for raw in raws]
    found = engine_for(flat, (3, 20, 24)).predict_all(list(zip(raws, whole, strict=True)))
    for raw, one in zip(raws, found, strict=True):
        np.testing.assert_array_equal(one[1], raw[..., 0] / np.float32(255))
    assert (tmp_path / "starts").read_text() == "2\n1\n"


def test_a_result_comes_before_the_next_one_is_computed(tmp_path, fake, temporary):
    """The last one never ends; the generator is closed, and with it all is gone."""
    fake("hang", "--fake-note", tmp_path / "note")
    expected = [tile[0][tile[1].slices][..., 0] / np.float32(255) for tile in tiles()]
    found = engine_for().predict_all([*tiles(), (tile(), CORE)])
    np.testing.assert_array_equal(next(found)[1], expected[0])
    np.testing.assert_array_equal(next(found)[1], expected[1])
    assert not all_gone(tmp_path / "note")
    found.close()
    assert all_gone(tmp_path / "note")
    assert list(temporary.iterdir()) == []


def test_the_time_is_that_of_one_tile(tmp_path, fake, monkeypatch):
    monkeypatch.setenv("TBSEG_ILASTIK_TIMEOUT", "4")
    fake("hang", "--fake-note", tmp_path / "note")
    found = engine_for().predict_all(tiles())
    next(found)
    start = time.monotonic()
    with pytest.raises(ResourceError, match="did not finish within 4 seconds"):
        list(found)
    assert 3 < time.monotonic() - start < 15
    assert all_gone(tmp_path / "note")


def test_attributes_of_an_engine(fake):
    fake()
    engine = engine_for()
    assert engine.name == "ilastik"
    assert engine.labels == ("background", "vessel")
    assert engine.version == find_ilastik().version == "1.4.9 adapter-1"


def test_version_does_not_depend_on_the_threads(fake):
    fake()
    assert engine_for(threads=1).version == engine_for(threads=8).version


# What the program is given


def test_command_line(fake):
    fake()
    assert engine_for().command(Path("/w"), ["raw000", "raw001"])[4:] == [
        "--headless",
        "--readonly=1",
        "--project=/w/project.ilp",
        "--export_source=Probabilities",
        "--export_dtype=float32",
        "--output_format=hdf5",
        "--output_axis_order=zyxc",
        "--output_filename_format=/w/out-{nickname}.h5",
        "--output_internal_path=exported_data",
        "--input_axes=zyxc",
        "--raw_data",
        "/w/raw000.h5/data",
        "/w/raw001.h5/data",
    ]


def test_what_the_program_sees(tmp_path, temporary, fake, monkeypatch):
    for name in ("AWS_SECRET_ACCESS_KEY", "AIRFLOW__CORE__FERNET_KEY", "SSH_AUTH_SOCK", "XDG_X"):
        monkeypatch.setenv(name, CANARY)
    fake("ramp", "--fake-note", tmp_path / "note")
    engine_for(threads=3).predict(tile(), CORE)
    text = (tmp_path / "note").read_text()
    seen = json.loads(text)
    assert CANARY not in text
    environment = seen["environ"]
    assert environment.pop("PATH") == os.environ["PATH"]
    assert environment == {
        "HOME": seen["folder"],
        "TMPDIR": seen["folder"],
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "LAZYFLOW_THREADS": "3",
        "LAZYFLOW_TOTAL_RAM_MB": "6144",
        "OMP_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "3",
    }
    assert seen["cwd"] == seen["folder"]
    assert Path(seen["folder"]).parent == temporary.resolve()
    assert seen["folder_mode"] == 0o700
    assert seen["files"] == [".cache", ".local", "ilastik.log", "project.ilp", "raw000.h5"]
    assert seen["stdin"] == ""


def test_project_is_a_copy_without_bookmarks_and_export_settings(tmp_path, fake):
    fake("ramp", "--fake-note", tmp_path / "note")
    project = tmp_path / "mine.ilp"
    shutil.copyfile(VESSELS.classifier, project)
    project.chmod(0o444)
    before = hashlib.sha256(project.read_bytes()).digest(), project.stat().st_mtime_ns
    engine_for(project).predict(tile(), CORE)
    assert (hashlib.sha256(project.read_bytes()).digest(), project.stat().st_mtime_ns) == before
    seen = json.loads((tmp_path / "note").read_text())
    assert str(project) not in " ".join(seen["argv"])
    assert sorted(seen["groups"]) == ["FeatureSelections", "Input Data", "PixelClassification"]
    assert "Bookmarks" not in seen["groups"]["PixelClassification"]


@pytest.mark.parametrize("isolation", ["require", "off"])
def test_network(isolation, tmp_path, fake):
    limits = replace(Limits.from_environment(), isolation=isolation)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        fake("ramp", "--fake-note", tmp_path / "note", "--fake-port", port)
        try:
            engine_for(limits=limits).predict(tile(), CORE)
        except ConfigError as error:
            assert "network could not be cut off" in str(error)  # noqa: PT017
            pytest.skip("this kernel grants no network namespace")
    assert json.loads((tmp_path / "note").read_text())["connected"] == (isolation == "off")


# What goes wrong

FAILURES = {
    "fail": (InputError, "exit code 1: it cannot use this project"),
    "late": (InputError, "exit code 1: it cannot use this project"),
    "retrain": (InputError, "did not use the stored classifier"),
    "broken": (ConfigError, "installation is broken"),
    "start": (ConfigError, "it fails while it starts"),
    "segment": (ResourceError, "raise TBSEG_ILASTIK_MEMORY_MB"),
    "old": (ConfigError, "does not understand how it was called"),
    "disk": (ResourceError, "memory or disk ran out"),
    "memory": (ResourceError, "memory or disk ran out"),
    "killed": (ResourceError, "ended by signal 9"),
    "nothing": (IntegrityError, "there is none"),
    "elsewhere": (IntegrityError, "there is none"),
    "garbage": (IntegrityError, "it cannot be read"),
    "name": (IntegrityError, "the dataset is missing"),
    "link": (IntegrityError, "the dataset is missing"),
    "virtual": (IntegrityError, "the dataset is of another kind"),
    "shape": (IntegrityError, "other shape"),
    "channels": (IntegrityError, "other shape"),
    "uint8": (IntegrityError, "other type"),
    "nan": (IntegrityError, "not probabilities"),
    "range": (IntegrityError, "not probabilities"),
    "sum": (IntegrityError, "they do not sum to 1"),
}


@pytest.mark.parametrize("mode", FAILURES)
def test_failure(mode, fake):
    kind, message = FAILURES[mode]
    fake(mode)
    with pytest.raises(kind, match=message):
        engine_for().predict(tile(), CORE)


@pytest.mark.parametrize("mode", some_slow(FAILURES, 6))
def test_failure_at_the_last_of_several_tiles(mode, fake):
    kind, message = FAILURES[mode]
    fake(mode)
    good = []
    with pytest.raises(kind, match=message):
        good.extend(engine_for().predict_all(tiles(4)))
    for (raw, core), one in zip(tiles(4), good, strict=False):
        np.testing.assert_array_equal(one[1], raw[core.slices][..., 0] / np.float32(255))
    # The output before the last one may have been half written when a program fails; and what is
    # said of another classifier counts for all that comes after it.
    assert len(good) in {"start": (0,), "old": (0,), "retrain": range(4)}.get(mode, (2, 3))


def test_the_error_ends_with_the_log(fake):
    fake("fail")
    with pytest.raises(InputError, match="same number of channels"):
        engine_for().predict(tile(), CORE)


def test_the_complete_log_is_kept_if_wanted(tmp_path, fake, monkeypatch):
    monkeypatch.setenv("TBSEG_ILASTIK_LOGS", str(tmp_path / "logs"))
    fake("nan")
    with pytest.raises(IntegrityError):
        engine_for().predict(tile(), CORE)
    (log,) = (tmp_path / "logs").iterdir()
    assert "Starting fake ilastik" in log.read_text()


@pytest.mark.parametrize("mode", ["hang", "hang-stubborn"])
def test_too_slow(mode, tmp_path, fake, monkeypatch):
    monkeypatch.setenv("TBSEG_ILASTIK_TIMEOUT", "3")
    fake(mode, "--fake-note", tmp_path / "note")
    with pytest.raises(ResourceError, match="did not finish within 3 seconds"):
        engine_for().predict(tile(), CORE)
    assert all_gone(tmp_path / "note")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killed_parent_leaves_nothing(number, tmp_path, temporary, fake):
    """Also the program's own child that left its session, and the temporary folder."""
    note = tmp_path / "note"
    fake("hang", "--fake-note", note)
    script = (
        "import numpy as np\n"
        "from tests.engines.ilastik.test_engine import CORE, engine_for, tile\n"
        "engine_for().predict(tile(), CORE)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, start_new_session=True)
    try:
        assert until(note.exists)
        assert len(list(temporary.iterdir())) == 1
    finally:
        parent.send_signal(number)
    assert parent.wait(10) == -number
    assert until(lambda: all_gone(note))
    assert until(lambda: list(temporary.iterdir()) == [])


def test_interrupt_leaves_nothing(tmp_path, fake):
    note = tmp_path / "note"
    fake("hang", "--fake-note", note)

    def interrupt(number, frame):
        raise KeyboardInterrupt

    def wait_and_send() -> None:
        if until(note.exists):
            os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    sender = threading.Thread(target=wait_and_send)
    try:
        sender.start()
        with pytest.raises(KeyboardInterrupt):
            engine_for().predict(tile(), CORE)
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, before)
    assert all_gone(note)


def test_tile_with_other_channels(fake):
    fake()
    with pytest.raises(InputError, match="other channels"):
        engine_for().predict(tile(channels=2), CORE)


def test_full_disk(fake, monkeypatch):
    fake()
    engine = engine_for()
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ResourceError, match=r"no room(.|\n)*1000 bytes free"):
        engine.predict(tile(), CORE)


def test_disk_that_fills_up_meanwhile(fake, monkeypatch):
    def refuse(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    fake()
    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(ResourceError, match=r"no room(.|\n)*No space left"):
        engine_for()


def test_no_temporary_folder(fake, monkeypatch, tmp_path):
    fake()
    engine = engine_for()
    engine._workdir = tmp_path / "missing"
    with pytest.raises(ResourceError, match="no temporary folder"):
        engine.predict(tile(), CORE)


@pytest.mark.parametrize("name", ["a*", "a{nickname}", "a:b", "run.h5"])
def test_a_path_that_ilastik_would_misread(name, tmp_path, fake):
    fake()
    folder = tmp_path / name
    folder.mkdir()
    with pytest.raises(ConfigError, match="would misread the path"):
        engine_for(workdir=folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("TIMEOUT", "soon"), ("TIMEOUT", "nan"), ("MEMORY_MB", "0"), ("ISOLATION", "maybe")],
)
def test_bad_setting(name, value, monkeypatch):
    monkeypatch.setenv(f"TBSEG_ILASTIK_{name}", value)
    with pytest.raises(ConfigError, match=f"TBSEG_ILASTIK_{name} makes no sense"):
        Limits.from_environment()


def test_classifier_replaced_after_planning(tmp_path, fake):
    fake()
    project = tmp_path / "mine.ilp"
    shutil.copyfile(VESSELS.classifier, project)
    passport = read_passport(project)
    shutil.copyfile(ReferenceSet("vessels-2d").classifier, project)
    with pytest.raises(InputError, match="changed since the plan"):
        IlastikEngine(passport, volume_shape=SHAPE)


# Pickles


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def altered(tmp_path: Path, classifier: Path, change) -> Path:
    path = tmp_path / "altered.ilp"
    shutil.copyfile(classifier, path)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def with_payload(tmp_path: Path, where: str, protocol: int) -> Path:
    def change(file):
        del file[where]
        data = pickle.dumps(Payload(tmp_path / "payload ran"), protocol)
        bookmark = "Bookmarks" in where
        file[where] = np.void(data) if bookmark or b"\0" in data else data

    return altered(tmp_path, VESSELS.classifier, change)


FACTORY = "PixelClassification/ClassifierFactory"


def test_the_payload_works(tmp_path, fake):
    """The stand-in loads pickles as ilastik does: the tests after this one can fail."""
    fake()
    project = with_payload(tmp_path, FACTORY, 0)
    given = engine_for().command(tmp_path, ["raw000"])
    command = [f"--project={project}" if w.startswith("--project=") else w for w in given]
    assert f"--project={project}" in command
    (tmp_path / ".local/state/ilastik/log").mkdir(parents=True)  # where the program logs
    environment = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (tmp_path / "payload ran").is_dir()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickle_of_unknown_content_is_refused(protocol, tmp_path, fake):
    fake()
    project = with_payload(tmp_path, FACTORY, protocol)
    with pytest.raises(InputError, match=r"ClassifierFactory") as caught:
        engine_for(project).predict(tile(), CORE)
    assert protocol > 0 or "posix.mkdir" in str(caught.value)
    assert not (tmp_path / "payload ran").exists()


def test_bookmarks_are_not_passed_on(tmp_path, fake):
    fake()
    project = with_payload(tmp_path, "PixelClassification/Bookmarks/0000", 0)
    engine_for(project).predict(tile(), CORE)
    assert not (tmp_path / "payload ran").exists()


# Finding the program


def installed(folder: Path, name: str = "run_ilastik.sh", body: str = "exit 3") -> Path:
    program = folder / name
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return program


def record(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("name", ["run_ilastik.sh", "ilastik"])
def test_on_the_path(name, tmp_path, monkeypatch):
    monkeypatch.delenv("TBSEG_ILASTIK", raising=False)
    program = installed(tmp_path / "bin", name)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    assert find_ilastik().argv == (str(program),)


@pytest.mark.parametrize("name", ["run_ilastik.sh", "bin/ilastik"])
def test_by_the_folder_or_the_file(name, tmp_path, monkeypatch):
    program = installed(tmp_path / "an ilastik", name)
    for setting in (tmp_path / "an ilastik", program):
        monkeypatch.setenv("TBSEG_ILASTIK", str(setting))
        assert find_ilastik().argv == (str(program),)


def test_by_a_command(monkeypatch):
    monkeypatch.setenv("TBSEG_ILASTIK", "sh -c 'exit 1' ilastik")
    assert find_ilastik().argv == (shutil.which("sh"), "-c", "exit 1", "ilastik")


@pytest.mark.parametrize("setting", ["", "/nowhere/run_ilastik.sh", "unbalanced 'quote", "{tmp}"])
def test_missing(setting, tmp_path, monkeypatch):
    monkeypatch.setenv("TBSEG_ILASTIK", setting.format(tmp=tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="ilastik was not found") as caught:
        find_ilastik()
    assert "TBSEG_ILASTIK" in str(caught.value.mend)


def _conda(root):
    for name in (
        "ilastik-core-1.4.0-py_0",
        "fastfilters-0.3-h1_1",
        "vigra-1.11.1-py37_2",
        "qt-5-0",
    ):
        record(root / f"conda-meta/{name}.json")


def _distributions(root):
    for name in ("ilastik-1.4.1", "fastfilters-0.4"):
        (root / f"lib/python3.11/site-packages/{name}.dist-info").mkdir(parents=True)


VERSIONS = {
    "conda": (_conda, "1.4.0-py_0 fastfilters-0.3-h1_1 vigra-1.11.1-py37_2"),
    "distributions": (_distributions, "1.4.1 fastfilters-0.4"),
    "module": (
        lambda root: record(
            root / "ilastik-meta/ilastik/ilastik/__init__.py",
            "import os\n__version_info__ = (1, 3, 3, 'post3')\n",
        ),
        "1.3.3.post3",
    ),
    "text": (
        lambda root: record(
            root / "lib/python3.9/site-packages/ilastik/__init__.py", '__version__ = "1.4.0b21"\n'
        ),
        "1.4.0b21",
    ),
}


@pytest.mark.parametrize("kind", VERSIONS)
def test_version_of_the_installation(kind, tmp_path, monkeypatch):
    make, expected = VERSIONS[kind]
    program = installed(tmp_path, "bin/ilastik")
    make(tmp_path)
    monkeypatch.setenv("TBSEG_ILASTIK", str(program))
    assert find_ilastik().version == f"{expected} adapter-1"


def test_version_that_the_program_tells(tmp_path, monkeypatch):
    said = "echo WARNING: no GPU 11.2 found; echo ilastik 1.4.2rc1"
    monkeypatch.setenv("TBSEG_ILASTIK", str(installed(tmp_path, body=said)))
    assert find_ilastik().version == "1.4.2rc1 adapter-1"


def test_version_by_content_if_nothing_tells_it(tmp_path, monkeypatch):
    versions = []
    for place, body in [("a", "exit 3"), ("b", "exit 3"), ("c", "exit 4")]:
        monkeypatch.setenv("TBSEG_ILASTIK", str(installed(tmp_path / place, body=body)))
        versions.append(find_ilastik().version)
    assert versions[0] == versions[1] != versions[2]
    assert versions[0].startswith("unknown-")


def all_gone(note: Path) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in json.loads(note.read_text())["pids"])


def until(condition, seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
