"""Volumes of other programs: the same voxels, whatever they are stored as."""

import json
import os
from math import isclose

import h5py
import numpy as np
import pytest
import tifffile

from tbseg_ops import steps
from tbseg_ops.errors import ConfigError, InputError
from tbseg_ops.reference import Reference
from tbseg_ops.run import RunFolder
from tbseg_ops.selection import Selection
from tbseg_ops.volume import open_planned, open_source
from tests.runs import datasets, planned, same, stack, through
from tests.synthetic import noise_volume, write_hdf5, write_stack
from tests.volume.formats import (
    FORMATS,
    SCALED,
    SIZE,
    SIZED,
    imaris,
    n5,
    ome_zarr_04,
    ome_zarr_05,
    zarr2,
    zarr3,
)


@pytest.fixture
def volume():
    return noise_volume((20, 40, 48), "uint16")


@pytest.mark.parametrize("name", FORMATS)
def test_the_voxels(name, volume, tmp_path):
    path = str(FORMATS[name](tmp_path, volume))
    with open_source(path) as source:
        assert (source.info.shape, source.info.channels) == ((20, 40, 48), 1)
        found = source.read(3, 20)
        assert np.array_equal(found.array[..., 0], volume[3:])
        assert found.fingerprints == source.fingerprints(3, 20)
        assert not [text for text in source.warnings if "not stored" in text]
        if name in SIZED:
            assert source.info.unit == "um"
            assert all(map(isclose, source.info.voxel_size, SIZE))
        slices, info = source.slices, source.info
    with open_planned(path, slices, info) as source:
        assert source.read(3, 20, ("",) * 3 + found.fingerprints).fingerprints == found.fingerprints


@pytest.mark.parametrize("name", SCALED)
def test_a_coarser_scale(name, volume, tmp_path):
    path = str(FORMATS[name](tmp_path, volume))
    with open_source(path, Selection(scale=1)) as source:
        assert np.array_equal(source.read(0, 10).array[..., 0], volume[::2, ::2, ::2])
        if name in SIZED:
            assert all(isclose(a, 2 * b) for a, b in zip(source.info.voxel_size, SIZE, strict=True))
    with pytest.raises(InputError, match=r"--scale 2|0 to 1"):
        open_source(path, Selection(scale=2))


@pytest.mark.parametrize("name", ["OME-Zarr 0.5", "N5", "Imaris", "BigDataViewer"])
def test_a_run_gives_the_labels_of_the_tiff_stack(name, tmp_path):
    from tests.runs import VESSELS

    raw = VESSELS.raw()[..., 0].astype(np.uint16)
    results = []
    for form in (lambda folder, array: stack(folder / "slices", array), FORMATS[name]):
        folder = tmp_path / str(len(results))
        folder.mkdir()
        planned(folder / "run", form(folder, raw))
        through(folder / "run")
        results.append(datasets(folder / "run" / "segmentation.h5"))
    assert same(*results)


@pytest.mark.parametrize("given", ["{}:/data", "{}/data"])
def test_a_path_in_an_hdf5_file_in_both_spellings(given, volume, tmp_path):
    path = write_hdf5(tmp_path / "v.h5", volume)
    with open_source(given.format(path)) as source:
        assert np.array_equal(source.read(0, 20).array[..., 0], volume)
    assert Reference.of(f"{path}/data").absolute().dataset == "/data"


def test_the_data_of_imaris_by_its_path_is_cut_too(volume, tmp_path):
    path = imaris(tmp_path, volume)
    inner = "/DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data"
    with open_source(f"{path}:{inner}") as source:
        assert np.array_equal(source.read(0, 20).array[..., 0], volume)


def test_channels_of_imaris(tmp_path):
    volume = noise_volume((20, 40, 48), "uint16") // 2
    path = str(imaris(tmp_path, volume, channels=2))
    with open_source(path) as source:
        expected = np.stack([volume, volume + 1], axis=3)
        assert np.array_equal(source.read(0, 20).array, expected)
    with open_source(path, Selection(channel=1)) as source:
        assert source.info.channels == 1
        assert np.array_equal(source.read(2, 5).array[..., 0], volume[2:5] + 1)


def test_an_imaris_size_beyond_its_dataset_is_refused(volume, tmp_path):
    path = imaris(tmp_path, volume)
    with h5py.File(path, "r+") as file:
        group = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0"]
        group.attrs["ImageSizeX"] = np.frombuffer(b"999", "S1")
    with pytest.raises(InputError, match="999"):
        open_source(str(path))


def test_chunks_that_are_not_stored_are_told(volume, tmp_path):
    path = zarr2(tmp_path, volume)
    (path / "1.1.1").unlink()
    with open_source(str(path)) as source:
        assert any("1 of 27 files of chunks are not stored" in text for text in source.warnings)
        assert (source.read(8, 16).array[:, 16:32, 16:32] == 0).all()
    for chunk in path.glob("[0-9]*"):
        chunk.unlink()
    with pytest.raises(InputError, match="no chunk"):
        open_source(str(path))


@pytest.mark.parametrize("write", [zarr2, zarr3, n5])
def test_a_damaged_chunk_is_an_error(write, volume, tmp_path):
    path = write(tmp_path, volume)
    files = [file for file in path.rglob("[0-9]*") if file.is_file()]
    largest = max(files, key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    with open_source(str(path)) as source, pytest.raises(InputError, match="damaged"):
        source.read(0, 20)


def test_slices_beside_a_file_that_is_called_as_n5_calls_its_own_are_slices(volume, tmp_path):
    slices = write_stack(tmp_path / "slices", volume)
    (slices / "attributes.json").write_text('{"microscope": "the one in the cellar"}')
    with open_source(str(slices)) as source:
        assert source.info.kind == "tiff-stack"
        assert np.array_equal(source.read(0, len(volume)).array[..., 0], volume)


@pytest.mark.parametrize("where", ["../other", "/etc", "a/../../b"])
def test_a_scale_never_leads_out_of_the_folder(where, volume, tmp_path):
    path = ome_zarr_04(tmp_path, volume)
    stored = json.loads((path / ".zattrs").read_text())
    stored["multiscales"][0]["datasets"][0]["path"] = where
    (path / ".zattrs").write_text(json.dumps(stored))
    with pytest.raises(InputError, match="leads out"):
        open_source(str(path))


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "[" * 100_000, '{"attributes": {"ome": {"multiscales": [{}]}}}']
)
def test_damaged_metadata_is_refused(text, volume, tmp_path):
    path = ome_zarr_05(tmp_path, volume)
    (path / "zarr.json").write_text(text)
    with pytest.raises(InputError):
        open_source(str(path))


def test_links_are_refused_where_paths_are_bounded(volume, tmp_path, monkeypatch):
    path = zarr2(tmp_path, volume)
    (path / "0.0.0").unlink()
    (path / "0.0.0").symlink_to("/etc/hostname")
    monkeypatch.setenv("TBSEG_ROOTS", str(tmp_path))
    with pytest.raises(InputError, match="link"):
        open_source(str(path))
    os.rename(path / "1.1.1", tmp_path / "away")
    (tmp_path / "out.zarr").symlink_to("/etc")
    with pytest.raises(ConfigError, match="outside"):
        open_source(str(tmp_path / "out.zarr"))


@pytest.mark.parametrize("name", ["a.czi", "a.nii.gz", "a.nd2", "a.mrc"])
def test_other_formats_are_named_with_what_converts_them(name, tmp_path):
    (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(InputError, match="which is not read") as caught:
        open_source(str(tmp_path / name))
    assert "convert it" in str(caught.value)


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "uint32", "float64", "float16", "bool"])
def test_other_types_are_taken_as_float32_with_a_note(kind, tmp_path):
    volume = (noise_volume((5, 20, 23), "uint8").astype("int16") - 90).astype(kind)
    path = write_hdf5(tmp_path / "v.h5", volume)
    with open_source(str(path)) as source:
        found = source.read(0, 5).array[..., 0]
        assert np.array_equal(found, volume.astype(np.float32))
        assert (source.info.dtype == "uint8") == (kind == "bool")
        told = "true or false" if kind == "bool" else f"type {kind} are taken as float32"
        assert told in " ".join(source.warnings)


def test_a_time_point_of_many(tmp_path):
    volume = noise_volume((3, 5, 20, 23))
    path = str(write_hdf5(tmp_path / "v.h5", volume, axes="tzyx"))
    with pytest.raises(InputError, match="--time 0 to --time 2"):
        open_source(path)
    with open_source(path, Selection(time=1)) as source:
        assert np.array_equal(source.read(0, 5).array[..., 0], volume[1])
    with pytest.raises(InputError, match="no such time point"):
        open_source(path, Selection(time=3))


def test_axes_given_by_the_user(tmp_path):
    volume = noise_volume((5, 20, 23, 2))
    stored = np.ascontiguousarray(volume.transpose(3, 0, 1, 2))
    path = str(write_hdf5(tmp_path / "v.h5", stored))
    with open_source(path) as source:
        assert any("zyxc is assumed" in text for text in source.warnings)
    with open_source(path, Selection(axes="czyx")) as source:
        assert np.array_equal(source.read(0, 5).array, volume)
        assert source.warnings == ()
    with pytest.raises(InputError, match="4 letters"):
        open_source(path, Selection(axes="zyx"))


@pytest.mark.parametrize("other", ["stack", "hdf5", "zarr"])
def test_channels_from_several_volumes(other, tmp_path):
    first, second = noise_volume(seed=1), noise_volume(seed=2)
    one = str(write_stack(tmp_path / "one", first))
    made = {
        "stack": lambda: write_stack(tmp_path / "two", second),
        "hdf5": lambda: write_hdf5(tmp_path / "two.h5", second),
        "zarr": lambda: zarr2(tmp_path, second, "two.zarr"),
    }
    selection = Selection(channels_from=(str(made[other]()),))
    with open_source(one, selection) as source:
        found = source.read(1, 4)
        assert np.array_equal(found.array, np.stack([first, second], axis=3)[1:4])
        assert found.fingerprints == source.fingerprints(1, 4)
        slices, info, all_ = source.slices, source.info, source.fingerprints(0, 5)
    with open_planned(one, slices, info, selection) as source:
        again = source.read(1, 4, all_)
        assert np.array_equal(again.array, found.array)
        with pytest.raises(InputError, match="changed since the plan"):
            source.read(1, 4, ("",) * 5)


def test_channels_of_other_shapes_are_refused(tmp_path):
    one = str(write_stack(tmp_path / "one", noise_volume()))
    for name, shape in (("short", (4, 20, 23)), ("wide", (5, 20, 24))):
        two = str(write_stack(tmp_path / name, noise_volume(shape)))
        with pytest.raises(InputError, match="differ"):
            open_source(one, Selection(channels_from=(two,)))


@pytest.mark.parametrize("form", ["stack", "hdf5"])
def test_the_other_end_first(form, tmp_path):
    volume = noise_volume()
    stored = {"stack": write_stack, "hdf5": write_hdf5}[form](tmp_path / "v", volume)
    selection = Selection(order="reversed")
    with open_source(str(stored), selection) as source:
        found = source.read(1, 4)
        assert np.array_equal(found.array[..., 0], volume[::-1][1:4])
        assert found.fingerprints == source.fingerprints(1, 4)
        slices, info, all_ = source.slices, source.info, source.fingerprints(0, 5)
    with open_planned(str(stored), slices, info, selection) as source:
        assert np.array_equal(source.read(1, 4, all_).array, found.array)


def test_one_channel_of_rgb_in_a_run(tmp_path):
    """Grey pictures that were stored as RGB: the classifier has one channel."""
    from tests.runs import VESSELS

    raw = VESSELS.raw()[..., 0]
    slices = write_stack(tmp_path / "rgb", np.stack([raw] * 3, axis=3))
    planned(tmp_path / "run", slices, channel=0)
    through(tmp_path / "run")
    with h5py.File(tmp_path / "run" / "segmentation.h5") as file:
        assert np.array_equal(file["labels"][()], VESSELS.labels())
    with pytest.raises(InputError, match="--channel"):
        planned(tmp_path / "other", slices)


def test_two_stacks_as_channels_in_a_run(tmp_path):
    from tests.reference_sets import ReferenceSet

    two = ReferenceSet("two-channel")
    raw = two.raw()
    parts = [write_stack(tmp_path / f"ch{c}", raw[..., c]) for c in (0, 1)]
    changes = {"classifier": str(two.classifier), "channels_from": (str(parts[1]),)}
    planned(tmp_path / "run", parts[0], **changes)
    through(tmp_path / "run")
    with h5py.File(tmp_path / "run" / "segmentation.h5") as file:
        assert np.array_equal(file["labels"][()], two.labels())
    assert RunFolder(tmp_path / "run").plan.volume.channels == 2
    assert steps.verify(run=tmp_path / "run").step == "verify"


def parts_in(folder, volume, names=("b_MMStack.tif", "b_MMStack_1.tif", "b_MMStack_2.tif"), step=8):
    folder.mkdir()
    for number, name in enumerate(names):
        tifffile.imwrite(folder / name, volume[step * number : step * (number + 1)])
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ("b_MMStack.tif", "b_MMStack_1.tif", "b_MMStack_2.tif"),
        ("b.tif", "b-1.tif", "b-2.tif"),
        ("b_08.tif", "b_09.tif", "b_10.tif"),
    ],
)
@pytest.mark.parametrize("order", ["forward", "reversed"])
def test_a_stack_over_several_files_of_many_pages(names, order, tmp_path):
    volume = noise_volume((24, 20, 23), "uint16")
    folder = str(parts_in(tmp_path / "parts", volume, names))
    selection = Selection(order=order)
    expected = volume if order == "forward" else volume[::-1]
    with open_source(folder, selection) as source:
        assert source.info.shape == (24, 20, 23)
        assert any(f"{names[0]} to {names[-1]}" in text for text in source.warnings)
        found = source.read(5, 20)
        assert np.array_equal(found.array[..., 0], expected[5:20])
        assert found.fingerprints == source.fingerprints(5, 20)
        slices, info, all_ = source.slices, source.info, source.fingerprints(0, 24)
    with open_planned(folder, slices, info, selection) as source:
        assert np.array_equal(source.read(5, 20, all_).array, found.array)


def test_a_missing_part_is_refused_and_a_part_alone_is_told(tmp_path):
    volume = noise_volume((24, 20, 23), "uint16")
    folder = parts_in(tmp_path / "parts", volume)
    with open_source(str(folder / "b_MMStack.tif")) as source:
        assert any("b_MMStack_1.tif lies beside it" in text for text in source.warnings)
    with open_source(str(folder / "b_MMStack_2.tif")) as source:
        assert not [text for text in source.warnings if "beside" in text]
    (folder / "b_MMStack_1.tif").rename(folder / "b_MMStack_3.tif")
    with pytest.raises(InputError, match="parts of one stack"):
        open_source(str(folder))


def test_a_run_over_parts(tmp_path):
    from tests.runs import VESSELS

    raw = VESSELS.raw()[..., 0]
    planned(tmp_path / "run", parts_in(tmp_path / "parts", raw, ("b.tif", "b_1.tif"), 20))
    through(tmp_path / "run")
    with h5py.File(tmp_path / "run" / "segmentation.h5") as file:
        assert np.array_equal(file["labels"][()], VESSELS.labels())


@pytest.mark.parametrize("form", ["imagej", "ome", "shaped"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_time_point_of_a_tiff_file(form, compression, tmp_path):
    """Hyperstacks: pages run over t, z, c, in one piece or not."""
    volume = noise_volume((3, 4, 2, 20, 23), "uint16")  # t, z, c, y, x
    path = str(tmp_path / ("v.ome.tif" if form == "ome" else "v.tif"))
    more = {"imagej": form == "imagej", "ome": form == "ome", "metadata": {"axes": "TZCYX"}}
    tifffile.imwrite(path, volume, photometric="minisblack", compression=compression, **more)
    with pytest.raises(InputError, match="several time points") as caught:
        open_source(path)
    assert "--time 0 to --time 2" in caught.value.mend
    for time in range(3):
        with open_source(path, Selection(time=time)) as source:
            assert (source.info.shape, source.info.channels) == ((4, 20, 23), 2)
            found = source.read(0, 4)
            assert np.array_equal(found.array, np.moveaxis(volume[time], 1, -1))
            assert found.fingerprints == source.fingerprints(0, 4)
    with pytest.raises(InputError, match="no such time point"):
        open_source(path, Selection(time=3))


@pytest.mark.parametrize("given", ["{}", "{}:/data"])
def test_a_scale_of_a_plain_dataset_is_refused(given, tmp_path):
    path = write_hdf5(tmp_path / "v.h5", noise_volume())
    with pytest.raises(InputError, match="has no scales"):
        open_source(given.format(path), Selection(scale=1))
