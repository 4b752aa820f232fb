"""Runs that refer to their slices give what runs with a copy give, and see what was changed."""

import os
import shutil

import h5py
import numpy as np
import pytest
import tifffile

from tbseg_ops import steps
from tbseg_ops.errors import ConfigError, InputError
from tbseg_ops.geometry import Box
from tbseg_ops.run import RunFolder
from tbseg_ops.run.done import own
from tbseg_ops.run.raw import read_volume
from tbseg_ops.view.voxels import raw_box
from tbseg_ops.volume.pages import PagesSource
from tests.quick import some_slow
from tests.reference_sets import ReferenceSet
from tests.runs import VESSELS, planned, spec_of, stack, through
from tests.synthetic import noise_volume, write_stack

RAW = VESSELS.raw()[..., 0]


@pytest.fixture
def referring(tmp_path):
    """A run after plan, and its slices in z order."""
    slices = stack(tmp_path / "slices")
    planned(tmp_path / "run", slices, ingest="refer")
    paths = sorted(slices.iterdir(), key=lambda path: int(path.stem.split("_")[1]))
    return RunFolder(tmp_path / "run"), paths


@pytest.mark.parametrize(
    ("more", "layout"),
    some_slow(
        [
            ({}, {}),
            ({"split": "copy", "output": "intensity"}, {"byteorder": ">", "rowsperstrip": 7}),
            ({"box": "5:30,7:40,:"}, {"bigtiff": True}),
            ({"mask": True}, {}),
        ],
        2,
    ),
    ids=["plain", "strips", "box", "mask"],
)
def test_the_same_bytes_as_with_a_copy(more, layout, tmp_path):
    write_stack(tmp_path / "slices", RAW.astype(np.uint16), **layout)
    if "mask" in more:
        mask = (RAW > 9).astype(np.uint8)
        more = {"mask": str(write_stack(tmp_path / "mask", mask))}
    for how in ("copy", "refer"):
        planned(tmp_path / how, tmp_path / "slices", ingest=how, **more)
        through(tmp_path / how)
    one, other = (tmp_path / how / "segmentation.h5" for how in ("copy", "refer"))
    assert one.read_bytes() == other.read_bytes()
    with h5py.File(tmp_path / "refer/volume.h5") as file:  # as another program opens it
        z, y, x = RunFolder(tmp_path / "refer").plan.read.slices
        assert np.array_equal(file["volume"], RAW[z, y, x])
    held = sum(path.stat().st_size for path in (tmp_path / "refer/volume").iterdir())
    assert held < RAW.nbytes / 4


FILES = {
    "pages": {},
    "BigTIFF, big-endian": {"bigtiff": True, "byteorder": ">"},
    # One page, and the other images behind it.
    "ImageJ": {"imagej": True, "metadata": {"axes": "ZYX"}},
    "two channels": {"planarconfig": "contig"},
}


def one_file(path, volume, **layout):
    """A volume as one TIFF file of all its slices."""
    tifffile.imwrite(path, volume, **{"photometric": "minisblack", **layout})
    return path


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_all_slices_is_referred_to(name, tmp_path, monkeypatch):
    volume = RAW if name == "pages" else RAW.astype(np.uint16) * 257
    more = {}
    if name == "two channels":
        volume = np.stack([RAW, np.flip(RAW)], axis=-1)
        more = {"classifier": str(ReferenceSet("two-channel").classifier)}
    file = one_file(tmp_path / "stack.tif", volume, **FILES[name])
    made = planned(tmp_path / "run", file, ingest="auto", **more)
    assert made.refers
    monkeypatch.setattr(PagesSource, "__init__", None)  # nobody audits the file once more
    assert steps.ingest(run=tmp_path / "run").computed == 0
    folder, box = RunFolder(tmp_path / "run"), Box((3, 5, 7), (36, 40, 41))
    expected = volume[box.slices].reshape(*box.shape, made.volume.channels)
    assert np.array_equal(read_volume(folder, box, box).raw, expected)
    assert np.array_equal(raw_box(folder, box), expected)
    with h5py.File(tmp_path / "run/volume.h5") as opened:  # as another program opens it
        assert np.array_equal(opened["volume"], volume)


def test_a_time_point_of_a_file_is_referred_to(tmp_path):
    both = np.stack([np.flip(RAW), RAW]).astype(np.uint16)
    file = one_file(tmp_path / "t.tif", both, imagej=True, metadata={"axes": "TZYX"})
    assert planned(tmp_path / "run", file, ingest="auto", time=1).refers
    folder, box = RunFolder(tmp_path / "run"), Box((3, 5, 7), (36, 40, 41))
    assert np.array_equal(read_volume(folder, box, box).raw[..., 0], RAW[box.slices])


def test_a_file_of_all_slices_gives_the_same_bytes_as_a_copy(tmp_path):
    file = one_file(tmp_path / "stack.tif", RAW)
    for how in ("copy", "refer"):
        planned(tmp_path / how, file, ingest=how)
        through(tmp_path / how)
    one, other = (tmp_path / how / "segmentation.h5" for how in ("copy", "refer"))
    assert one.read_bytes() == other.read_bytes()


def test_a_page_that_was_changed_is_refused(tmp_path):
    file = one_file(tmp_path / "stack.tif", RAW)
    planned(tmp_path / "run", file, ingest="refer")
    steps.split(run=tmp_path / "run")
    with tifffile.TiffFile(file) as tiff:
        offset = tiff.pages[18].dataoffsets[0]
    content = bytearray(file.read_bytes())
    content[offset + 700] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match="changed since the plan was made") as caught:
        steps.classify(run=tmp_path / "run")
    assert caught.value.file == "stack.tif page 18"
    file.write_bytes(content[: offset + 5])
    with pytest.raises(InputError, match=r"stack\.tif"):
        steps.classify(run=tmp_path / "run")


def test_a_file_with_one_compressed_page_is_copied(tmp_path):
    with tifffile.TiffWriter(tmp_path / "stack.tif") as tiff:
        for z, plane in enumerate(RAW):
            compression = "zlib" if z == 7 else None
            tiff.write(plane, photometric="minisblack", compression=compression, metadata=None)
    assert not planned(tmp_path / "run", tmp_path / "stack.tif", ingest="auto").refers
    with pytest.raises(InputError, match="cannot refer"):
        planned(tmp_path / "run2", tmp_path / "stack.tif", ingest="refer")


def test_channels_and_numbers_with_a_point(tmp_path):
    volume = noise_volume((9, 33, 70, 2), "float32")
    slices = write_stack(tmp_path / "slices", volume)
    two = ReferenceSet("two-channel")
    planned(
        tmp_path / "run", slices, classifier=str(two.classifier), ingest="refer", tile=(9, 9, 9)
    )
    folder = RunFolder(tmp_path / "run")
    box = Box((1, 2, 3), (9, 33, 68))
    assert np.array_equal(read_volume(folder, box, box).raw, volume[box.slices])
    assert np.array_equal(raw_box(folder, box), volume[box.slices])


@pytest.mark.parametrize("layout", [{"compression": "lzw"}, {"tile": (16, 16)}])
def test_what_cannot_be_referred_to_is_copied(layout, tmp_path):
    slices = write_stack(tmp_path / "slices", RAW, **layout)
    with pytest.raises(InputError, match="cannot refer"):
        planned(tmp_path / "run", slices, ingest="refer")
    assert not planned(tmp_path / "run", slices).refers
    assert steps.ingest(run=tmp_path / "run").computed == 1


def test_byte_orders_that_differ_are_copied(tmp_path):
    write_stack(tmp_path / "slices", RAW[:20].astype(np.uint16))
    write_stack(tmp_path / "slices", RAW[20:].astype(np.uint16), start=20, byteorder=">")
    assert not planned(tmp_path / "run", tmp_path / "slices").refers


def test_slices_are_read_for_their_fingerprints_and_not_again(referring):
    folder, paths = referring
    for path in paths:
        path.rename(path.with_suffix(".gone"))
    assert steps.ingest(run=folder.path).computed == 0
    for path in paths:
        path.with_suffix(".gone").rename(path)
    piece = folder.slab(folder.plan.slabs[0])
    before = piece.path.read_bytes()
    piece.path.unlink()
    assert steps.ingest(run=folder.path).computed == 1
    assert piece.path.read_bytes() == before


@pytest.mark.parametrize("step", ["classify", "verify"])
def test_a_changed_slice_is_refused(step, referring):
    """Though its size and the time of its change are as before."""
    folder, paths = referring
    through(folder.path, until={"classify": "split", "verify": "merge"}[step])
    there, content = paths[18].stat(), bytearray(paths[18].read_bytes())
    content[-2000:] = bytes(2000)
    paths[18].write_bytes(content)
    os.utime(paths[18], ns=(there.st_atime_ns, there.st_mtime_ns))
    with pytest.raises(InputError, match="changed since the plan was made") as caught:
        getattr(steps, step)(run=folder.path)
    assert caught.value.file == paths[18].name
    assert own(folder, folder.slab(folder.plan.slabs[0])) is not None


@pytest.mark.parametrize("how", ["cut", "gone", "folder"])
def test_a_slice_that_cannot_be_read_is_refused(how, referring):
    folder, paths = referring
    if how == "cut":
        paths[3].write_bytes(paths[3].read_bytes()[:-10])
    else:
        paths[3].unlink()
    if how == "folder":
        paths[3].mkdir()
    steps.split(run=folder.path)
    with pytest.raises(InputError, match=paths[3].name):
        steps.classify(run=folder.path)
    assert not raw_box(folder, Box((0, 0, 0), folder.plan.shape)).any()  # a viewer goes on


def test_a_damaged_slab_is_made_again(referring):
    folder, _ = referring
    through(folder.path, until="split")
    piece = folder.slab(folder.plan.slabs[0])
    with h5py.File(piece.path, "r+") as file:
        file["checks"][0, 0, 0] ^= 1
    with pytest.raises(Exception, match="tbseg ingest --run"):
        steps.classify(run=folder.path)
    assert steps.ingest(run=folder.path).computed == 1
    assert through(folder.path)["verify"].computed


def test_slices_elsewhere_are_other_slabs_and_the_same_tiles(referring, tmp_path):
    folder, paths = referring
    through(folder.path)
    moved = shutil.copytree(paths[0].parent, tmp_path / "moved")
    steps.plan(spec=spec_of(moved, ingest="refer"), run=tmp_path / "run2", earlier=(folder.path,))
    shutil.rmtree(paths[0].parent)
    results = through(tmp_path / "run2")
    assert results["classify"].taken == len(folder.plan.grid)
    with h5py.File(tmp_path / "run2/volume.h5") as file:
        assert np.array_equal(file["volume"], RAW)


def test_a_run_with_a_copy_stands_alone_and_one_that_refers_does_not(referring, tmp_path):
    folder, paths = referring
    through(folder.path, until="merge")
    planned(tmp_path / "copy", paths[0].parent, ingest="copy")
    through(tmp_path / "copy", until="merge")
    shutil.rmtree(paths[0].parent)
    steps.verify(run=tmp_path / "copy")
    with pytest.raises(ConfigError, match="no copy"):
        steps.prove(run=folder.path, boxes=1)


def test_no_path_is_taken_from_a_slab(referring):
    """Whoever can write into the run folder cannot have another file read by it."""
    folder, paths = referring
    shutil.copytree(paths[0].parent, paths[0].parent.with_name("secret"))
    piece = folder.slab(folder.plan.slabs[0])
    content = piece.path.read_bytes()
    assert content.count(b"/slices/") == len(paths)
    piece.path.write_bytes(content.replace(b"/slices/", b"/secret/"))
    shutil.rmtree(paths[0].parent.with_name("secret"))
    box = Box((0, 0, 0), folder.plan.shape)
    assert np.array_equal(read_volume(folder, box, box).raw[..., 0], RAW)
