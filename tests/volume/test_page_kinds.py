"""Which kinds of TIFF pages are read, and which are refused by name."""

import imagecodecs
import numpy as np
import pytest
import tifffile

from tbseg_ops.volume import open_source
from tests.refusals import refused
from tests.synthetic import noise_volume, write_page, write_stack

ORIENTATION = 274


def only_slice(path):
    return open_source(str(path)).read(0, 1).array[0]


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("compression", ["deflate", "lzw", "zstd"])
@pytest.mark.parametrize(
    ("dtype", "predictor"), [("uint8", 2), ("uint16", 2), ("float32", 2), ("float32", 3)]
)
def test_predictors_as_libtiff_undoes_them(
    dtype, predictor, compression, tile, byteorder, tmp_path
):
    plane = noise_volume((37, 41), dtype)
    integers = plane.view(np.int32) if (dtype, predictor) == ("float32", 2) else plane
    path = write_page(
        tmp_path / "v.tif",
        integers,  # libtiff differences floats as integers; tifffile's writer does not do it
        predictor=predictor,
        compression=compression,
        tile=tile,
        byteorder=byteorder,
    )
    if integers is not plane:
        with tifffile.TiffFile(path, mode="r+") as file:
            file.pages.first.tags["SampleFormat"].overwrite(3)
    assert np.array_equal(only_slice(path)[..., 0], plane)
    assert np.array_equal(imagecodecs.tiff_decode(path.read_bytes()), plane)


@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16)}, {"compression": "deflate"}])
@pytest.mark.parametrize("samples", [2, 3, 4])
def test_planes_of_samples_become_channels(samples, layout, tmp_path):
    plane = noise_volume((20, 23, samples), "uint16")
    options = {"photometric": "minisblack", **layout}
    contiguous = write_page(tmp_path / "c.tif", plane, planarconfig="contig", **options)
    separate = tmp_path / "s.tif"
    tifffile.imwrite(
        separate, np.moveaxis(plane, 2, 0), planarconfig="separate", metadata=None, **options
    )
    assert np.array_equal(only_slice(contiguous), plane)
    assert np.array_equal(only_slice(separate), plane)


def test_every_bit_of_a_float_is_kept(tmp_path):
    bits = np.array([0x7FC00000, 0xFFC12345, 0x7F800000, 0xFF800000, 0x80000000, 1], np.uint32)
    path = write_page(tmp_path / "v.tif", bits.view(np.float32).reshape(2, 3), compression="zstd")
    assert np.array_equal(only_slice(path).view(np.uint32).ravel(), bits)


def test_white_is_zero_is_taken_as_stored_with_a_warning(tmp_path):
    plane = noise_volume((20, 23))
    path = write_page(tmp_path / "v.tif", plane, photometric="miniswhite")
    assert np.array_equal(only_slice(path)[..., 0], plane)
    assert "MINISWHITE" in open_source(str(path)).warnings[0]


def test_orientation_is_not_applied_with_a_warning(tmp_path):
    plane = noise_volume((20, 23))
    path = write_page(tmp_path / "v.tif", plane, extratags=[(ORIENTATION, "H", 1, 3, True)])
    assert np.array_equal(only_slice(path)[..., 0], plane)
    assert "orientation tag (3)" in open_source(str(path)).warnings[0]


def test_a_description_in_an_odd_encoding_does_no_harm(tmp_path):
    path = write_page(tmp_path / "v.tif", noise_volume((20, 23)), description="x" * 40)
    path.write_bytes(path.read_bytes().replace(b"x" * 40, b"\x81\x8d" * 20))
    assert only_slice(path).shape == (20, 23, 1)


PLANE = noise_volume((20, 23))
REFUSED = {
    "complex": (PLANE.astype(np.complex64), {}, "complex64"),
    "palette": (
        PLANE,
        {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)},
        "PALETTE",
    ),
    "CMYK": (noise_volume((20, 23, 4)), {"photometric": "separated"}, "SEPARATED"),
    "JPEG": (PLANE, {"compression": "jpeg"}, "JPEG"),
    "JPEG 2000": (PLANE, {"compression": "jpeg2000"}, "JPEG2000"),
    "a thumbnail": (PLANE, {"subfiletype": 1}, "thumbnail"),
    "a volume in one page": (
        noise_volume((16, 16, 16)),
        {"volumetric": True, "tile": (16, 16, 16)},
        "depth 1",
    ),
    "a vendor's": (PLANE, {"description": "Aperio Image Library"}, "svs"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, tmp_path):
    plane, options, found = REFUSED[case]
    tifffile.imwrite(tmp_path / "v.tif", plane, **{"metadata": None, **options})
    with refused(found, "v.tif"):
        open_source(str(tmp_path / "v.tif"))


TYPES = ["int8", "int16", "int32", "int64", "uint32", "uint64", "float16", "float64"]


@pytest.mark.parametrize(
    ("kind", "as_"),
    [(kind, as_) for kind in TYPES for as_ in ("one by one", "in one page", "big-endian")]
    + [(kind, "predicted") for kind in ("int8", "int16", "int32", "uint32", "float64")],
)
def test_other_types_are_taken_as_float32_with_a_note(kind, as_, tmp_path):
    volume = noise_volume((4, 20, 23), kind)
    options = {
        "one by one": {"metadata": None},
        "in one page": {"metadata": {"axes": "ZYX"}, "contiguous": True},
        "big-endian": {"byteorder": ">", "metadata": None},
        "predicted": {"compression": "deflate", "predictor": True, "metadata": None},
    }[as_]
    tifffile.imwrite(tmp_path / "v.tif", volume, photometric="minisblack", **options)
    source = open_source(str(tmp_path / "v.tif"))
    assert source.info.dtype == "float32"
    assert any(f"type {kind} are taken as float32" in text for text in source.warnings)
    assert np.array_equal(source.read(0, 4).array[..., 0], volume.astype(np.float32))


@pytest.mark.parametrize("compression", [None, "packbits", "deflate"])
def test_one_bit_is_0_and_1(compression, tmp_path):
    volume = noise_volume((4, 20, 23)) > 99
    folder = write_stack(tmp_path / "s", volume, compression=compression)
    source = open_source(str(folder))
    assert source.info.dtype == "uint8"
    assert "true or false" in source.warnings[0]
    assert np.array_equal(source.read(0, 4).array[..., 0], volume.astype(np.uint8))


def write_packed(path, plane, bits):
    """A page whose pixels share bytes, as cameras write them; each row begins with a byte."""
    ones = (plane[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(ones.reshape(len(plane), -1).astype(np.uint8), axis=1)
    write_page(path, rows)
    with tifffile.TiffFile(path, mode="r+") as file:
        tags = file.pages.first.tags
        tags["BitsPerSample"].overwrite(bits)
        tags["ImageWidth"].overwrite(plane.shape[1])
    return path


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_pixels_of_a_camera(bits, tmp_path):
    plane = noise_volume((20, 23), "uint16") >> (16 - bits)
    path = write_packed(tmp_path / "v.tif", plane, bits)
    source = open_source(str(path))
    assert source.info.dtype == "uint16"
    assert source.warnings == (f"pixels of {bits} bits: 0 to {2**bits - 1}",)
    assert np.array_equal(source.read(0, 1).array[0, ..., 0], plane)
    path.write_bytes(path.read_bytes()[:-2])
    with refused("truncated"):
        open_source(str(path))


@pytest.mark.parametrize(
    "options",
    [{"photometric": "miniswhite"}, {"extratags": [(ORIENTATION, "H", 1, 3, True)]}],
    ids=["white is zero", "orientation"],
)
def test_slices_that_mean_something_else_are_refused(options, tmp_path):
    folder = write_stack(tmp_path / "s", noise_volume())
    write_page(folder / "img_3.tif", noise_volume()[3], **options)
    with refused("not all alike", "img_3.tif"):
        open_source(str(folder))


def test_slices_that_are_only_stored_differently_are_read(tmp_path):
    volume = noise_volume((4, 20, 23), "uint16")
    stored = ({}, {"byteorder": ">"}, {"compression": "lzw", "predictor": 2}, {"tile": (16, 16)})
    for z, options in enumerate(stored):
        write_page(tmp_path / f"{z}.tif", volume[z], **options)
    assert np.array_equal(open_source(str(tmp_path)).read(0, 4).array[..., 0], volume)
