"""Damaged files: an error or another fingerprint, never other voxels under the same one."""

import struct

import h5py
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tbseg_ops.errors import InputError
from tbseg_ops.volume import open_source
from tests.refusals import refused
from tests.synthetic import noise_volume, write_hdf5

VOLUME = noise_volume((4, 24, 20), "uint16")
LAYOUTS = {
    "plain": {"metadata": None},
    "bigtiff": {"metadata": None, "bigtiff": True},
    "predictor": {"metadata": None, "compression": "deflate", "predictor": 2, "rowsperstrip": 7},
    "lzw": {"metadata": None, "compression": "lzw", "byteorder": ">"},
    "packbits": {"metadata": None, "compression": "packbits"},
    "zstd tiles": {"metadata": None, "compression": "zstd", "tile": (16, 16)},
    "shaped": {},
    "shaped, one page": {"metadata": {"axes": "ZYX"}, "truncate": True},
    "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
    "imagej, one page": {"imagej": True, "metadata": {"axes": "ZYX"}, "truncate": True},
    "ome": {"ome": True, "metadata": {"axes": "ZYX"}},
}


def whole(path):
    with open_source(str(path)) as source:
        return source.info, source.read(0, source.info.shape[0])


def written(path, layout):
    options = LAYOUTS[layout]
    if not options.get("imagej"):
        options = {"photometric": "minisblack", **options}
    tifffile.imwrite(path, VOLUME, **options)
    return path


@pytest.fixture(params=LAYOUTS)
def good(request, tmp_path):
    path = written(tmp_path / "v.tif", request.param)
    info, slab = whole(path)
    assert np.array_equal(slab.array[..., 0], VOLUME)
    return path, info, slab


def test_every_cut_is_refused_or_cuts_nothing(good):
    path, info, _ = good
    content = path.read_bytes()
    for cut in range(0, len(content), max(1, len(content) // 97)):
        path.write_bytes(content[:cut])
        with pytest.raises(InputError, match=r"v\.tif"):
            whole(path)
    path.write_bytes(content)
    assert whole(path)[0] == info


def test_a_flipped_bit_is_refused_or_seen(good):
    path, info, slab = good
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(5)
    for at in [*range(min(400, len(content))), *random.integers(0, len(content), 150)]:
        bit = 1 << random.integers(8)
        content[at] ^= bit
        path.write_bytes(content)
        content[at] ^= bit
        try:
            found = whole(path)
        except InputError:
            continue
        assert found[0].shape == info.shape
        same = np.array_equal(found[1].array, slab.array)
        assert (found[1].fingerprints == slab.fingerprints) == same


def chain(pages, following):
    """A file of uint8 pages of 2 x 2, page i at its place; ``following``: the chain's offsets."""
    tags = {256: 2, 257: 2, 258: 8, 259: 1, 262: 1, 273: 8, 278: 2, 279: 4}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    content = struct.pack("<2sHI4s", b"II", 42, 12, b"abcd")
    for i in range(pages):
        content += struct.pack("<H", len(tags)) + entries + struct.pack("<I", following[i])
    return content


PAGE = 2 + 8 * 12 + 4
CHAINS = {
    "a circle": (3, [12 + PAGE, 12 + 2 * PAGE, 12], "circle"),
    "itself": (1, [12], "circle"),
    "out of the file": (2, [12 + PAGE, 10**6], "truncated"),
    "into the last byte": (2, [12 + PAGE, 12 + 2 * PAGE - 2], "truncated"),
    "overlapping": (1, [14], "damaged|overlap"),
}


@pytest.mark.parametrize("case", CHAINS)
def test_chains_of_pages(case, tmp_path):
    pages, following, what = CHAINS[case]
    path = tmp_path / "v.tif"
    path.write_bytes(chain(pages, [*range(12 + PAGE, 12 + pages * PAGE, PAGE), 0]))
    assert open_source(str(path)).info.shape == (pages, 2, 2)
    path.write_bytes(chain(pages, following))
    with refused(what):
        open_source(str(path))


def test_pages_that_lie_in_each_other(tmp_path):
    content = bytearray(1300)
    struct.pack_into("<2sHI", content, 0, b"II", 42, 8)
    for page, following in ((8, 30), (30, 0)):
        struct.pack_into("<H", content, page, 100)
        struct.pack_into("<I", content, page + 2 + 100 * 12, following)
    (tmp_path / "v.tif").write_bytes(content)
    with refused("overlap"):
        open_source(str(tmp_path / "v.tif"))


def test_fewer_bytes_than_pixels(tmp_path):
    """There is more in the file, but the page says that it is not its own."""
    path = written(tmp_path / "v.tif", "plain")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["StripByteCounts"].overwrite(24 * 20 * 2 - 1)
    with refused("contradicts itself"):
        open_source(str(path))


def test_a_damaged_description_is_not_ignored(tmp_path):
    """It may say that the pages are no slices; so it counts when it can no longer be read."""
    path = tmp_path / "v.tif"
    with tifffile.TiffWriter(path) as file:
        for i in range(4):
            text = "ImageJ=1.54f\nimages=4\nframes=4\nInfo=~~" if i == 0 else None
            file.write(VOLUME[i], description=text, metadata=None, contiguous=False)
    path.write_bytes(path.read_bytes().replace(b"~~", b"\x81\x8d"))
    with refused("description"):
        open_source(str(path))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 2**16), st.integers(1, 12), st.integers(0, 2**32 - 1)), max_size=14
    )
)
def test_any_tags_are_read_or_refused(tmp_path, entries):
    """Pages of random tags, of which some mean something."""
    tags = {256: (4, 4), 257: (4, 4), 258: (4, 8), 259: (4, 1), 262: (4, 1)}
    tags |= {273: (4, 8), 278: (4, 4), 279: (4, 16)}
    known = sorted(tags)
    for tag, kind, value in entries:
        tags[known[tag % len(known)] if tag % 3 else tag % 2**16] = (kind, value)
    content = struct.pack("<2sHI", b"II", 42, 24) + bytes(range(16)) + struct.pack("<H", len(tags))
    for tag, (kind, value) in sorted(tags.items()):
        content += struct.pack("<HHII", tag, kind, 1, value)
    (tmp_path / "v.tif").write_bytes(content + bytes(4))
    try:
        info, slab = whole(tmp_path / "v.tif")
    except InputError as error:
        assert "v.tif" in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert slab.array.shape == (*info.shape, info.channels)


@pytest.mark.parametrize("chunks", [None, (2, 8, 8)])
def test_a_flipped_bit_in_hdf5_is_refused_or_seen(chunks, tmp_path):
    path = write_hdf5(tmp_path / "v.h5", VOLUME, chunks=chunks)
    info, slab = whole(path)
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(6)
    for at in random.integers(0, len(content), 250):
        bit = 1 << random.integers(8)
        content[at] ^= bit
        path.write_bytes(content)
        content[at] ^= bit
        try:
            found = whole(path)
        except InputError:
            continue
        assert found[0].shape[0] >= info.shape[0]
        same = found[0] == info and np.array_equal(found[1].array, slab.array)
        assert (found[1].fingerprints == slab.fingerprints) == same


def test_an_hdf5_shape_that_lost_slices_is_refused(tmp_path):
    """More chunks than the shape has places for: the volume would be too short."""
    path = write_hdf5(tmp_path / "v.h5", VOLUME, chunks=(2, 24, 20))
    content = path.read_bytes()
    path.write_bytes(
        content.replace(struct.pack("<3Q", *VOLUME.shape), struct.pack("<3Q", 2, 24, 20))
    )
    with h5py.File(path) as file:
        assert file["data"].shape == (2, 24, 20)
    with refused("incomplete"):
        open_source(str(path))


def test_an_hdf5_chunk_that_lost_its_place_is_refused(tmp_path):
    """As many chunks as there should be, but one of them outside: its place would read as zeros."""
    path = write_hdf5(tmp_path / "v.h5", VOLUME, chunks=(2, 24, 20))
    with h5py.File(path) as file:
        assert file["data"].id.get_num_chunks() == 2
    content = path.read_bytes()
    # The key of the second chunk in the B-tree: size and filter mask, then its place (2, 0, 0).
    key = struct.pack("<II3Q", 2 * 24 * 20 * 2, 0, 2, 0, 0)
    assert content.count(key) == 1
    path.write_bytes(content.replace(key, struct.pack("<II3Q", 2 * 24 * 20 * 2, 0, 200, 0, 0)))
    with refused("incomplete"):
        open_source(str(path))
