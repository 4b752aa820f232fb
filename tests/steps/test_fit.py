"""A run whose volume does not fit: the warning is where people look, and changes nothing."""

import json
import re

import numpy as np
import pytest

from tbseg_ops import steps
from tbseg_ops.run import RunFolder
from tbseg_ops.run.status import status
from tests.runs import VESSELS, copied, last_json, planned, spec_of, stack, tbseg, through

WORDS = "100.0 % of the voxels are above all of the classifier's thresholds"


@pytest.fixture(scope="module")
def unfit(tmp_path_factory):
    """A run over the microscope's 16-bit stack, of a classifier trained on an 8-bit view of it."""
    folder = tmp_path_factory.mktemp("unfit")
    volume = VESSELS.raw()[..., 0].astype(np.uint16) * 40 + 300
    planned(folder / "run", stack(folder / "slices", volume))
    through(folder / "run")
    return folder


def test_it_is_told_at_audit_and_plan(unfit, tmp_path):
    given = unfit / "slices", VESSELS.classifier
    audit = last_json(tbseg("audit", *given, "--json"))
    (text,) = audit["unfit"]
    assert text.startswith(WORDS)
    assert f"warning  {text}" in tbseg("audit", *given).stdout.splitlines()
    assert last_json(tbseg("audit", unfit / "slices", "--json"))["unfit"] == []
    plan = ("plan", *given, tmp_path / "run")
    assert f"warning  {text}" in tbseg(*plan).stdout.splitlines()
    assert last_json(tbseg(*plan, "--json"))["warnings"] == [text]


def test_it_is_told_of_the_result(unfit):
    run = unfit / "run"
    state = status(run=run)
    assert state.verified, "complete and exact it is"
    (text,) = state.warnings
    assert text.startswith(WORDS)
    assert f"warning  {text}" in tbseg("status", run).stdout.splitlines()
    assert last_json(tbseg("status", run, "--json"))["warnings"] == [text]
    assert steps.publish(run=run).warnings == (text,)
    page = (run / "report.html").read_text()
    assert re.findall(r'<span class="badge (\w+)">([^<]+)<', page) == [
        ("good", "verified"),
        ("warn", "1 warning"),
    ]
    assert f'<p class="note">{WORDS.replace("&", "")}'.replace("'", "&#39;") in page
    crate = json.loads((run / "ro-crate-metadata.json").read_text())
    (action,) = [e for e in crate["@graph"] if e["@id"] == "#run"]
    assert action["description"].endswith(f"the result is verified; warning: {text}")


def test_a_run_that_fits_says_so(finished):
    assert status(run=finished / "run").warnings == ()
    page = (finished / "run" / "report.html").read_text()
    assert re.findall(r'<span class="badge (\w+)">([^<]+)<', page) == [
        ("good", "verified"),
        ("good", "no warnings"),
    ]
    assert "warning" not in tbseg("status", finished / "run").stdout


def test_the_tiles_that_are_done_are_looked_at(tmp_path):
    """An empty volume, nearly: its tiles are all one class, before all of them are done."""
    volume = np.random.default_rng(0).integers(24, 26, VESSELS.raw().shape[:3], np.uint8)
    run = tmp_path / "run"
    assert planned(run, stack(tmp_path / "slices", volume)).warnings == ()
    through(run, until="split")
    steps.calibrate(run=run, count=2)
    (text,) = status(run=run).warnings
    assert text.startswith("100.00 % of the voxels of the 2 tiles done so far are 'background'")
    through(run)
    (text,) = status(run=run).warnings
    assert text.startswith("100.00 % of the voxels are 'background', one of 2 classes")


def test_a_plan_of_an_earlier_version_is_read(finished, tmp_path):
    """It knows nothing of all this; what it has made is kept."""
    run = copied(finished, tmp_path)
    stored = json.loads((run / "plan.json").read_text())
    del stored["warnings"], stored["classifier"]["training"], stored["seal"], stored["listing"]
    (run / "plan.json").write_text(json.dumps(stored))
    old = status(run=run)
    assert (old.verified, old.warnings) == (True, ())
    steps.plan(spec=spec_of(tmp_path / "slices"), run=run)
    assert RunFolder(run).plan.classifier.training.thresholds
    assert through(run)["classify"].computed == 0
    assert status(run=run).verified
