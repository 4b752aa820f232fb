"""What holds for every source: ranges, threads, pickles, files that change or fail while open."""

import errno
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile

from tbseg_ops.errors import ResourceError
from tbseg_ops.geometry import Box
from tbseg_ops.selection import Selection
from tbseg_ops.volume import open_planned, open_source, stack
from tbseg_ops.volume import regular_files as files
from tests.refusals import refused
from tests.synthetic import noise_volume, write_hdf5, write_page, write_stack

VOLUME = noise_volume((12, 20, 23), "uint16")


def as_stack(folder):
    return write_stack(folder / "v", VOLUME, compression="deflate")


def as_pages(folder):
    tifffile.imwrite(folder / "v.tif", VOLUME, metadata=None, photometric="minisblack")
    return folder / "v.tif"


def as_imagej(folder):
    options = {"imagej": True, "truncate": True, "metadata": {"axes": "ZYX"}}
    tifffile.imwrite(folder / "v.tif", VOLUME, **options)
    return folder / "v.tif"


def as_hdf5(folder):
    return write_hdf5(folder / "v.h5", VOLUME, axes="zyx", chunks=(5, 8, 8), compression="gzip")


KINDS = [as_stack, as_pages, as_imagej, as_hdf5]
every_kind = pytest.mark.parametrize("written", KINDS, ids=lambda kind: kind.__name__)


@every_kind
def test_ranges(written, tmp_path):
    with open_source(str(written(tmp_path))) as source:
        every = source.fingerprints(0, 12)
        assert len(set(every)) == len(source.slices) == len(set(source.slices)) == 12
        for z0, z1 in ((0, 1), (3, 11), (11, 12), (0, 12)):
            slab = source.read(z0, z1)
            assert np.array_equal(slab.array[..., 0], VOLUME[z0:z1])
            assert slab.array.flags.c_contiguous
            assert slab.array.dtype == np.uint16
            assert slab.fingerprints == source.fingerprints(z0, z1) == every[z0:z1]
        for z0, z1 in ((-1, 2), (0, 13), (4, 4), (5, 4), (12, 13)):
            with pytest.raises(IndexError):
                source.read(z0, z1)
            with pytest.raises(IndexError):
                source.fingerprints(z0, z1)


@every_kind
@pytest.mark.parametrize("order", ["forward", "reversed"])
def test_a_window_is_a_part_of_the_volume(written, order, tmp_path):
    box = Box((3, 4, 0), (9, 17, 23))
    selection = Selection(order=order)
    with open_source(str(written(tmp_path)), selection) as source:
        assert np.array_equal(source.window(box), source.read(0, 12).array[box.slices])


def test_a_window_of_channels(tmp_path):
    volumes = [as_hdf5(tmp_path), as_stack(tmp_path)]
    box = Box((3, 4, 5), (9, 17, 20))
    with open_source(str(volumes[0]), Selection(channels_from=(str(volumes[1]),))) as source:
        found = source.window(box)
    assert found.shape == (*box.shape, 2)
    assert all(np.array_equal(found[..., c], VOLUME[box.slices]) for c in range(2))
    tifffile.imwrite(tmp_path / "c.tif", np.stack([VOLUME, VOLUME[::-1]], axis=1), imagej=True)
    with open_source(str(tmp_path / "c.tif"), Selection(channel=1)) as source:
        assert np.array_equal(source.window(box)[..., 0], VOLUME[::-1][box.slices])


@every_kind
def test_fingerprints_are_those_of_another_opening(written, tmp_path):
    path = str(written(tmp_path))
    with open_source(path) as first, open_source(path) as second:
        assert first.info == second.info
        assert first.fingerprints(0, 12) == second.fingerprints(0, 12)


@every_kind
def test_many_threads(written, tmp_path):
    with open_source(str(written(tmp_path))) as source, ThreadPoolExecutor(8) as pool:
        alone = source.fingerprints(0, 12)
        found = list(pool.map(lambda i: source.read(i % 12, i % 12 + 1), range(96)))
        for i, slab in enumerate(found):
            assert slab.fingerprints[0] == alone[i % 12]
            assert np.array_equal(slab.array[0, ..., 0], VOLUME[i % 12])


@pytest.mark.parametrize("written", [as_stack, as_pages, as_imagej], ids=lambda kind: kind.__name__)
def test_pickled(written, tmp_path):
    source = pickle.loads(pickle.dumps(open_source(str(written(tmp_path)))))
    assert np.array_equal(source.read(2, 4).array[..., 0], VOLUME[2:4])


def test_an_equal_volume_in_another_hdf5_layout_has_the_same_fingerprints(tmp_path):
    """They are those of the pixels, not of the file."""
    one = write_hdf5(tmp_path / "1.h5", VOLUME.transpose(2, 0, 1), axes="xzy", chunks=(23, 2, 9))
    two = write_hdf5(tmp_path / "2.h5", VOLUME.astype(">u2")[None, ..., None], axes="tzyxc")
    with open_source(str(one)) as first, open_source(str(two)) as second:
        assert first.fingerprints(0, 12) == second.fingerprints(0, 12)


def test_equal_bytes_of_another_shape_or_type_have_another_fingerprint(tmp_path):
    shapes = (VOLUME, VOLUME.reshape(12, 23, 20), VOLUME.view(np.uint8).reshape(12, 20, 46))
    found = set()
    for i, volume in enumerate(shapes):
        with open_source(str(write_hdf5(tmp_path / f"{i}.h5", volume))) as source:
            found |= set(source.fingerprints(0, 12))
    assert len(found) == 3 * 12


def test_a_slice_file_is_read_once(tmp_path, monkeypatch):
    """What is digested is what is decoded: swapping the file in between changes nothing."""
    source = open_source(str(as_stack(tmp_path)))
    before = source.fingerprints(0, 12)
    opened, open_regular = [], files.open_regular

    def swapping(path):
        file = open_regular(path)
        opened.append(path)
        os.replace(write_page(tmp_path / "other.tif", VOLUME[0] ^ 1, compression="deflate"), path)
        return file

    monkeypatch.setattr(files, "open_regular", swapping)
    slab = source.read(3, 6)
    assert len(opened) == len(set(opened)) == 3
    assert slab.fingerprints == before[3:6]
    assert np.array_equal(slab.array[..., 0], VOLUME[3:6])


def replaced_by_other_size(path):
    path.write_bytes(path.read_bytes() + b"x")


def replaced_by_other_shape(path):
    with tifffile.TiffFile(path, mode="r+") as file:
        tags = file.pages.first.tags
        tags["ImageWidth"].overwrite(20)
        tags["ImageLength"].overwrite(23)
        tags["RowsPerStrip"].overwrite(23)


CHANGES = [replaced_by_other_size, replaced_by_other_shape]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_slice_that_changed_since_the_audit(change, tmp_path):
    folder = write_stack(tmp_path / "v", VOLUME)
    source = open_source(str(folder))
    before = source.fingerprints(2, 3)
    change(folder / "img_2.tif")
    with refused("changed since the audit", "img_2.tif"):
        source.read(1, 4)
    if change is replaced_by_other_size:
        with refused("changed since the audit"):
            source.fingerprints(1, 4)
    else:
        assert source.fingerprints(2, 3) != before


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_file_of_pages_that_changed_since_the_audit(change, tmp_path):
    path = as_pages(tmp_path)
    source = open_source(str(path))
    change(path)
    with refused("changed since the audit"):
        source.read(0, 1)


def test_a_slice_replaced_by_one_of_equal_size_and_date(tmp_path):
    folder = write_stack(tmp_path / "v", VOLUME)
    source = open_source(str(folder))
    before = source.fingerprints(0, 12)
    path = folder / "img_2.tif"
    dates = path.stat()
    write_page(path, VOLUME[2] ^ 1)
    os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    assert path.stat().st_size == dates.st_size
    after = source.fingerprints(0, 12)
    assert [z for z in range(12) if before[z] != after[z]] == [2]
    assert source.read(0, 12).fingerprints == after


def test_a_slice_that_vanished(tmp_path):
    folder = write_stack(tmp_path / "v", VOLUME)
    source = open_source(str(folder))
    (folder / "img_2.tif").unlink()
    with refused("cannot be opened", "img_2.tif"):
        source.fingerprints(0, 12)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENFILE, errno.ETIMEDOUT])
@pytest.mark.parametrize("written", [as_stack, as_pages], ids=lambda kind: kind.__name__)
def test_a_failing_disk_is_not_the_input(written, number, tmp_path, monkeypatch):
    path = str(written(tmp_path))
    source = open_source(path)

    def failing(*args, **keywords):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "open", failing)
    for call in (lambda: open_source(path), lambda: source.read(0, 1)):
        with pytest.raises(ResourceError) as caught:
            call()
        assert os.strerror(number) in str(caught.value)


def test_a_disk_that_fails_while_pixels_are_read(tmp_path, monkeypatch):
    source = open_source(str(as_pages(tmp_path)))

    def failing(self, *args, **keywords):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(tifffile.FileHandle, "read_array", failing)
    with pytest.raises(ResourceError):
        source.read(0, 1)


def test_too_little_memory_for_a_slice_is_not_the_input(tmp_path, monkeypatch):
    source = open_source(str(as_stack(tmp_path)))

    def failing(self, **keywords):
        raise MemoryError

    monkeypatch.setattr(tifffile.TiffPage, "asarray", failing)
    with pytest.raises(ResourceError, match="memory"):
        source.read(0, 1)


@every_kind
def test_a_planned_volume_reads_only_what_was_planned(written, tmp_path):
    path = str(written(tmp_path))
    with open_source(path) as audited:
        info, names, prints = audited.info, audited.slices, audited.fingerprints(0, 12)
    with open_planned(path, names, info) as source:
        assert np.array_equal(source.read(3, 6, prints).array[..., 0], VOLUME[3:6])
        with refused("changed since the plan"):
            source.read(3, 6, (*prints[:4], "0" * 64, *prints[5:]))
    other = info.model_copy(update={"dtype": "uint8"})
    with refused("changed since the"), open_planned(path, names, other) as source:
        source.read(3, 6, prints)


def test_a_slice_that_was_not_planned_is_not_parsed(tmp_path, monkeypatch):
    folder = as_stack(tmp_path)
    with open_source(str(folder)) as source:
        names, prints = source.slices, source.fingerprints(0, 12)
    (folder / names[2]).write_bytes(b"II*\0 no TIFF file")
    (folder / names[5]).unlink()
    monkeypatch.setattr(stack, "page_offsets", None)
    with open_planned(str(folder), names, None) as planned:
        with refused("changed since the plan"):
            planned.read(2, 3, prints)
        with refused("cannot be opened", names[5]):
            planned.read(5, 6, prints)
