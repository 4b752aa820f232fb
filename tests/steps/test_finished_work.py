"""Read once, trust the digest: what is opened on finished work, and by a worker for each piece."""

import shutil
import sys
from pathlib import Path

import h5py
import pytest

from tbseg_ops import steps
from tbseg_ops.errors import IntegrityError
from tbseg_ops.run import Plan, RunFolder
from tbseg_ops.run.status import status
from tbseg_ops.run.work_left import work_left
from tests.runs import VESSELS, copied, datasets, planned, same, through

OPENED: list[str] = []
LISTENING = False


def _listen(event, arguments):
    if LISTENING and event == "open" and isinstance(arguments[0], str):
        OPENED.append(arguments[0])


sys.addaudithook(_listen)


@pytest.fixture
def opened(monkeypatch):
    """The paths that this process opens from now on, by Python or by HDF5."""
    real = h5py.File

    class Listed(real):
        def __init__(self, name, *arguments, **more):
            OPENED.append(str(name))
            super().__init__(name, *arguments, **more)

    OPENED.clear()
    monkeypatch.setattr(h5py, "File", Listed)
    monkeypatch.setattr(sys.modules[__name__], "LISTENING", True)
    return OPENED


@pytest.fixture
def run(finished, tmp_path):
    return copied(finished, tmp_path)


def below(run, part, paths):
    return [path for path in paths if Path(path).parent == run / part and path.endswith(".h5")]


def test_ingest_on_finished_work_reads_no_slab(run, opened):
    assert steps.ingest(run=run).reused == 1
    assert steps.split(run=run).reused == 8
    assert below(run, "volume", opened) == below(run, "tiles", opened) == []
    RunFolder(run).records("ingest").drop("slab_00000")
    assert steps.ingest(run=run).reused == 1  # adopted: now it is read
    assert below(run, "volume", opened) != []


def test_a_tile_that_refers_to_the_volume_is_read_once(run, opened):
    """By classify, which records what it holds; finished, nothing is read to know that."""
    for part in ("tiles", "classes", "records/split", "records/classify"):
        shutil.rmtree(run / part)
    assert steps.split(run=run).computed == 8
    assert below(run, "volume", opened) == []
    assert steps.classify(run=run).computed == 8
    assert len(below(run, "volume", opened)) == 8
    assert below(run, "tiles", opened) == []
    assert steps.classify(run=run).reused == 8
    assert len(below(run, "volume", opened)) == 8


def test_records_of_before_that_carry_a_digest_of_a_slab_count(run, opened):
    ledger = RunFolder(run).records("ingest")
    record = ledger.get("slab_00000")
    assert record.sha256 is None
    ledger.put(record.model_copy(update={"sha256": "0" * 64}))
    assert steps.ingest(run=run).reused == 1
    assert below(run, "volume", opened) == []


@pytest.mark.parametrize("damage", ["flip", "another slab"])
def test_a_damaged_slab_is_seen_when_it_is_used_and_mended_then(damage, run):
    """Its size is right, so ingest believes it, until somebody reads it."""
    good = datasets(run / "segmentation.h5")
    (slab,) = (run / "volume").iterdir()
    with h5py.File(slab, "r+") as file:
        offset = file["volume"].id.get_chunk_info(0).byte_offset
        if damage == "another slab":
            file.attrs["key"] = b"0" * 64
    ledger = RunFolder(run).records("ingest")
    record = ledger.get("slab_00000")
    ledger.put(record.model_copy(update={"size": slab.stat().st_size}))
    if damage == "flip":
        data = bytearray(slab.read_bytes())
        data[offset + 5] ^= 1
        slab.write_bytes(data)
    for step, part in (("split", "tiles"), ("classify", "classes")):
        for path in [*(run / part).iterdir(), *(run / "records" / step).iterdir()]:
            path.unlink()
    assert steps.ingest(run=run).reused == 1
    with pytest.raises(IntegrityError, match="tbseg ingest --run"):
        through(run, until="classify")
    assert steps.ingest(run=run).computed == 1
    through(run)
    assert same(datasets(run / "segmentation.h5"), good)


def test_status_plan_and_the_steps_say_the_same_of_what_is_done(run):
    """Of one tile both files are gone, of another one the sub-volume, which nothing needs."""
    folder = RunFolder(run)
    lost, uncut = (folder.plan.grid[i].name for i in (2, 5))
    for part, name in (("classes", lost), ("tiles", lost), ("tiles", uncut)):
        next((run / part).glob(f"{name}.*")).unlink()
    folder.records("merge").drop("volume")
    missing = {step.step: step.missing for step in status(run=run).steps}
    assert missing["split"] == missing["classify"] == (lost,)
    left = work_left(folder)
    assert [left.of(step).computed for step in ("ingest", "split", "classify")] == [0, 1, 1]
    results = through(run)
    assert [results[step].computed for step in ("ingest", "split", "classify")] == [0, 1, 1]


def test_a_worker_parses_the_plan_once_and_reads_the_classifier_once(
    finished, tmp_path, opened, monkeypatch
):
    run = tmp_path / "run"
    planned(run, finished / "slices")
    through(run, until="split")
    parsed = []
    real = Plan.model_validate_json
    monkeypatch.setattr(Plan, "model_validate_json", lambda data: parsed.append(1) or real(data))
    opened.clear()
    assert steps.classify(run=run).computed == 8
    assert len(parsed) == 1  # when the step began, not for each record
    assert opened.count(str(VESSELS.classifier)) == 1
