"""TIFF and HDF5 files as cameras, converters, editors and people leave them: read, with a note."""

import struct
import subprocess
import sys

import numpy as np
import pytest
import tifffile

from tbseg_ops.errors import InputError
from tbseg_ops.volume import open_source
from tests.synthetic import noise_volume, write_page, write_stack


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


def _by_hand(path, plane, more):
    """A TIFF of one strip of 16 bits, with further tags: (type, count, value or offset)."""
    y, x = plane.shape
    data = plane.astype("<u2").tobytes()
    tags = {
        **{256: (3, 1, x), 257: (3, 1, y), 258: (3, 1, 16), 259: (3, 1, 1), 262: (3, 1, 1)},
        **{273: (4, 1, 8), 277: (3, 1, 1), 278: (3, 1, y), 279: (4, 1, len(data)), **more},
    }
    entries = [struct.pack("<HHII", number, *its) for number, its in sorted(tags.items())]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + b"\0" * 4
    path.write_bytes(struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + directory)


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
