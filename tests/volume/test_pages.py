"""One TIFF file of many pages: plain, BigTIFF, ImageJ, OME."""

import numpy as np
import pytest
import tifffile

from tbseg_ops.errors import InputError
from tbseg_ops.volume import open_source
from tests.synthetic import noise_volume

SEVEN = {
    "plain": {"metadata": None},
    "shaped": {},
    "bigtiff": {"bigtiff": True, "metadata": None},
    "deflate": {"compression": "deflate", "metadata": None},
    "tiles": {"tile": (16, 16), "metadata": None},
    "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
    "ome": {"ome": True, "metadata": {"axes": "ZYX"}},
}


@pytest.mark.parametrize("layout", SEVEN)
def test_pages_become_slices(layout, tmp_path):
    volume = noise_volume((5, 37, 41), "uint16")
    tifffile.imwrite(tmp_path / "v.tif", volume, **SEVEN[layout])
    with open_source(str(tmp_path / "v.tif")) as source:
        assert source.info.shape == (5, 37, 41)
        found = source.read(1, 4)
        assert np.array_equal(found.array[..., 0], volume[1:4])
        assert found.fingerprints == source.fingerprints(1, 4)
        assert "v.tif" in source.slices[0]


@pytest.mark.parametrize("layout", SEVEN)
@pytest.mark.parametrize("tenth", range(10))
def test_a_truncated_file_is_never_a_shorter_volume(layout, tenth, tmp_path):
    volume = noise_volume((5, 37, 41), "uint16")
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, volume, **SEVEN[layout])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * tenth // 10])
    with pytest.raises(InputError, match=r"v\.tif"):
        open_source(str(path)).read(0, 5)


def test_imagej_hyperstack_with_channels_and_voxel_size(tmp_path):
    volume = noise_volume((4, 2, 20, 23), "uint16")  # z, c, y, x
    tifffile.imwrite(
        tmp_path / "v.tif",
        volume,
        imagej=True,
        resolution=(2.0, 2.0),
        metadata={"axes": "ZCYX", "spacing": 1.5, "unit": "um"},
    )
    source = open_source(str(tmp_path / "v.tif"))
    assert (source.info.shape, source.info.channels) == ((4, 20, 23), 2)
    assert source.info.voxel_size == pytest.approx((1.5, 0.5, 0.5))
    assert source.info.unit == "um"
    assert np.array_equal(source.read(0, 4).array, np.moveaxis(volume, 1, 3))


def test_ome_voxel_size(tmp_path):
    sizes = {f"PhysicalSize{a}": s for a, s in zip("ZYX", (2.0, 0.3, 0.4), strict=True)}
    tifffile.imwrite(
        tmp_path / "v.ome.tif", noise_volume(), ome=True, metadata={"axes": "ZYX", **sizes}
    )
    assert open_source(str(tmp_path / "v.ome.tif")).info.voxel_size == pytest.approx((2, 0.3, 0.4))


def test_several_time_points_are_refused(tmp_path):
    tifffile.imwrite(
        tmp_path / "v.tif", noise_volume((3, 4, 20, 23)), imagej=True, metadata={"axes": "TZYX"}
    )
    with pytest.raises(InputError, match="time"):
        open_source(str(tmp_path / "v.tif"))


def test_pages_of_different_shape_are_refused_by_number(tmp_path):
    with tifffile.TiffWriter(tmp_path / "v.tif") as file:
        for side in (20, 20, 21):
            file.write(noise_volume((side, side)), metadata=None, contiguous=False)
    with pytest.raises(InputError, match="page 2"):
        open_source(str(tmp_path / "v.tif"))
