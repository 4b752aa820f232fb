"""A folder of TIFF slices: what is read, and what is refused by name."""

import os

import numpy as np
import pytest

from tbseg_ops.errors import InputError
from tbseg_ops.volume import open_source
from tests.synthetic import LAYOUTS, noise_volume, write_page, write_stack

DTYPES = ("uint8", "uint16", "float32")


def whole(source):
    return source.read(0, source.info.shape[0]).array


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read(layout, dtype, tmp_path):
    volume = noise_volume((3, 37, 41), dtype)
    with open_source(str(write_stack(tmp_path / "s", volume, **LAYOUTS[layout]))) as source:
        assert (source.info.shape, source.info.channels) == ((3, 37, 41), 1)
        assert source.info.dtype == dtype
        assert np.array_equal(whole(source)[..., 0], volume)
        assert source.read(1, 3).fingerprints == source.fingerprints(1, 3)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_predictors_are_undone(dtype, tmp_path):
    volume = noise_volume((2, 20, 23), dtype)
    folder = write_stack(tmp_path / "s", volume, compression="deflate", predictor=True)
    assert np.array_equal(whole(open_source(str(folder)))[..., 0], volume)


def test_samples_become_channels(tmp_path):
    volume = noise_volume((3, 20, 23, 3))
    source = open_source(str(write_stack(tmp_path / "s", volume)))
    assert source.info.channels == 3
    assert np.array_equal(whole(source), volume)


def test_order_is_natural(tmp_path):
    volume = noise_volume((12, 8, 9))
    source = open_source(str(write_stack(tmp_path / "s", volume)))
    assert source.slices[1:3] == ("img_1.tif", "img_2.tif")
    assert source.slices[-1] == "img_11.tif"
    assert np.array_equal(whole(source)[..., 0], volume)


def test_other_files_are_ignored_and_named(tmp_path):
    folder = write_stack(tmp_path / "s", noise_volume())
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.tif").write_text("x")
    warnings = " ".join(open_source(str(folder)).warnings)
    assert "notes.txt" in warnings
    assert ".hidden.tif" in warnings


def test_a_glob_chooses(tmp_path):
    folder = write_stack(tmp_path / "a [b] s", noise_volume(), names="ch1_{z}.tif")
    write_stack(folder, noise_volume(seed=1), names="ch2_{z}.tif")
    with pytest.raises(InputError, match="duplicate"):
        open_source(str(folder))
    pattern = str(tmp_path / "a ?b? s" / "ch1_*.tif")
    assert np.array_equal(whole(open_source(pattern))[..., 0], noise_volume())


def test_links_to_slices_are_followed(tmp_path):
    real = write_stack(tmp_path / "real", noise_volume())
    links = tmp_path / "links"
    links.mkdir()
    for path in real.iterdir():
        (links / path.name).symlink_to(path)
    assert np.array_equal(whole(open_source(str(links)))[..., 0], noise_volume())


def gap(folder):
    (folder / "img_2.tif").unlink()
    return "slices are missing", "1 missing: 2"


def duplicate(folder):
    write_page(folder / "img_02.tif", noise_volume()[2])
    return "duplicate slices", "img_02.tif"


def other_shape(folder):
    write_page(folder / "img_3.tif", noise_volume()[3][:, :-1])
    return "not all alike", "img_3.tif"


def other_dtype(folder):
    write_page(folder / "img_3.tif", noise_volume(dtype="uint16")[3])
    return "not all alike", "img_3.tif"


def other_samples(folder):
    write_page(folder / "img_3.tif", noise_volume((20, 23, 3)))
    return "not all alike", "img_3.tif"


def two_pages(folder):
    import tifffile

    tifffile.imwrite(folder / "img_3.tif", noise_volume((2, 20, 23)), metadata=None)
    return "more than one image", "img_3.tif"


def empty_file(folder):
    (folder / "img_3.tif").write_bytes(b"")
    return "file is empty", "img_3.tif"


def no_tiff(folder):
    (folder / "img_3.tif").write_bytes(b"\x89PNG\r\n\x1a\n" * 10)
    return "not a TIFF file", "img_3.tif"


def dangling_link(folder):
    (folder / "img_3.tif").unlink()
    (folder / "img_3.tif").symlink_to(folder / "nowhere.tif")
    return "cannot be opened", "img_3.tif"


def fifo(folder):
    import os

    (folder / "img_3.tif").unlink()
    os.mkfifo(folder / "img_3.tif")
    return "not a regular file", "img_3.tif"


def subfolder(folder):
    (folder / "img_3.tif").unlink()
    (folder / "img_3.tif").mkdir()
    return "not a regular file", "img_3.tif"


def complex_numbers(folder):
    for z in range(5):
        write_page(folder / f"img_{z}.tif", noise_volume()[z].astype(np.complex64))
    return "cannot be classified", "complex64"


CASES = [
    *(gap, duplicate, other_shape, other_dtype, other_samples, two_pages),
    *(empty_file, no_tiff, dangling_link, fifo, subfolder, complex_numbers),
]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_refused_by_name(case, tmp_path):
    folder = write_stack(tmp_path / "s", noise_volume())
    what, named = case(folder)
    with pytest.raises(InputError, match=what) as caught:
        open_source(str(folder))
    assert named in str(caught.value)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("tenth", range(10))
def test_a_truncated_slice_is_never_read(layout, tenth, tmp_path):
    folder = write_stack(tmp_path / "s", noise_volume((3, 37, 41)), **LAYOUTS[layout])
    path = folder / "img_1.tif"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * tenth // 10])
    with pytest.raises(InputError, match=r"img_1\.tif"):
        whole(open_source(str(folder)))


@pytest.mark.parametrize("layout", ["strips", "deflate", "lzw", "zstd-tiles"])
def test_a_flipped_byte_is_an_error_or_another_fingerprint(layout, tmp_path):
    folder = write_stack(tmp_path / "s", noise_volume((2, 37, 41)), **LAYOUTS[layout])
    path, before = folder / "img_1.tif", open_source(str(folder)).fingerprints(0, 2)
    content = bytearray(path.read_bytes())
    for at in range(10, len(content), len(content) // 12):
        content[at] ^= 0x41
        path.write_bytes(content)
        seen = None
        try:
            seen = open_source(str(folder)).read(0, 2).fingerprints
        except InputError as error:
            assert "img_1.tif" in str(error)  # noqa: PT017 - either outcome is right
        assert seen is None or (seen[0] == before[0] and seen[1] != before[1])
        content[at] ^= 0x41


def test_a_slice_that_changes_after_opening_is_refused(tmp_path):
    folder = write_stack(tmp_path / "s", noise_volume())
    source = open_source(str(folder))
    write_page(folder / "img_1.tif", noise_volume((20, 24)))
    with pytest.raises(InputError, match="changed"):
        source.read(0, 5)


@pytest.mark.parametrize("name", [b"z\xff_2.tif", b"z\n2.tif", b"z\x1b[31m2.tif"])
def test_names_that_are_no_plain_text_are_refused(name, tmp_path):
    folder = write_stack(tmp_path / "slices", np.zeros((2, 4, 4), np.uint8))
    first = sorted(folder.iterdir())[0]
    os.rename(os.fsencode(first), os.path.join(os.fsencode(folder), name))
    with pytest.raises(InputError, match="no plain text") as caught:
        open_source(str(folder))
    assert "\x1b" not in str(caught.value)
    assert str(caught.value).isascii()


@pytest.mark.parametrize("backwards", [False, True])
def test_an_ome_set_that_contradicts_the_names_is_told(backwards, tmp_path):
    volume = noise_volume((4, 20, 23))
    names = [f"s{z}.ome.tif" for z in range(4)]
    planes = names[::-1] if backwards else names
    blocks = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">u{z}</UUID>'
        "</TiffData>"
        for z, name in enumerate(planes)
    )
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZTC" Type="uint8" SizeX="23" SizeY="20" SizeZ="4"'
        f' SizeC="1" SizeT="1">{blocks}</Pixels></Image></OME>'
    )
    for name, plane in zip(names, volume, strict=True):
        write_page(tmp_path / name, plane, description=xml)
    with open_source(str(tmp_path)) as source:
        assert np.array_equal(source.read(0, 4).array[..., 0], volume)
        told = [text for text in source.warnings if "another order" in text]
    assert bool(told) == backwards
    if backwards:
        assert "s3.ome.tif is z = 0 there" in told[0]
        assert "--order reversed" in told[0]
