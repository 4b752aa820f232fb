"""What is told and shown of a volume before a run: the words of audit, refusals, pictures."""

import base64
import json

import imagecodecs
import numpy as np

from tbseg_ops import steps
from tbseg_ops.look.overview import overview
from tbseg_ops.look.subject import Subject
from tests.runs import VESSELS, stack
from tests.synthetic import write_stack


def seen(volume, classifier=VESSELS.classifier, **more):
    subject = Subject(volume=str(volume), classifier=classifier and str(classifier), **more)
    return json.loads(json.dumps(overview(subject), allow_nan=False))


def test_the_words_are_those_of_audit_and_pictures_are_of_the_volume(tmp_path):
    volume = stack(tmp_path / "slices")
    found = seen(volume)
    audit = steps.audit(volume=str(volume), classifier=str(VESSELS.classifier))
    assert found["volume"] == audit.volume.model_dump(mode="json")
    assert (found["first"], found["last"]) == (audit.first, audit.last)
    assert (found["unfit"], found["refusals"]) == (list(audit.unfit), [])
    names = [c["label"] for c in found["classifier"]["classes"]]
    assert names == list(audit.classifier.labels)
    assert found["preview"]["halo"] == list(audit.classifier.halo_for(audit.volume.shape))
    assert sum(found["histogram"]["channels"][0]) > 10_000
    raw = VESSELS.raw()[..., 0]
    for picture in found["pictures"]["z"][::9]:
        head, data = picture["image"].split(",")
        assert head == "data:image/png;base64"
        grey = imagecodecs.png_decode(base64.b64decode(data))
        assert np.corrcoef(grey.ravel(), raw[picture["at"]].ravel())[0, 1] > 0.98


def test_an_unfit_volume_is_told_in_the_words_of_fit(tmp_path):
    bright = VESSELS.raw()[..., 0].astype(np.uint16) * 200 + 5000
    found = seen(write_stack(tmp_path / "v", bright))
    (text,) = found["unfit"]
    assert "above all of the classifier's thresholds" in text
    assert found["preview"]["lo"]


def test_a_refusal_of_one_leaves_the_other_to_be_seen(tmp_path):
    volume = stack(tmp_path / "slices")
    (tmp_path / "no.ilp").write_bytes(b"no project")
    found = seen(volume, tmp_path / "no.ilp")
    (refusal,) = found["refusals"]
    assert refusal["file"] == str(tmp_path / "no.ilp")
    assert (found["classifier"], found["preview"]) == (None, None)
    assert found["pictures"]["z"]
    found = seen(tmp_path / "gone")
    (refusal,) = found["refusals"]
    assert (refusal["what"], bool(refusal["mend"])) == ("there is no such volume", True)
    assert found["classifier"]["classes"]
    found = seen(write_stack(tmp_path / "small", np.zeros((4, 5, 6), np.uint8)))
    assert ["too small" in one["what"] for one in found["refusals"]] == [True]
    assert found["pictures"]["z"]
    assert not found["preview"]


def test_voxels_that_are_no_numbers(tmp_path):
    volume = VESSELS.raw()[..., 0].astype(np.float32)
    volume[:, :, ::2], volume[:, 0, 1] = np.nan, np.inf
    assert seen(write_stack(tmp_path / "v", volume), None)["values"] is None
