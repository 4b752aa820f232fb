"""What a user may write for a volume, and garbage instead of one."""

import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tbseg_ops.errors import InputError
from tbseg_ops.volume import open_source
from tests.synthetic import noise_volume, write_hdf5, write_page, write_stack


def test_odd_names_of_folders(tmp_path):
    for name in ("ä 血管", "a:b", "star*", "[x]", "data.h5"):
        folder = write_stack(tmp_path / name, noise_volume())
        assert open_source(str(folder)).info.shape == (5, 20, 23)
    (tmp_path / "a:").mkdir()
    path = write_hdf5(tmp_path / "a:" / "v.h5", noise_volume())
    assert open_source(f"{path}:/data").info.shape == (5, 20, 23)


@pytest.mark.parametrize("volume", ["", "/nowhere/at/all", "/nowhere/*.tif", "/x\0y", "/dev/null"])
def test_no_volume(volume):
    with pytest.raises(InputError):
        open_source(volume)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no TIFF slices"):
        open_source(str(tmp_path))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([b"", b"II*\0", b"MM\0*", b"II+\0", b"\x89HDF\r\n\x1a\n"]),
    st.binary(max_size=400),
)
def test_garbage_is_an_input_error(tmp_path, magic, garbage):
    path = tmp_path / "garbage.tif"
    path.write_bytes(magic + garbage)
    with pytest.raises(InputError, match=r"garbage\.tif"):
        open_source(str(path)).read(0, 1)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_is_read_or_an_input_error(tmp_path, at, value):
    path = write_page(tmp_path / "one.tif", noise_volume((20, 23)))
    content = bytearray(path.read_bytes())
    content[at % len(content)] = value
    path.write_bytes(content)
    shape = None
    try:
        shape = open_source(str(path)).read(0, 1).array.shape
    except InputError:
        return
    assert shape[0] == 1


def test_a_bomb_is_refused_by_its_declared_size(tmp_path):
    """A small file that declares 100,000 x 100,000 voxels."""
    path = write_page(tmp_path / "bomb.tif", np.zeros((64, 64), np.uint8), compression="deflate")
    content = bytearray(path.read_bytes())
    first = struct.unpack_from("<I", content, 4)[0]
    for entry in range(struct.unpack_from("<H", content, first)[0]):
        at = first + 2 + 12 * entry
        (tag,) = struct.unpack_from("<H", content, at)
        if tag in (256, 257, 278):
            struct.pack_into("<HHII", content, at, tag, 4, 1, 100_000)  # one LONG
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bomb\.tif"):
        open_source(str(path))
