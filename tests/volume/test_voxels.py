"""Voxel sizes in the spellings of the programs that write them."""

import h5py
import pytest
import tifffile

from tbseg_ops.volume import open_source
from tests.synthetic import axistags, noise_volume, write_hdf5, write_page, write_stack

MU = "\N{GREEK SMALL LETTER MU}m"
MICRO = "\N{MICRO SIGN}m"

IMAGEJ = {
    "um": ("unit=um\nspacing=3", ((3.0, 0.5, 0.25), "um")),
    "micron": ("unit=micron\nspacing=3", ((3.0, 0.5, 0.25), "um")),
    "escaped": ("unit=\\u00B5m\nspacing=3", ((3.0, 0.5, 0.25), "um")),
    "mm": ("unit=mm\nspacing=3", ((3.0, 0.5, 0.25), "mm")),
    "pixels": ("unit=pixel\nspacing=3", (None, None)),
    "no unit": ("spacing=3", (None, None)),
    "no spacing": ("unit=um", (None, None)),
    "zero": ("unit=um\nspacing=0", (None, None)),
    "not a number": ("unit=um\nspacing=nan", (None, None)),
    "a word": ("unit=um\nspacing=thick", (None, None)),
}


@pytest.mark.parametrize("case", IMAGEJ)
@pytest.mark.parametrize("as_folder", [True, False])
def test_imagej(case, as_folder, tmp_path):
    text, expected = IMAGEJ[case]
    folder = tmp_path / "s"
    folder.mkdir()
    path = write_page(
        folder / "1.tif",
        noise_volume((8, 9)),
        description=f"ImageJ=1.54f\n{text}\n",
        resolution=(4, 2),  # pixels per unit along x, y
        resolutionunit="none",
    )
    info = open_source(str(folder if as_folder else path)).info
    assert (info.voxel_size, info.unit) == expected


OME = {
    "default unit": ({"X": 0.25, "Y": 0.5, "Z": 3}, ((3.0, 0.5, 0.25), "um")),
    "mixed units": (
        {"X": 250, "XUnit": "nm", "Y": 0.5, "YUnit": MICRO, "Z": 0.003, "ZUnit": "mm"},
        ((3.0, 0.5, 0.25), "um"),
    ),
    "greek": ({"X": 1, "XUnit": MU, "Y": 1, "YUnit": MU, "Z": 1, "ZUnit": MU}, ((1, 1, 1), "um")),
    "no z": ({"X": 0.25, "Y": 0.5}, (None, None)),
    "frames": ({"X": 1, "XUnit": "reference frame", "Y": 1, "Z": 1}, (None, None)),
    "negative": ({"X": -1, "Y": 1, "Z": 1}, (None, None)),
}


@pytest.mark.parametrize("case", OME)
def test_ome(case, tmp_path):
    sizes, expected = OME[case]
    words = {f"PhysicalSize{key}": value for key, value in sizes.items()}
    path = tmp_path / "v.ome.tif"
    tifffile.imwrite(path, noise_volume(), ome=True, metadata={"axes": "ZYX", **words})
    info = open_source(str(path)).info
    assert info.unit == expected[1]
    assert info.voxel_size == (pytest.approx(expected[0]) if expected[0] else None)


def test_ome_of_a_set_of_slice_files_is_no_obstacle(tmp_path):
    """Each file of such a set describes all files; the pixels of a slice do not depend on it."""
    write_stack(tmp_path / "s", noise_volume(), description="<OME><Image/><Image/></OME>")
    assert open_source(str(tmp_path / "s")).info.voxel_size is None


def test_hdf5(tmp_path):
    path = write_hdf5(tmp_path / "v.h5", noise_volume())
    assert open_source(str(path)).info.voxel_size is None
    with h5py.File(path, "r+") as file:
        file["data"].attrs["axistags"] = axistags("zyx", resolution=0.5)
    info = open_source(str(path)).info
    assert (info.voxel_size, info.unit) == ((0.5, 0.5, 0.5), None)
    with h5py.File(path, "r+") as file:
        file["data"].attrs["element_size_um"] = [3, 0.5, 0.25]
    info = open_source(str(path)).info
    assert (info.voxel_size, info.unit) == ((3.0, 0.5, 0.25), "um")
    with h5py.File(path, "r+") as file:
        file["data"].attrs["element_size_um"] = "thick"
    assert open_source(str(path)).info.voxel_size == (0.5, 0.5, 0.5)
