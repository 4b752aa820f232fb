"""Small files that declare much: refused by what they declare, before anything is allocated."""

import os
import struct
import tracemalloc
from contextlib import contextmanager

import h5py
import numpy as np
import pytest
import tifffile

from tbseg_ops.volume import open_source
from tests.refusals import refused
from tests.synthetic import noise_volume, write_page, write_stack

MEGABYTE = 2**20


@contextmanager
def refused_cheaply(match):
    """InputError, while Python and numpy together allocate less than 20 MB."""
    tracemalloc.start()
    try:
        with refused(match):
            yield
        assert tracemalloc.get_traced_memory()[1] < 20 * MEGABYTE
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def bomb(tmp_path_factory):
    """A page of 400 MB in some kB of zstd."""
    plane = np.broadcast_to(np.uint8(0), (20_000, 20_000))
    folder = tmp_path_factory.mktemp("bomb")
    path = write_page(folder / "1.tif", plane, compression="zstd", rowsperstrip=20_000)
    assert path.stat().st_size < 60_000
    return path


@pytest.mark.parametrize("as_folder", [True, False])
def test_one_page(as_folder, bomb):
    with refused_cheaply("far more voxels are declared"):
        open_source(str(bomb.parent if as_folder else bomb))


def test_many_pages(tmp_path):
    with tifffile.TiffWriter(tmp_path / "v.tif") as file:
        for _ in range(70):
            file.write(
                np.zeros((1000, 1000), np.uint8),
                compression="zstd",
                rowsperstrip=1000,
                metadata=None,
                contiguous=False,
            )
    with refused_cheaply("far more voxels are declared"):
        open_source(str(tmp_path / "v.tif"))


def test_pages_that_share_their_bytes(tmp_path):
    """1,200 pages that all point to the megabyte of the first one."""
    plane, pages = noise_volume((1024, 1024)), 1200
    tags = {256: 1024, 257: 1024, 258: 8, 259: 1, 262: 1, 273: 8, 278: 1024, 279: plane.size}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    start, length = 8 + plane.size, 2 + len(entries) + 4
    content = [struct.pack("<2sHI", b"II", 42, start), plane.tobytes()]
    for page in range(1, pages + 1):
        following = start + page * length if page < pages else 0
        content += [struct.pack("<H", len(tags)), entries, struct.pack("<I", following)]
    path = tmp_path / "v.tif"
    path.write_bytes(b"".join(content))
    with refused_cheaply("far more voxels are declared"):
        open_source(str(path))


@pytest.mark.parametrize("side", [100_000, 2**31])
def test_a_page_beyond_any_memory(side, tmp_path):
    path = write_page(tmp_path / "v.tif", noise_volume((16, 16)), compression="deflate")
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            file.pages.first.tags[name].overwrite(side, dtype="I")
    with refused_cheaply("too many voxels"):
        open_source(str(path))


def test_an_imagej_stack_beyond_its_file(tmp_path):
    text = "ImageJ=1.54f\nimages=900000000\nslices=900000000\n"
    path = write_page(tmp_path / "v.tif", noise_volume((16, 16)), description=text)
    with refused_cheaply("truncated"):
        open_source(str(path))


def test_empty_slices_among_others_are_no_bomb(tmp_path):
    """An empty slice of 16 MB in 60 bytes is what the ends of a real stack look like."""
    volume = np.zeros((3, 4000, 4000), np.uint8)
    volume[1] = noise_volume((4000, 4000))
    folder = write_stack(tmp_path / "s", volume, compression="zstd", rowsperstrip=4000)
    assert not open_source(str(folder)).read(0, 1).array.any()


def test_many_images_behind_one_page_are_no_bomb(tmp_path):
    """1,100 images of 64 kB, as ImageJ writes them beyond 4 GB."""
    text = "ImageJ=1.54f\nimages=1100\nslices=1100\n"
    path = write_page(tmp_path / "v.tif", noise_volume((256, 256)), description=text)
    with tifffile.TiffFile(path) as file:
        start = file.pages.first.dataoffsets[0]
    os.truncate(path, start + 1100 * 256 * 256)
    assert open_source(str(path)).info.shape == (1100, 256, 256)


def test_hdf5_chunks_of_nothing(tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        zeros = np.zeros((100, 1000, 1000), np.uint8)
        file.create_dataset("data", data=zeros, chunks=(100, 1000, 1000), compression="gzip")
    with h5py.File(tmp_path / "v.h5") as file:
        stored = file["data"].id.get_storage_size()
    assert stored * 1000 < 100 * MEGABYTE
    with refused_cheaply("far more voxels are declared"):
        open_source(str(tmp_path / "v.h5"))


@pytest.mark.parametrize(
    ("shape", "chunks", "what"),
    [
        ((2**40, 16, 16), (1, 16, 16), "far more voxels"),
        ((8, 2**20, 2**20), (1, 2**15, 2**16), "huge chunks"),
        ((2**10, 2**20, 2**20), None, "far more voxels"),
    ],
)
def test_hdf5_shapes_beyond_any_memory(shape, chunks, what, tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_dataset("data", shape, np.uint8, chunks=chunks)
    with refused_cheaply(what):
        open_source(str(tmp_path / "v.h5"))


def test_too_many_slices(tmp_path):
    """2 million slices of one voxel are an axis order gone wrong, and 2 million names."""
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["data"] = np.zeros((2**21, 1, 1), np.uint8)
    with refused("too many slices"):
        open_source(str(tmp_path / "v.h5"))
