"""A dataset of an HDF5 file: axes, and hostile files."""

import itertools

import h5py
import numpy as np
import pytest

from tbseg_ops.errors import InputError
from tbseg_ops.volume import open_source
from tests.synthetic import noise_volume, write_hdf5


@pytest.mark.parametrize("order", ["".join(p) for p in itertools.permutations("zyx")])
@pytest.mark.parametrize("chunks", [None, True])
def test_axes_in_any_order(order, chunks, tmp_path):
    volume = noise_volume((5, 20, 23), "uint16")
    stored = volume.transpose(["zyx".index(a) for a in order])
    path = write_hdf5(tmp_path / "v.h5", stored, axes=order, chunks=chunks)
    with open_source(f"{path}:/data") as source:
        assert source.info.shape == (5, 20, 23)
        found = source.read(1, 4)
        assert np.array_equal(found.array[..., 0], volume[1:4])
        assert found.fingerprints == source.fingerprints(1, 4)


@pytest.mark.parametrize(
    ("shape", "axes", "channels"),
    [((5, 20, 23), None, 1), ((5, 20, 23, 2), None, 2), ((1, 5, 20, 23), "tzyx", 1)],
)
def test_channels_and_one_time_point(shape, axes, channels, tmp_path):
    path = write_hdf5(tmp_path / "v.h5", noise_volume(shape), axes=axes)
    info = open_source(f"{path}:/data").info
    assert (info.shape, info.channels) == ((5, 20, 23), channels)


@pytest.mark.parametrize(("axes", "moved"), [("tyx", None), ("yxt", 0)])
def test_a_series_of_images_is_read_as_slices(axes, moved, tmp_path):
    volume = noise_volume()
    stored = volume if moved is None else np.moveaxis(volume, moved, -1)
    path = write_hdf5(tmp_path / "v.h5", stored, axes=axes)
    with open_source(f"{path}:/data") as source:
        assert source.info.shape == (5, 20, 23)
        assert any("time points" in warning for warning in source.warnings)
        found = source.read(1, 4)
        assert np.array_equal(found.array[..., 0], volume[1:4])
        assert found.fingerprints == source.fingerprints(1, 4)


def test_the_only_dataset_needs_no_path(tmp_path):
    path = write_hdf5(tmp_path / "v.h5", noise_volume())
    assert open_source(str(path)).info.shape == (5, 20, 23)
    with h5py.File(path, "r+") as file:
        file["second"] = noise_volume()
    with pytest.raises(InputError, match="second"):
        open_source(str(path))


@pytest.mark.parametrize("name", ["t0", "t00000", "t1/raw"])
def test_a_name_like_that_of_a_time_point_makes_no_other_format(name, tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file[name] = noise_volume()
    assert open_source(str(tmp_path / "v.h5")).info.shape == (5, 20, 23)


def test_a_missing_path_lists_what_there_is(tmp_path):
    path = write_hdf5(tmp_path / "v.h5", noise_volume())
    with pytest.raises(InputError, match="/data"):
        open_source(f"{path}:/raw")


def external_link(file, folder):
    write_hdf5(folder / "other.h5", noise_volume())
    file["data"] = h5py.ExternalLink("other.h5", "/data")


def external_link_on_the_way(file, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["x/data"] = noise_volume()
    file["group"] = h5py.ExternalLink("other.h5", "/x")
    file["data"] = h5py.SoftLink("/group/data")


def link_loop(file, folder):
    file["data"] = h5py.SoftLink("/data")


def external_storage(file, folder):
    (folder / "raw").write_bytes(bytes(5 * 20 * 23))
    file.create_dataset("data", (5, 20, 23), "uint8", external=[(str(folder / "raw"), 0, 2300)])


def virtual(file, folder):
    write_hdf5(folder / "other.h5", noise_volume())
    layout = h5py.VirtualLayout((5, 20, 23), "uint8")
    layout[:] = h5py.VirtualSource("other.h5", "data", (5, 20, 23))
    file.create_virtual_dataset("data", layout)


def never_written(file, folder):
    data = file.create_dataset("data", (5, 20, 23), "uint8", chunks=(1, 20, 23))
    data[:3] = 1


def two_time_points(file, folder):
    from tests.synthetic import axistags

    file["data"] = noise_volume((2, 5, 20, 23))
    file["data"].attrs["axistags"] = axistags("tzyx")


def wrong_type(file, folder):
    file["data"] = noise_volume().astype(np.complex64)


def a_group(file, folder):
    file.create_group("data")


CASES = [
    *(external_link, external_link_on_the_way, link_loop, external_storage, virtual),
    *(never_written, two_time_points, wrong_type, a_group),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_refused(case, tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        case(file, tmp_path)
    with pytest.raises(InputError, match=r"v\.h5"):
        open_source(f"{tmp_path}/v.h5:/data")


def test_a_cut_off_file_is_refused(tmp_path):
    path = write_hdf5(tmp_path / "v.h5", noise_volume())
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(InputError, match=r"v\.h5"):
        open_source(f"{path}:/data").read(0, 5)
