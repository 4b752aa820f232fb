"""What leaves a run for other programs: the same voxels, to scale, whole or not there at all."""

import errno
import importlib.util
import json
import os
import signal
import subprocess

import h5py
import numpy as np
import pytest
import tensorstore
import tifffile

from tbseg_ops import steps
from tbseg_ops.errors import ConfigError, InputError, ResourceError
from tbseg_ops.export import omezarr
from tbseg_ops.run import RunFolder
from tbseg_ops.run.images import images_of
from tests.runs import VESSELS, command, copied, planned, tbseg, through

SIZE = (2.0, 0.5, 0.5)


def labels_of(run):
    with h5py.File(run / "segmentation.h5") as file:
        return file["labels"][()]


def array(path):
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/"}}
    return tensorstore.open(spec).result()


def ome(path):
    return json.loads((path / "zarr.json").read_text())["attributes"]["ome"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Thick voxels, a part of the volume, and one probability map."""
    folder = tmp_path_factory.mktemp("export")
    raw = np.tile(VESSELS.raw()[..., 0], (1, 2, 3))
    file = folder / "volume.h5"
    with h5py.File(file, "w") as made:
        made["data"] = raw
        made["data"].attrs["element_size_um"] = SIZE
    first = VESSELS_LABELS[0]
    more = {"box": "5:37,0:85,:", "probabilities": (first,), "tile": (64, 128, 128)}
    planned(folder / "run", f"{file}:/data", **more)
    through(folder / "run")
    return folder / "run"


def vessels_labels():
    from tbseg_ops.classifier import read_passport

    return read_passport(str(VESSELS.classifier)).labels


VESSELS_LABELS = vessels_labels()


@pytest.fixture(scope="module")
def exported(run):
    steps.export(run=run, to="ome-zarr")
    return run / "export"


def test_the_voxels_are_those_of_the_run(run, exported):
    plan, labels = RunFolder(run).plan, labels_of(run)
    path = exported / "raw.ome.zarr"
    assert np.array_equal(array(path / "labels/labels/0").read().result(), labels)
    raw = np.tile(VESSELS.raw()[..., 0], (1, 2, 3))[plan.part.slices]
    assert np.array_equal(array(path / "0").read().result(), raw)
    (maps,) = exported.glob("probability-1-*.ome.zarr")
    with h5py.File(run / "segmentation.h5") as file:
        (truth,) = file["probabilities"].values()
        assert np.array_equal(array(maps / "0").read().result(), truth[()])


def test_levels_have_their_place_and_thick_voxels_are_not_made_thicker(exported):
    levels = ome(exported / "raw.ome.zarr")["multiscales"][0]["datasets"]
    scales = [level["coordinateTransformations"][0]["scale"] for level in levels]
    assert scales == [[2.0, 0.5, 0.5], [2.0, 1.0, 1.0]]
    moved = [level["coordinateTransformations"][1]["translation"] for level in levels]
    assert moved == [[10.0, 0.0, 0.0], [10.0, 0.25, 0.25]]
    axes = ome(exported / "raw.ome.zarr")["multiscales"][0]["axes"]
    assert [axis["unit"] for axis in axes] == ["micrometer"] * 3
    fine, coarse = (array(exported / f"raw.ome.zarr/labels/labels/{n}") for n in (0, 1))
    assert coarse.shape == (32, 43, 80)
    fine, coarse = fine.read().result(), coarse.read().result()
    coarse = coarse[:, :42, :79]
    quarters = np.stack([fine[:, y:84:2, x:158:2] for y in (0, 1) for x in (0, 1)])
    counts = np.stack([(quarters == n).sum(0) for n in range(4)])
    assert (np.take_along_axis(counts, coarse[None].astype(int), 0)[0] == counts.max(0)).all()


def test_classes_have_the_classifiers_names_and_colours(run, exported):
    passport = RunFolder(run).plan.classifier
    found = ome(exported / "raw.ome.zarr/labels/labels")["image-label"]
    assert [p["class"] for p in found["properties"]] == list(passport.labels)
    assert [tuple(c["rgba"][:3]) for c in found["colors"]] == list(passport.colors)
    assert ome(exported / "raw.ome.zarr/labels")["labels"] == ["labels"]


def test_validators_and_readers_take_it(run, exported):
    """Each of them where it is installed; docs/export.md says which were."""
    names = ("yaozarrs", "ome_zarr_models", "ngff_zarr", "ome_zarr", "zarr", "tensorstore")
    here = [name for name in names if importlib.util.find_spec(name)]
    path, labels = exported / "raw.ome.zarr", labels_of(run)
    if "yaozarrs" in here:
        from yaozarrs.v05 import OMEZarrGroupJSON

        for group in sorted(exported.rglob("zarr.json")):
            if '"group"' in group.read_text():
                OMEZarrGroupJSON.model_validate_json(group.read_text())
    if "ome_zarr_models" in here:
        import ome_zarr_models

        for name in ("", "labels/labels"):
            ome_zarr_models.open_ome_zarr(str(path / name))
    if "ngff_zarr" in here:
        import ngff_zarr

        image = ngff_zarr.from_ngff_zarr(str(path / "labels/labels"), validate=True).images[0]
        assert tuple(image.scale[axis] for axis in "zyx") == SIZE
        assert np.array_equal(np.asarray(image.data), labels)
    if "ome_zarr" in here:
        from ome_zarr.io import parse_url
        from ome_zarr.reader import Reader

        nodes = {node.zarr.basename(): node for node in Reader(parse_url(str(path)))()}
        assert np.array_equal(np.asarray(nodes["labels"].data[0]), labels)
    if "tensorstore" in here:
        import tensorstore

        place = {"driver": "file", "path": str(path / "labels/labels/0")}
        store = tensorstore.open({"driver": "zarr3", "kvstore": place}, read=True).result()
        assert np.array_equal(store.read().result(), labels)
    if "zarr" in here:
        import zarr

        assert np.array_equal(zarr.open(path / "labels/labels/0", mode="r")[:], labels)
    if not here:
        pytest.skip("no validator or reader of OME-Zarr is installed")


def test_a_stack_is_mapped_and_has_the_voxel_size(run, tmp_path):
    first = VESSELS_LABELS[0]
    done = steps.export(run=run, to="tiff", out=tmp_path, what=["labels", first])
    labels = labels_of(run)
    for file, values, most in zip(
        done.files, (labels, labels == 1), (len(VESSELS_LABELS), 1), strict=True
    ):
        assert np.array_equal(tifffile.memmap(file, mode="r"), values)
        with tifffile.TiffFile(file) as tiff:
            assert tiff.imagej_metadata["spacing"] == 2.0
            assert tiff.imagej_metadata["unit"] in ("um", "\\u00B5m", "µm")
            assert tiff.imagej_metadata["max"] == most
            assert tiff.pages[0].tags["XResolution"].value == (2, 1)


def test_a_folder_of_slices(run, tmp_path):
    steps.export(run=run, to="tiff-slices", out=tmp_path)
    files = sorted((tmp_path / "labels").iterdir())
    assert files[7].name == "labels_00007.tif"
    assert np.array_equal(np.stack([tifffile.imread(f) for f in files]), labels_of(run))


def test_types_that_imagej_lacks_and_large_files_are_ome(run, tmp_path, monkeypatch):
    from tbseg_ops.export import tiff

    monkeypatch.setattr(tiff, "_IMAGEJ_BYTES", 1000)
    (file,) = steps.export(run=run, to="tiff", out=tmp_path).files
    with tifffile.TiffFile(file) as made:
        assert made.is_bigtiff
        assert 'PhysicalSizeZ="2.0"' in made.ome_metadata
    assert np.array_equal(tifffile.memmap(file, mode="r"), labels_of(run))


def test_channels_come_first_in_omezarr_and_after_z_in_tiff(run, tmp_path, monkeypatch):
    from tbseg_ops.run.plan import Plan

    plan = RunFolder(run).plan
    info = plan.volume.model_copy(update={"channels": 2})
    two = plan.model_copy(update={"volume": info})
    assert isinstance(two, Plan)
    (image,) = images_of(two, ["raw"])
    omezarr.create(two, tmp_path / "raw", [("", image)])
    assert array(tmp_path / "raw/0").shape == (2, *plan.shape)
    axes = ome(tmp_path / "raw")["multiscales"][0]["axes"]
    assert [axis["name"] for axis in axes] == ["c", "z", "y", "x"]


def test_it_is_recognised_and_what_is_not_ours_is_left_alone(finished, tmp_path):
    run = copied(finished, tmp_path)
    assert steps.export(run=run, to="tiff").computed == 1
    again = steps.export(run=run, to="tiff")
    assert (again.computed, again.reused) == (0, 1)
    other = tmp_path / "other"
    other.mkdir()
    (other / "labels.tif").write_text("mine")
    with pytest.raises(ConfigError, match="not exported"):
        steps.export(run=run, to="tiff", out=other)
    assert (other / "labels.tif").read_text() == "mine"


@pytest.mark.parametrize("what", ["nothing", "probabilities:nothing", "class:", "../labels"])
def test_what_the_run_does_not_have_is_named(finished, what):
    with pytest.raises(InputError, match="has nothing of that name"):
        images_of(RunFolder(finished / "run").plan, [what])


@pytest.mark.parametrize("label", ["../../etc", "a/b,c", "raw", "x" * 300, ".", "-rf", "\n<b>"])
def test_a_hostile_class_is_a_harmless_file(finished, label):
    plan = RunFolder(finished / "run").plan
    passport = plan.classifier
    hostile = passport.model_copy(update={"labels": (label, *passport.labels[1:])})
    (image,) = images_of(plan.model_copy(update={"classifier": hostile}), [f"class:{label}"])
    assert image.name.isascii()
    assert image.name.replace("-", "").isalnum()
    assert len(image.name) < 60


@pytest.mark.parametrize("to", ["ome-zarr", "tiff"])
def test_a_killed_export_goes_on_and_nothing_half_is_there(run, tmp_path, to):
    out = tmp_path / "out"
    words = command("export", run, "--to", to, "--out", out, "--workers", 1)
    child = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    child.stderr.readline()  # a piece is written
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stderr.close()
    done = tbseg("export", run, "--to", to, "--out", out, "--workers", 1)
    assert done.returncode == 0, done.stderr
    if to == "tiff":
        assert np.array_equal(tifffile.imread(out / "labels.tif"), labels_of(run))
    else:
        found = array(out / "raw.ome.zarr/labels/labels/0").read().result()
        assert np.array_equal(found, labels_of(run))
    assert not list((out / ".tbseg-export").glob("*.draft"))


def test_what_is_finished_is_not_written_again(run, tmp_path, monkeypatch):
    def break_off(place, shard):
        if shard.level == 1:
            raise KeyboardInterrupt
        return truth(place, shard)

    truth, written = omezarr.write, []
    monkeypatch.setattr(omezarr, "write", break_off)
    with pytest.raises(KeyboardInterrupt):
        steps.export(run=run, to="ome-zarr", out=tmp_path, what=["labels"])
    assert not (tmp_path / "labels.ome.zarr").exists()
    monkeypatch.setattr(
        omezarr, "write", lambda place, shard: written.append(shard.level) or truth(place, shard)
    )
    steps.export(run=run, to="ome-zarr", out=tmp_path, what=["labels"])
    assert set(written) == {1}
    found = array(tmp_path / "labels.ome.zarr/0").read().result()
    assert np.array_equal(found, labels_of(run))


@pytest.mark.parametrize("to", ["ome-zarr", "tiff", "tiff-slices"])
def test_a_full_disk_is_said_and_what_is_written_is_kept(run, tmp_path, monkeypatch, to):
    from tbseg_ops.export import tiff

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full_store(*_, **__):
        raise ValueError(f"RESOURCE_EXHAUSTED: {os.strerror(errno.ENOSPC)}")

    monkeypatch.setattr(tiff, "_write_inside", full)
    monkeypatch.setattr(tiff, "commit_over", full)
    real = omezarr._opened

    def opened(folder, level, write):
        return _Full(full_store) if write else real(folder, level, write)

    monkeypatch.setattr(omezarr, "_opened", opened)
    with pytest.raises(ResourceError, match="disk is full"):
        steps.export(run=run, to=to, out=tmp_path, what=["labels"])
    monkeypatch.undo()
    assert steps.export(run=run, to=to, out=tmp_path, what=["labels"]).computed == 1


class _Full:
    def __init__(self, write):
        self.write = write

    def __getitem__(self, _):
        return self
