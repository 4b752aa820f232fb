"""The run as an RO-Crate: what the library's own validator says, what is in it, hostile names."""

import json
from pathlib import Path
from urllib.parse import unquote

import h5py
import numpy as np
import pytest

from tbseg_ops import steps
from tbseg_ops.report.entities import Entities
from tbseg_ops.run import RunFolder
from tests.runs import VESSELS, copied, planned, stack, through

# What a run does not know, and what the validator asks of a README.md that is not there.
UNKNOWN = (
    "The Action SHOULD have an agent that is a Person or Organization (./#run)",
    "The Application SHOULD have a url (./#engine-native)",
    "The Application SHOULD have a url (./#tbseg-",
    "The Application SHOULD have a url (./plan.json)",
    "The README.md SHOULD ",
    "The Root Data Entity SHOULD have a link to a Contextual Entity representing the `author`",
    "The SoftwareApplication id SHOULD be an absolute URI (",
    "The `publisher` property of a `Root Data Entity` SHOULD be an `Organization` (./)",
)


def graph(run: Path) -> dict[str, dict]:
    """The entities of a crate by their identifiers."""
    whole = json.loads((run / "ro-crate-metadata.json").read_text())
    return {entity["@id"]: entity for entity in whole["@graph"]}


def ids(references) -> list[str]:
    return [r["@id"] for r in (references if isinstance(references, list) else [references])]


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")
def test_the_validator_of_the_library(finished, tmp_path):
    from tests.report.ro_crate import issues

    found = issues(finished / "run", tmp_path / "cache", "RECOMMENDED")
    assert [text for text in found if text.startswith("REQUIRED")] == []
    unknown = tuple(f"RECOMMENDED: {text}" for text in UNKNOWN)
    assert [text for text in found if not text.startswith(unknown)] == []
    assert all(any(text.startswith(known) for text in found) for known in unknown)


def test_inputs_parameters_and_results(finished):
    run = finished / "run"
    folder, entities = RunFolder(run), graph(run)
    plan, merged = folder.plan, folder.records("merge").get("volume")
    action = entities["#run"]
    volume, classifier, *parameters = ids(action["object"])
    assert volume == (finished / "slices").as_uri() + "/"
    assert classifier == VESSELS.classifier.as_uri()
    values = {entities[i]["name"]: entities[i]["value"] for i in parameters}
    assert values == {
        "scale": 0,
        "order": "forward",
        "publish": "none",
        "tile": "20,24,30",
        "engine": "native",
        "output": "mask",
        "probabilities": "none",
        "probability_dtype": "float32",
        "split": "virtual",
        "ingest": "copy",
        "max_batches": 500,
    }
    assert ids(action["result"]) == ["segmentation.h5", "report.html"]
    assert entities["#inputs-digest"]["value"] == plan.inputs_digest
    assert entities["#classifier-digest"]["value"] == plan.classifier.digest
    assert entities["#content"]["value"] == merged.content
    assert entities["segmentation.h5"]["contentSize"] == str(merged.size)
    assert entities["#hosts"]["value"] == merged.host
    assert {name for name in entities if name.startswith("#seconds-")} == {
        f"#seconds-{step}" for step in ("ingest", "split", "classify", "merge", "verify")
    }
    assert action["description"].endswith("the result is verified")
    assert action["startTime"] < action["endTime"]
    programs = {e["name"] for e in entities.values() if e["@type"] == "SoftwareApplication"}
    assert programs == {"tbseg", "numpy", "h5py", "engine native"}
    for name in ids(entities["./"]["hasPart"]):
        assert name.startswith("file:///") or (run / name).exists(), name


def test_what_publish_gives_back(finished, tmp_path):
    run = copied(finished, tmp_path)
    published = steps.publish(run=run)
    assert published.file == str(run / "report.html")
    assert published.crate == str(run / "ro-crate-metadata.json")
    assert (published.run, published.result) == (str(run), str(run / "segmentation.h5"))
    assert published.digest == RunFolder(run).records("merge").get("volume").content


def test_published_twice_it_is_the_same(finished, tmp_path):
    run = copied(finished, tmp_path)
    before = [
        steps.publish(run=run) and (run / "ro-crate-metadata.json").read_bytes() for _ in range(2)
    ]
    assert before[0] == before[1]
    (run / "records" / "verify" / "volume.json").unlink()
    steps.publish(run=run)
    assert graph(run)["#run"]["description"].endswith("the result is not verified")


def test_hostile_names(tmp_path):
    ilp = tmp_path / "names.ilp"
    ilp.write_bytes(VESSELS.classifier.read_bytes())
    labels = ['"},{"@id":"./"', "\N{RIGHT-TO-LEFT OVERRIDE}</script>\x1b[31m"]
    with h5py.File(ilp, "r+") as file:
        del file["PixelClassification/LabelNames"]
        file["PixelClassification/LabelNames"] = np.array(labels, dtype=h5py.string_dtype())
    run = tmp_path / 'a "run"\n\x07\udcff'
    slices = stack(tmp_path / "100% #1? \N{MICRO SIGN}m")
    planned(run, slices, classifier=str(ilp))
    through(run)
    text = (run / "ro-crate-metadata.json").read_text(encoding="ascii")
    entities = graph(run)
    assert all(c.isprintable() for c in json.dumps(list(entities.values()), ensure_ascii=False))
    assert entities["./"]["name"] == 'tbseg: a "run" \\x07\\udcff'
    assert labels[0] in entities["./"]["description"]
    volume = ids(entities["#run"]["object"])[0]
    assert unquote(volume.removeprefix("file://")) == f"{slices}/"
    assert volume.endswith("/100%25%20%231%3F%20%C2%B5m/")
    assert text.count('"@id": "./"') == 2  # the root, and the metadata that is about it


@pytest.mark.parametrize(
    ("text", "is_stack", "uri"),
    [
        ("/data/brain 7", True, "file:///data/brain%207/"),
        ("/data/brain7/ch1_*.tif", True, "file:///data/brain7/"),
        ("/data/*/img_?.tif", True, "file:///data/"),
        ("/data/brain7.tif", False, "file:///data/brain7.tif"),
        ("/data/brain7.h5", False, "file:///data/brain7.h5"),
        ("/data/brain7.h5:/t0/a b", False, "file:///data/brain7.h5#/t0/a%20b"),
        ("/data/a:b.h5:/data", False, "file:///data/a%3Ab.h5#/data"),
    ],
)
def test_where_a_volume_is(text, is_stack, uri):
    found = Entities().volume(text, is_stack, 3)
    assert found.id == uri
    assert found["name"] == text


def test_two_datasets_of_one_file_are_two_and_one_is_one():
    entities = Entities()
    raw = entities.volume("/data/v.h5:/raw", False, 3)
    assert entities.volume("/data/v.h5:/mask", False, 3) is not raw
    assert entities.volume("/data/v.h5:/raw", False, 3) is raw
