"""A part of a volume: its result is that part of the whole volume's, bit for bit."""

import json

import h5py
import numpy as np
import pytest

from tbseg_ops import steps
from tbseg_ops.errors import ConfigError, InputError
from tbseg_ops.run import RunFolder
from tbseg_ops.run.work_left import work_left
from tests.quick import some_slow
from tests.runs import VESSELS, datasets, planned, spec_of, stack, through

MAPS = {"probabilities": "all", "tile": (24, 30, 28)}
BOXES = {
    "inside": ("40:52,50:71,60:80", (40, 50, 60)),
    "a corner": ("0:9,0:11,:", (0, 0, 0)),
    "the other corner": ("70:,80:90,100:", (70, 80, 100)),
    "one voxel": ("44:45,45:46,61:62", (44, 45, 61)),
    "all of it": (":,:,:", (0, 0, 0)),
}


@pytest.fixture(scope="module")
def brain(tmp_path_factory):
    """A volume (74 x 90 x 106) larger than the halo, its mask, and the results of all of it."""
    folder = tmp_path_factory.mktemp("brain")
    raw = np.tile(VESSELS.raw()[..., 0], (2, 2, 2))
    raw[40:] = raw[40:, ::-1] // 2  # not the same again everywhere
    mask = np.zeros(raw.shape, np.uint8)
    mask[10:72, 20:85, 30:100] = 1
    stack(folder / "slices", raw)
    stack(folder / "mask", mask)
    planned(folder / "whole", folder / "slices", **MAPS)
    through(folder / "whole", until="merge")
    return folder


def cropped(whole, part, lo):
    """Every dataset of ``whole`` is, within the box, what ``part`` has."""
    for name, array in part.items():
        there = tuple(slice(a, a + n) for a, n in zip(lo, array.shape, strict=False))
        assert np.array_equal(whole[name][there], array), name


@pytest.mark.parametrize("name", some_slow(BOXES, 2))
def test_the_result_of_a_part_is_that_part_of_the_result(name, brain, tmp_path):
    box, lo = BOXES[name]
    made = planned(tmp_path / "run", brain / "slices", box=box, **MAPS)
    through(tmp_path / "run")  # verify compares the seams, too
    whole = datasets(brain / "whole" / "segmentation.h5")
    part = datasets(tmp_path / "run" / "segmentation.h5")
    assert part.keys() == whole.keys()
    assert part["labels"].shape == made.shape
    cropped(whole, part, lo)
    with h5py.File(tmp_path / "run" / "segmentation.h5") as file:
        assert file["labels"].attrs["offset"].tolist() == list(lo)
    if name != "all of it":
        assert made.read.size < np.prod(made.volume.shape)
        with h5py.File(tmp_path / "run" / "volume.h5") as file:
            assert file["volume"].shape == made.read.shape


@pytest.mark.parametrize(
    "more",
    some_slow(
        [{"engine": "native", "order": "reversed"}, {"split": "copy"}, {"output": "intensity"}], 1
    ),
    ids=str,
)
def test_other_choices_go_with_a_part(more, brain, tmp_path):
    values = {**MAPS, **more, "mask": str(brain / "mask")}
    if "order" in more:
        del values["mask"]
    planned(tmp_path / "whole", brain / "slices", **values)
    through(tmp_path / "whole", until="merge")
    planned(tmp_path / "part", brain / "slices", box="30:60,40:80,35:70", **values)
    through(tmp_path / "part")
    found = datasets(tmp_path / "part" / "segmentation.h5")
    assert found["labels"].any()
    cropped(datasets(tmp_path / "whole" / "segmentation.h5"), found, (30, 40, 35))
    assert steps.prove(run=tmp_path / "part", boxes=6).wrong == 0
    assert steps.prove(run=tmp_path / "part", boxes=6, raw_from="slabs").wrong == 0


def test_only_the_slices_that_count_are_read(brain, tmp_path):
    folder = stack(tmp_path / "slices", np.tile(VESSELS.raw()[..., 0], (2, 1, 1)))
    made = planned(tmp_path / "run", folder, box="70:,:,:")
    first = made.read.lo[0]
    assert 0 < first < 70
    fingerprints = RunFolder(tmp_path / "run").inputs.fingerprints
    assert [bool(f) for f in fingerprints] == [z >= first for z in range(74)]
    (folder / "img_0.tif").write_bytes(b"II*\0 damaged since")
    through(tmp_path / "run", until="merge")


def test_the_note_the_report_and_the_crate_say_it(brain, tmp_path):
    box, lo = BOXES["inside"]
    made = planned(tmp_path / "run", brain / "slices", box=box)
    assert any("part of the volume" in note and "z 40:52 of 74" in note for note in made.notes)
    through(tmp_path / "run")
    assert box in (tmp_path / "run" / "report.html").read_text()
    crate = json.loads((tmp_path / "run" / "ro-crate-metadata.json").read_text())["@graph"]
    (value,) = (entity for entity in crate if entity["@id"] == "#box")
    assert value["value"] == box
    (root,) = (entity for entity in crate if entity["@id"] == "./")
    assert f"12 x 21 x 20 voxels (z, y, x), from voxel {lo} on" in root["description"]


def test_another_part_makes_other_pieces(brain, tmp_path):
    keys = []
    for box in ("0:20,0:20,0:20", "0:20,60:80,0:20", None):
        run = tmp_path / f"run{len(keys)}"
        plan = planned(run, brain / "slices", box=box)
        keys.append(RunFolder(run).slab(plan.slabs[0]).key)
    assert len(set(keys)) == 3
    with pytest.raises(ConfigError, match="other parameters"):
        planned(run, brain / "slices", box="0:20,0:20,0:20")


def test_explain_says_that_the_part_is_another_one(brain, tmp_path):
    planned(tmp_path / "run", brain / "slices", box="0:20,0:20,0:20")
    before = RunFolder(tmp_path / "run").plan
    spec = spec_of(brain / "slices", box="5:25,0:20,0:20")
    future = steps.draft(spec=spec, run=tmp_path / "run")
    reasons = work_left(future, before).of("ingest").reasons
    assert list(reasons) == ["another part of the volume is wanted"]


@pytest.mark.parametrize("box", ["0:75,:,:", "9:9,:,:", "9:3,:,:", ":,90:,:"])
def test_a_part_outside_of_the_volume_is_refused(box, brain, tmp_path):
    with pytest.raises(InputError, match="does not lie in the volume") as caught:
        planned(tmp_path / "run", brain / "slices", box=box)
    assert "--box within 0:74,0:90,0:106" in str(caught.value)


@pytest.mark.parametrize("box", ["1:2,3:4", "a:b,:,:", "1,2,3", "-1:4,:,:", "1:2,3:4,5:6,7:8"])
def test_what_is_no_box_is_wrong(box):
    with pytest.raises(ConfigError, match="box"):
        spec_of("/data", box=box)
