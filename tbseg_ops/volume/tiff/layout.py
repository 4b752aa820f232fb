"""Which page of a multi-page TIFF file is which slice.

Looked for in the order in which tifffile does: tifffile's own description, OME-XML, ImageJ, and
otherwise one page per slice. Whatever a description declares must be there; nothing is filled.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffPage

from tbseg_ops.errors import InputError
from tbseg_ops.volume.axes import time_point
from tbseg_ops.volume.tiff.imagej import imagej_header
from tbseg_ops.volume.tiff.ome import ome_planes, ome_set, ome_voxel_size
from tbseg_ops.volume.voxel_size import UNKNOWN, VoxelSize

_UNNAMED = "QI"  # tifffile's letters for an axis without a name


@dataclass(frozen=True, slots=True)
class Layout:
    """``pages``: for each (z, c) the number of the image in the file; c without a page's samples.

    ``contiguous``: there is one page only, and image i follows i images' bytes after its pixels.
    ``images``: in the file, those of other time points included.
    """

    pages: NDArray[np.int64]
    images: int
    contiguous: bool = False
    voxels: VoxelSize = UNKNOWN
    warnings: tuple[str, ...] = ()


def find_layout(first: TiffPage, pages: int, where: str, time: int | None = None) -> Layout:
    """The layout of a file of ``pages`` pages that are all like ``first``.

    ``time``: the time point that is wanted, if the file has several.
    """
    if first.shaped_description is not None:
        return _shaped(first, first.shaped_description, pages, where, time)
    if first.is_ome:
        shape = first.imagelength, first.imagewidth
        ome = ome_planes(first.description, pages, first.samplesperpixel, shape, where)
        planes = ome.pages[_planes(ome.sizes, where, time)]
        return Layout(planes, pages, voxels=ome.voxels)
    header = imagej_header(first, where)
    if header is None:
        return Layout(np.arange(pages).reshape(-1, 1), pages)
    is_z_alone = all(n == 1 for axis, n in header.sizes.items() if axis != "z")
    if header.images < pages and is_z_alone:
        return Layout(
            np.arange(pages).reshape(-1, 1),
            pages,
            voxels=header.voxels,
            warnings=(
                f"ImageJ's description declares {header.images} image(s); the {pages} pages are"
                " taken as slices",
            ),
        )
    contiguous = _contiguous(first, header.images, pages, where)
    planes = _planes(header.sizes, where, time)
    return Layout(planes, header.images, contiguous, header.voxels)


def declared_images(page: TiffPage, where: str) -> int:
    """How many images a file with this only page says it holds (OME sets of one file each: 1)."""
    if page.shaped_description is not None:
        axes = _shaped_axes(page, page.shaped_description, where)
        return prod(axes.values())
    header = imagej_header(page, where)
    return 1 if header is None else header.images


def tells_images(page: TiffPage, images: int, where: str) -> bool:
    """Whether the first page says that the file holds just these ``images`` (OME: is checked)."""
    return page.is_ome or (images > 1 and declared_images(page, where) == images)


def page_voxel_size(page: TiffPage, where: str) -> VoxelSize:
    """The voxel size by ImageJ's description or OME-XML of a slice file's page."""
    if page.is_ome:
        try:
            return ome_voxel_size(page.description, where)
        except InputError:  # of a set of files; the pixels do not depend on it
            return UNKNOWN
    header = imagej_header(page, where)
    return UNKNOWN if header is None else header.voxels


def page_set(page: TiffPage, where: str) -> dict[str, int]:
    """The z of each file of the OME set that a slice file's page tells of; empty if of none."""
    try:
        return ome_set(page.description, where) if page.is_ome else {}
    except InputError:  # the pixels do not depend on it
        return {}


def _shaped(first: TiffPage, text: str, pages: int, where: str, time: int | None) -> Layout:
    axes = _shaped_axes(first, text, where)
    images = prod(axes.values())
    if images == 1 < pages:
        # Written page by page: each one is a series of its own to tifffile.
        return Layout(
            np.arange(pages).reshape(-1, 1),
            pages,
            warnings=(
                f"{pages} pages were written one by one; they are taken as consecutive slices",
            ),
        )
    contiguous = _contiguous(first, images, pages, where)
    return Layout(_planes(axes, where, time), images, contiguous)


def _shaped_axes(page: TiffPage, text: str, where: str) -> dict[str, int]:
    """Axes other than those of the page (z, c, t, slowest first) and their lengths.

    tifffile writes ``{"shape": [...], "axes": "..."}``; without axes, the only one beyond those of
    the page is z.
    """
    try:
        words = json.loads(text)
        shape = tuple(int(n) for n in words["shape"])
        names = str(words.get("axes", "")).upper()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(
            "tifffile's description of the file is damaged", file=where, found=text[:200]
        ) from error
    names = names if len(names) == len(shape) else _UNNAMED[0] * len(shape)
    outer = len(shape) - len(page.shape)
    if outer < 0 or shape[outer:] != page.shape or min(shape) < 1:
        if prod(shape) == prod(page.shape):
            return {"z": 1}
        raise InputError(
            "tifffile's description of the file and its pages differ",
            file=where,
            expected=f"shape (..., {', '.join(map(str, page.shape))})",
            found=shape,
        )
    found: dict[str, int] = {}
    for name, length in zip(names[:outer], shape, strict=False):
        if length == 1:
            continue
        axis = "z" if name in _UNNAMED else name.lower()
        if axis in found or axis not in "zct":
            raise InputError(
                "it is not clear which axis of the file is z",
                file=where,
                expected="axes z, y, x and channels",
                found=f"axes {names}, shape {shape}",
                mend="write the file with metadata={'axes': 'ZCYX'} or as OME-TIFF",
            )
        found[axis] = length
    return found or {"z": 1}


def _planes(sizes: Mapping[str, int], where: str, time: int | None) -> NDArray[np.int64]:
    """Image numbers (z, c) of a time point when images run over the axes, the last one fastest."""
    more = "; or, if they are slices, exchange frames and slices (Image > Properties in Fiji)"
    chosen = time_point(time, sizes.get("t", 1), where, more)
    numbers = np.arange(prod(sizes.values())).reshape(tuple(sizes.values()))
    order = [axis for axis in sizes if axis != "t"]
    if "t" in sizes:
        numbers = np.take(numbers, chosen, axis=list(sizes).index("t"))
    numbers = numbers.transpose([order.index(axis) for axis in "zc" if axis in order])
    return numbers.reshape(sizes.get("z", 1), sizes.get("c", 1))


def _contiguous(first: TiffPage, images: int, pages: int, where: str) -> bool:
    if images == pages:
        return False
    end = first.dataoffsets[0] + images * first.nbytes
    if pages == 1 and first.is_final and end <= first.parent.filehandle.size:
        return True
    raise InputError(
        "the file does not hold the images that it declares: it is truncated, or was edited",
        file=where,
        expected=f"{images} images" + (f", {end} bytes" if pages == 1 else ""),
        found=f"{pages} pages, {first.parent.filehandle.size} bytes",
        mend="copy or export the file again",
    )
