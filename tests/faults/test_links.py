"""Links that lead out of ``TBSEG_ROOTS``, put in place after the path was checked: not followed."""

import os
import shutil
import threading
import time
from contextlib import contextmanager

import pytest

from tbseg_ops import settings, steps
from tbseg_ops.errors import ConfigError, TbsegError
from tbseg_ops.hdf5 import untrusted
from tbseg_ops.run import RunFolder
from tbseg_ops.storage.commit import commit_over
from tbseg_ops.storage.small_files import read_small
from tbseg_ops.view.site import Site
from tbseg_ops.volume import regular_files
from tests.runs import VESSELS, copied, datasets, files_below, planned, same, stack, through
from tests.synthetic import write_hdf5

PARTS = ("volume", "tiles", "classes", "records")


@pytest.fixture
def place(tmp_path, monkeypatch, finished):
    """``allowed``, which may be used and has a run with its slices, beside ``other``."""
    copied(finished, tmp_path / "allowed")
    shutil.copytree(tmp_path / "allowed", tmp_path / "other")
    shutil.copy(VESSELS.classifier, tmp_path / "allowed")
    monkeypatch.setenv("TBSEG_ROOTS", f"{tmp_path}/allowed:{VESSELS.classifier.parent}")
    return tmp_path


def point(link, target):
    """``link`` leads to ``target``, whatever was there."""
    new = link.with_name(f".{link.name}.new")
    new.symlink_to(target)
    if link.is_dir() and not link.is_symlink():
        link.rename(link.with_name(f"{link.name}.before"))
    os.replace(new, link)


@pytest.fixture
def exchanged(monkeypatch):
    """A link that is exchanged right after the path was checked."""

    def arm(module, link, target):
        def check(path):
            settings.check_inside(path)
            if os.fspath(path) == str(link):
                point(link, target)

        monkeypatch.setattr(module, "check_inside", check)

    return arm


def test_a_slice(place, exchanged):
    name = "slices/img_5.tif"
    exchanged(regular_files, place / "allowed" / name, place / "other" / name)
    with pytest.raises(ConfigError, match=r"outside of the folders(.|\n)*other/slices/img_5.tif"):
        regular_files.open_regular(f"{place}/allowed/{name}")


def test_an_hdf5_volume(place, exchanged):
    for folder in ("allowed", "other"):
        write_hdf5(place / folder / "v.h5", VESSELS.raw()[..., 0])
    exchanged(untrusted, place / "allowed/v.h5", place / "other/v.h5")
    with pytest.raises(ConfigError, match="outside of the folders"):
        untrusted.open_untrusted(place / "allowed/v.h5")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_a_run_is_not_read_elsewhere(part, place):
    """It was no link when the folder of the run was checked; what lies there would be right."""
    run, elsewhere = place / "allowed/run", place / "other/run" / part
    before = files_below(elsewhere)
    point(run / part, elsewhere)
    with pytest.raises(ConfigError, match="outside of the folders"):
        steps.verify(run=run, deep=True)
    assert files_below(elsewhere) == before


@pytest.mark.parametrize(
    ("part", "step"),
    [("volume", "ingest"), ("tiles", "split"), ("classes", "classify"), ("records", "classify")],
)
def test_a_part_of_a_run_is_not_written_elsewhere(part, step, place):
    run, elsewhere = place / "allowed/run", place / "other/empty"
    (elsewhere / "classify").mkdir(parents=True)
    shutil.rmtree(run / "records" / step)
    point(run / part, elsewhere)
    with pytest.raises(ConfigError, match="outside of the folders"):
        getattr(steps, step)(run=run)
    assert [path for path in elsewhere.rglob("*") if path.is_file()] == []


def test_what_belongs_to_no_run_lies_where_it_was_put(place):
    """Such as the registry and the jobs of a host."""
    commit_over(place / "other/registry/brain.toml", b"x")
    assert read_small(place / "other/registry/brain.toml") == b"x"


@pytest.mark.parametrize("name", ["plan.json", "inputs.json", "spec.json"])
def test_a_plan(name, place):
    run = place / "allowed/run"
    point(run / name, place / "other/run" / name)
    with pytest.raises(ConfigError, match="outside of the folders"):
        _ = RunFolder(run).inputs


@pytest.mark.parametrize("roots", [True, False])
def test_what_a_page_shows(roots, place, monkeypatch):
    """Also where all folders may be used: a page shows what tbseg wrote."""
    if not roots:
        monkeypatch.delenv("TBSEG_ROOTS")
    site = Site(RunFolder(place / "allowed/run"))
    assert site.get("report", {}).status == 200
    (place / "secret").write_text("secret")
    point(place / "allowed/run/report.html", place / "secret")
    answer = site.get("report", {})
    assert answer.status == 404
    assert b"secret\n" not in answer.body


@contextmanager
def flickering(link, *targets):
    """A thread makes ``link`` lead here and there."""
    ended = threading.Event()

    def flicker():
        while not ended.is_set():
            for target in targets:
                point(link, target)
                time.sleep(0.0003)

    thread = threading.Thread(target=flicker)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        point(link, targets[0])


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_a_run_that_flickers(part, place):
    """Work may fail then, but nothing is written elsewhere, and the result is right in the end."""
    run = place / "allowed/run"
    expected = datasets(run / "segmentation.h5")
    (run / part).rename(run / f"{part}.there")
    shutil.rmtree(place / "other/run" / part)
    elsewhere = place / "other/empty"
    for step in ("ingest", "split", "classify"):
        (elsewhere / step).mkdir(parents=True)
    failed, end = 0, time.monotonic() + 20
    with flickering(run / part, run / f"{part}.there", elsewhere):
        while time.monotonic() < end:
            for path in [*run.glob("tiles*/z001*"), *run.glob("classes*/z001*")]:
                path.unlink(missing_ok=True)
            try:
                for step in ("split", "classify"):
                    getattr(steps, step)(run=run)
            except (TbsegError, OSError):
                failed += 1
    assert failed
    assert [path for path in elsewhere.rglob("*") if path.is_file()] == []
    through(run)
    assert same(datasets(run / "segmentation.h5"), expected)


@pytest.mark.slow
def test_slices_that_flicker(place):
    """What is read is never what lies elsewhere."""
    inside, other = place / "allowed/slices", place / "other/white"
    stack(other, VESSELS.raw()[..., 0] * 0 + 255)
    inside.rename(place / "allowed/there")
    planned(place / "allowed/first", place / "allowed/there")
    wanted = RunFolder(place / "allowed/first").inputs.fingerprints
    failed, end = 0, time.monotonic() + 20
    with flickering(inside, place / "allowed/there", other):
        while time.monotonic() < end:
            try:
                planned(place / "allowed/new", inside)
                assert RunFolder(place / "allowed/new").inputs.fingerprints == wanted
            except (TbsegError, OSError):
                failed += 1
    assert failed
