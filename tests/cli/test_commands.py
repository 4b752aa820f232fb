"""The commands as scripts use them: one JSON object as the last line."""

import json
import shutil

import h5py

from tests.classifier.projects import trained_on
from tests.reference_sets import REFERENCE, ReferenceSet
from tests.runs import VESSELS, last_json, tbseg


def test_audit_inspect_plan_and_status(finished, tmp_path):
    audit = last_json(tbseg("audit", finished / "slices", VESSELS.classifier, "--json"))
    assert audit["volume"]["shape"] == [37, 45, 53]
    passport = last_json(tbseg("inspect", VESSELS.classifier, "--json"))
    assert passport["digest"] == audit["classifier"]["digest"]
    plan = last_json(
        tbseg(
            *("plan", finished / "slices", VESSELS.classifier, tmp_path / "run"),
            *("--tile", "20,24,30", "--max-batches", 3, "--json"),
        )
    )
    assert (plan["tiles"], plan["batches"]) == (8, 3)
    assert plan["bytes"]["volume"] == 0 < plan["bytes"]["classes"]  # it refers to the slices
    status = last_json(tbseg("status", tmp_path / "run", "--json"))
    assert [s["done"] for s in status["steps"]] == [1, 0, 0, 0, 0]
    status = last_json(tbseg("status", finished / "run", "--json"))
    assert status["verified"] is True
    assert [s["missing"] for s in status["steps"]] == [[]] * 5


def test_batches_do_what_they_hold(finished, tmp_path):
    run = tmp_path / "run"
    tbseg(
        *("plan", finished / "slices", VESSELS.classifier, run),
        *("--tile", "20,24,30", "--max-batches", 3),
    )
    last_json(tbseg("ingest", "--run", run, "--json"))
    done = [
        last_json(tbseg("classify", "--run", run, "--batch", n, "--workers", 1, "--json"))
        for n in range(3)
    ]
    assert [d["computed"] for d in done] == [3, 3, 2]
    again = last_json(tbseg("classify", "--run", run, "--batch", 1, "--workers", 1, "--json"))
    assert (again["computed"], again["reused"]) == (0, 3)
    assert again["seconds"] < 0.5


def test_people_get_text(finished):
    for arguments in (
        ("audit", finished / "slices", VESSELS.classifier),
        ("inspect", VESSELS.classifier),
        ("status", finished / "run"),
    ):
        result = tbseg(*arguments)
        assert result.returncode == 0, result.stderr
        assert result.stdout.strip()
        assert not result.stdout.startswith("{")


def test_how_a_project_is_read_is_said_where_people_look(finished, tmp_path):
    images = trained_on(tmp_path, ReferenceSet("vessels-2d").classifier, "tyx")
    with h5py.File(images, "r+") as file:
        del file["workflowName"]
        file["workflowName"] = b"Object Classification (from pixel classification)"
    said = ("only the pixel classes are used", "each slice is classified by itself")
    assert said[0] in tbseg("inspect", images).stdout
    audit = tbseg("audit", finished / "slices", images).stdout
    plan = tbseg("plan", finished / "slices", images, tmp_path / "run").stdout
    assert all(words in text for words in said for text in (audit, plan))
    two = tbseg("inspect", REFERENCE / "two-stage" / "classifier.ilp").stdout
    assert "first stage    background, vessel, nucleus; 16 columns" in two


def test_volume_and_classifier_that_changed_places(finished, tmp_path):
    slices, ilp, run = finished / "slices", VESSELS.classifier, tmp_path / "run"
    for arguments in (("inspect", slices), ("audit", ilp, slices), ("plan", ilp, slices, run),
                      ("run", ilp, slices, run), ("audit", ilp)):  # fmt: skip
        result = tbseg(*arguments)
        assert result.returncode == 65
        assert "changed places" in result.stderr


def test_help_lists_the_exit_codes():
    text = " ".join(tbseg("--help").stdout.split())
    for code in ("65 input unusable", "74 something is damaged", "75 disk", "78 settings wrong"):
        assert code in text


def test_json_of_run_has_what_scripts_need(finished, tmp_path):
    result = last_json(
        tbseg(
            *("run", finished / "slices", VESSELS.classifier, tmp_path / "run", "--json"),
            *("--tile", "20,24,30", "--output", "intensity", "--probabilities", "all"),
            *("--probability-dtype", "uint8"),
        )
    )
    assert {"segmentation", "labels", "tiles", "computed", "reused", "seconds"} <= result.keys()
    assert json.dumps(result)


def test_a_label_with_a_comma_is_chosen_by_its_percent_code(finished, tmp_path):
    project = shutil.copy(VESSELS.classifier, tmp_path / "comma.ilp")
    with h5py.File(project, "r+") as file:
        del file["PixelClassification/LabelNames"]
        file["PixelClassification/LabelNames"] = [b"all", b"vessel, thin"]
    result = last_json(
        tbseg(
            *("run", finished / "slices", project, tmp_path / "run", "--json"),
            *("--probabilities", "%61ll,vessel%2C thin", "--probability-dtype", "uint8"),
        )
    )
    with h5py.File(result["segmentation"]) as file:
        assert sorted(file["probabilities"]) == result["labels"] == ["all", "vessel, thin"]
