"""TIFF and HDF5 files as cameras, converters, editors and people leave them: read, with a note."""

import struct
import subprocess
import sys

import numpy as np
import pytest
import tifffile

from tbseg_ops.errors import InputError
from tbseg_ops.steps import audit
from tbseg_ops.volume import open_source
from tests.synthetic import noise_volume, write_hdf5, write_page, write_stack


def found(path, expected, note=None):
    with open_source(str(path)) as source:
        assert np.array_equal(source.read(0, len(expected)).array[..., 0], expected)
        told = [text for text in source.warnings if note is not None and note in text]
        assert bool(told) == (note is not None), source.warnings


VENDORS = {
    "fluoview": {
        "extratags": [(n, 1, 16, b"\0" * 16, True) for n in (34361, 34362)],
        "description": "[Acquisition Parameters]",
    },
    "sis": {"extratags": [(33560, 1, 64, b"SIS0" + b"\0" * 60, True)]},
    "scanimage": {
        "software": "SI.VERSION_MAJOR = '2016'",
        "description": "state.config=1 frameNumbers = 1",
    },
    "mdgel": {"extratags": [(33445, 4, 1, 128, True), (33446, 5, 1, (1, 1), True)]},
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_vendors_tags_on_single_planes(vendor, tmp_path):
    volume = noise_volume(dtype="uint16")
    write_stack(tmp_path, volume, **VENDORS[vendor])
    found(tmp_path, volume, f"tags of {vendor} are there")


def test_a_vendors_file_of_many_pages_is_refused(tmp_path):
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, noise_volume(dtype="uint16"), metadata=None, **VENDORS["mdgel"])
    with pytest.raises(InputError, match="vendor"):
        open_source(str(path))


@pytest.mark.parametrize("channels", [(1,), (0, 1, 2), (0, 2)])
def test_a_palette_that_is_a_ramp_of_one_colour(channels, tmp_path):
    """A channel shown in green in Fiji, saved as a sequence: the values are the greys."""
    volume, colours = noise_volume(), np.zeros((3, 256), np.uint16)
    colours[list(channels)] = np.arange(256) * 257
    write_stack(tmp_path, volume, photometric="palette", colormap=colours)
    found(tmp_path, volume, "ramp of one colour")


@pytest.mark.parametrize("change", ["inverted", "one entry", "black"])
def test_any_other_palette_is_refused(change, tmp_path):
    colours = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
    if change == "inverted":
        colours = colours[:, ::-1]
    elif change == "one entry":
        colours[0, 9] = 60000
    else:
        colours[:] = 0
    write_page(tmp_path / "v.tif", noise_volume()[0], photometric="palette", colormap=colours)
    with pytest.raises(InputError, match="PALETTE"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("entry", [(0, 1, 5), (200, 1, 5), (2, 100, 0x7FFFFFF0)])
@pytest.mark.parametrize("number", [65000, 33001])
def test_a_private_tag_that_cannot_be_read(entry, number, tmp_path):
    """Of another type than there is, or beyond the end: nobody needs it for the pixels."""
    plane = noise_volume((1, 20, 23), "uint16")
    _by_hand(tmp_path / "v.tif", plane[0], {number: entry})
    found(tmp_path, plane)


def test_a_tag_that_tells_of_pixels_must_be_readable(tmp_path):
    _by_hand(tmp_path / "v.tif", noise_volume((20, 23), "uint16"), {317: (2, 100, 0x7FFFFFF0)})
    with pytest.raises(InputError):
        open_source(str(tmp_path))


def test_more_pages_than_imagej_declares(tmp_path):
    """Acquired on, after the number had been written."""
    volume = noise_volume((16, 20, 23))
    with tifffile.TiffWriter(tmp_path / "v.tif") as file:
        for number, plane in enumerate(volume):
            first = "ImageJ=1.53\nimages=10\nslices=10\n" if number == 0 else None
            file.write(plane, description=first, metadata=None, photometric="minisblack")
    found(tmp_path / "v.tif", volume, "declares 10 image(s); the 16 pages")


@pytest.mark.parametrize("given", ["{} ", " {}", "'{}'", '"{}"', "{}/", "{}\t"])
def test_a_path_as_it_was_pasted(given, tmp_path):
    volume = noise_volume()
    folder = write_stack(tmp_path / "Maus 3 (links) [488nm] µm", volume)
    found(given.format(folder), volume)


def test_brackets_in_names_beside_a_pattern(tmp_path):
    volume = noise_volume()
    for channel in ("C00", "C01"):
        write_stack(tmp_path, volume, names=f"U[00 x 00]_{channel}_Z{{z}}.tif")
    found(tmp_path / "U[00 x 00]_C01_*.tif", volume)


def test_an_hdf5_file_that_a_killed_writer_left_open(tmp_path):
    path = tmp_path / "v.h5"
    code = (
        "import h5py, numpy, os\n"
        f"file = h5py.File({str(path)!r}, 'w', libver='latest')\n"
        "data = numpy.zeros((5, 20, 23), 'u1')\n"
        "file.create_dataset('data', data=data, chunks=(5, 20, 23))\n"
        "file.swmr_mode = True\n"
        "file.flush()\n"
        "os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    with pytest.raises(InputError, match="was killed, or writes to it still") as caught:
        open_source(str(path))
    assert "h5clear -s" in caught.value.mend


@pytest.mark.parametrize("given", ["none", 0, "+6", "+100000"])
def test_the_size_of_the_only_strip_is_missing_or_too_large(given, tmp_path):
    """As libtiff and tifffile read them: its pixels say how large it is."""
    volume = noise_volume(dtype="uint16")
    size = 20 * 23 * 2
    stored = size + int(given) if isinstance(given, str) and given[0] == "+" else given
    for z, plane in enumerate(volume):
        more = {279: None if stored == "none" else (4, 1, stored)}
        _by_hand(tmp_path / f"v{z}.tif", plane, more, tail=b"abcdef")
    notes = {"none": "is not stored", 0: "is not stored", "+6": None, "+100000": "larger than"}
    found(tmp_path, volume, notes[given])


@pytest.mark.parametrize("given", ["none", 0, 10**6])
def test_a_cut_strip_is_truncated_whatever_its_size_is_said_to_be(given, tmp_path):
    more = {279: None if given == "none" else (4, 1, given)}
    plane = noise_volume((20, 23), "uint16")
    path = _by_hand(tmp_path / "v.tif", plane, more, directory_first=True)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="is truncated"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("compression", ["deflate", "lzw", "zstd"])
@pytest.mark.parametrize("given", ["none", 0])
def test_the_size_of_a_compressed_strip_is_missing(compression, given, tmp_path):
    volume = noise_volume(dtype="uint16") // 999
    folder = write_stack(tmp_path, volume, compression=compression, rowsperstrip=20)
    _without_sizes(folder, given)
    found(folder, volume, "is not stored")


@pytest.mark.parametrize(
    "options", [{"rowsperstrip": 7}, {"compression": "packbits", "rowsperstrip": 20}]
)
@pytest.mark.parametrize("given", ["none", 0])
def test_sizes_that_nothing_else_says(options, given, tmp_path):
    """libtiff refuses them and tifffile gives zeros, so they are refused, and not as truncated."""
    folder = write_stack(tmp_path, noise_volume(dtype="uint16"), **options)
    _without_sizes(folder, given)
    with pytest.raises(InputError, match="not said how large"):
        open_source(str(folder))


@pytest.mark.parametrize("rows", [1, 13, 20, 2**32 - 1])
def test_wrong_rows_per_strip_of_strips_in_one_piece(rows, tmp_path):
    volume = noise_volume(dtype="uint16")
    for plane in write_stack(tmp_path, volume, rowsperstrip=7).iterdir():
        with tifffile.TiffFile(plane, mode="r+") as file:
            file.pages.first.tags["RowsPerStrip"].overwrite(rows)
    found(tmp_path, volume, "RowsPerStrip is wrong")


def test_wrong_rows_per_strip_of_strips_that_lie_apart(tmp_path):
    """No reader can know which rows are where."""
    path = write_page(tmp_path / "v.tif", noise_volume((20, 23), "uint16"), rowsperstrip=7)
    with tifffile.TiffFile(path, mode="r+") as file:
        tags = file.pages.first.tags
        tags["RowsPerStrip"].overwrite(20)
        tags["StripOffsets"].overwrite(tuple(n - 2 * i for i, n in enumerate(tags[273].value)))
    with pytest.raises(InputError, match="contradicts itself"):
        open_source(str(tmp_path))


def test_one_slice_among_others_has_no_size_of_its_strip(tmp_path):
    volume = noise_volume(dtype="uint16")
    write_stack(tmp_path, volume)
    _by_hand(tmp_path / "img_3.tif", volume[3], {279: (4, 1, 0)})
    found(tmp_path, volume, "is not stored")


def test_slices_tell_of_a_page_beyond_their_end(tmp_path):
    """A thumbnail that was cut off; all pixels of the slice are there."""
    volume = noise_volume(dtype="uint16")
    for z, plane in enumerate(volume):
        _by_hand(tmp_path / f"v{z}.tif", plane, next_page=0x7FFFFFF0)
    found(tmp_path, volume, "beyond its end")


@pytest.mark.parametrize("declared", [4, 5, None])
def test_a_file_of_many_pages_tells_of_one_more_beyond_its_end(declared, tmp_path):
    """All are there only if the file says how many they are: else it may have been cut."""
    volume, path = noise_volume((4, 20, 23)), tmp_path / "v.tif"
    with tifffile.TiffWriter(path) as file:
        for number, plane in enumerate(volume):
            text = f"ImageJ=1.53\nimages={declared}\nslices={declared}\n"
            first = text if number == 0 and declared else None
            file.write(plane, description=first, metadata=None, photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        at = file.pages[-1].offset
    content = bytearray(path.read_bytes())
    (tags,) = struct.unpack_from("<H", content, at)
    struct.pack_into("<I", content, at + 2 + 12 * tags, 10**6)
    path.write_bytes(content)
    if declared == len(volume):
        found(path, volume, "beyond its end")
    else:
        with pytest.raises(InputError, match="truncated"):
            open_source(str(path))


@pytest.mark.parametrize("kind", ["slices", "pages"])
def test_thumbnails_are_no_slices(kind, tmp_path):
    volume = noise_volume((4, 20, 23))
    for z, plane in enumerate(volume):
        name = f"v{z}.tif" if kind == "slices" else "v.tif"
        with tifffile.TiffWriter(tmp_path / name, append=True) as file:
            options = {"metadata": None, "photometric": "minisblack"}
            file.write(plane, **options)
            file.write(plane[::4, ::4], subfiletype=1, **options)
    found(tmp_path if kind == "slices" else tmp_path / "v.tif", volume, "thumbnails")


def test_a_page_as_large_as_the_others_is_no_thumbnail(tmp_path):
    """One bit of a tag must not take a slice out of the volume."""
    with tifffile.TiffWriter(tmp_path / "v.tif") as file:
        for plane, kind in zip(noise_volume((3, 20, 23)), (0, 1, 0), strict=True):
            file.write(plane, subfiletype=kind, metadata=None, photometric="minisblack")
    with pytest.raises(InputError, match="thumbnail"):
        open_source(str(tmp_path / "v.tif"))


def _without_sizes(folder, given):
    """TIFF files whose sizes of strips are 0, or stand under a private tag that nobody knows."""
    for path in folder.iterdir():
        with tifffile.TiffFile(path, mode="r+") as file:
            tag = file.pages.first.tags["StripByteCounts"]
            if given == 0:
                tag.overwrite((0,) * len(tag.value))
                continue
            at = tag.offset
        content = bytearray(path.read_bytes())
        content[at : at + 2] = struct.pack("<H", 65001)
        path.write_bytes(content)


def _by_hand(path, plane, more=(), *, next_page=0, tail=b"", directory_first=False):
    """A TIFF of one strip of 16 bits, with further tags: (type, count, value or offset), or None.

    ``tail``: what lies behind everything else.
    """
    y, x = plane.shape
    data = plane.astype("<u2").tobytes()
    tags = {
        **{256: (3, 1, x), 257: (3, 1, y), 258: (3, 1, 16), 259: (3, 1, 1), 262: (3, 1, 1)},
        **{277: (3, 1, 1), 278: (3, 1, y), 279: (4, 1, len(data)), **dict(more)},
    }
    count = 1 + sum(its is not None for its in tags.values())
    length = 2 + 12 * count + 4
    tags[273] = (4, 1, 8 + length if directory_first else 8)
    entries = [struct.pack("<HHII", number, *its) for number, its in sorted(tags.items()) if its]
    directory = struct.pack("<H", count) + b"".join(entries) + struct.pack("<I", next_page)
    parts = (directory, data) if directory_first else (data, directory)
    begin = 8 if directory_first else 8 + len(data)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, begin) + b"".join(parts) + tail)
    return path


def test_a_folder_of_another_format_says_what_converts_it(tmp_path):
    (tmp_path / "s0.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match="PNG, which is not read"):
        open_source(str(tmp_path))


def test_tiles_that_are_not_stitched_are_told(tmp_path):
    """As TeraStitcher takes them: Y/Y_X/ with slices in each."""
    for y in ("000000", "010240"):
        write_stack(tmp_path / y / f"{y}_000000", noise_volume())
    with pytest.raises(InputError, match="stitched") as caught:
        open_source(str(tmp_path))
    assert "TeraStitcher" in caught.value.mend


@pytest.mark.parametrize("axes", [None, "zyx"])
def test_what_is_assumed_of_three_axes_is_said(axes, tmp_path):
    volume = noise_volume()
    path = write_hdf5(tmp_path / "v.h5", volume, axes=axes)
    found(path, volume, None if axes else "does not name its axes: zyx is assumed")


def test_the_range_of_values_is_shown_without_a_classifier(tmp_path):
    volume = noise_volume(dtype="float32")
    volume[2, 3, 4] = np.nan
    audited = audit(volume=str(write_stack(tmp_path, volume)))
    assert audited.values == (np.nanmin(volume), np.nanmax(volume))
