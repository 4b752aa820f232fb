"""OME-TIFF: which page holds which plane, by the OME-XML of the first page.

From the OME-TIFF specification: ``Pixels`` has SizeZ, SizeC, SizeT and DimensionOrder; each
``TiffData`` says that PlaneCount pages from IFD on are the planes from (FirstZ, FirstC, FirstT) on,
in that order. Without IFD and PlaneCount it means all pages; with IFD alone, one.
One image of one time point in one file is accepted, everything else refused by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import InputError
from tbseg_ops.volume.voxel_size import VoxelSize, in_micrometres

_MICRO = "\N{MICRO SIGN}m"


@dataclass(frozen=True, slots=True)
class OmePlanes:
    """``pages``: page number of each plane; planes run over the axes of ``sizes``, slowest first.

    Samples of a page are not counted in c.
    """

    pages: NDArray[np.int64]
    sizes: Mapping[str, int]
    voxels: VoxelSize


def ome_voxel_size(xml: str, where: str) -> VoxelSize:
    """PhysicalSizeZ, Y, X of the only image, in micrometres."""
    return _voxels(_pixels(_parse(xml, where), where))


def ome_set(xml: str, where: str) -> dict[str, int]:
    """Of a set of files with one plane each: the z of each file by its name; empty if none is."""
    found = {}
    for block in _pixels(_parse(xml, where), where):
        for child in block if _name(block) == "TiffData" else ():
            if _name(child) == "UUID" and (name := child.get("FileName")):
                found[name] = _integer(block, "FirstZ", where, 0)
    return found


def ome_planes(xml: str, pages: int, samples: int, shape: tuple[int, int], where: str) -> OmePlanes:
    """The planes of a file of ``pages`` pages of ``shape`` (y, x) with ``samples`` samples each."""
    root = _parse(xml, where)
    pixels = _pixels(root, where)
    sizes = {axis: _integer(pixels, f"Size{axis}", where) for axis in "XYZCT"}
    if (sizes["Y"], sizes["X"]) != shape:
        raise _wrong(
            "the OME-XML and the pages differ in shape",
            where,
            f"{sizes['Y']} x {sizes['X']} (y, x)",
            f"{shape[0]} x {shape[1]}",
        )
    if sizes["C"] % samples:
        raise _wrong(
            "the OME-XML and the pages differ in channels",
            where,
            f"a multiple of {samples} samples",
            f"SizeC={sizes['C']}",
        )
    sizes["C"] //= samples
    planes = {axis: sizes[axis] for axis in "ZCT"}
    if prod(planes.values()) != pages:
        raise _wrong(
            "the file does not hold the planes that its OME-XML declares",
            where,
            f"{prod(planes.values())} pages ({planes})",
            f"{pages} pages",
        )
    order = pixels.get("DimensionOrder", "")
    if order[:2] != "XY" or sorted(order[2:]) != ["C", "T", "Z"]:
        raise _wrong(
            "the OME-XML has no valid DimensionOrder", where, "XYZCT or a permutation", order
        )
    planes = {axis: planes[axis] for axis in reversed(order[2:])}
    found = _pages_of_planes(root, pixels, planes, samples, where)
    return OmePlanes(found, {axis.lower(): n for axis, n in planes.items()}, _voxels(pixels))


def _parse(xml: str, where: str) -> ElementTree.Element:
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise _wrong("the OME-XML declares entities", where, "plain XML", "a DOCTYPE")
    if "ModuloAlong" in xml:
        raise _wrong(
            "the file has further dimensions",
            where,
            "z, y, x and channels",
            "ModuloAlong in the OME-XML",
        )
    try:
        return ElementTree.fromstring(xml)  # noqa: S314 - no entities, see above; expat bounds the rest
    except ElementTree.ParseError as error:
        raise _wrong("the OME-XML is damaged", where, "well-formed XML", error) from error


def _pixels(root: ElementTree.Element, where: str) -> ElementTree.Element:
    images = [element for element in root if _name(element) == "Image"]
    if len(images) != 1:
        names = [image.get("Name", "?") for image in images]
        raise _wrong(
            "the file does not hold exactly one image",
            where,
            "1 image in the OME-XML",
            f"{len(images)}: {', '.join(names[:5])}"[:300],
        )
    pixels = [element for element in images[0] if _name(element) == "Pixels"]
    if len(pixels) != 1:
        raise _wrong("the OME-XML is incomplete", where, "1 Pixels element", len(pixels))
    return pixels[0]


def _pages_of_planes(
    root: ElementTree.Element,
    pixels: ElementTree.Element,
    sizes: Mapping[str, int],
    samples: int,
    where: str,
) -> NDArray[np.int64]:
    """The page of each plane; ``sizes``: axes in DimensionOrder, slowest first."""
    total = prod(sizes.values())
    blocks = [element for element in pixels if _name(element) == "TiffData"]
    _check_one_file(root, blocks, where)
    pages = np.full(total, -1)
    used = np.zeros(total, np.bool_)
    for block in blocks or [ElementTree.Element("TiffData")]:
        page = _integer(block, "IFD", where, 0)
        count = _integer(block, "PlaneCount", where, 1 if "IFD" in block.attrib else total)
        first = {axis: _integer(block, f"First{axis}", where, 0) for axis in sizes}
        first["C"] //= samples
        inside = all(first[axis] < length for axis, length in sizes.items())
        plane = int(np.ravel_multi_index([*first.values()], [*sizes.values()])) if inside else total
        if max(plane, page) + count > total:
            raise _wrong(
                "the OME-XML points outside of the file",
                where,
                f"{total} planes",
                dict(block.attrib),
            )
        if used[page : page + count].any() or (pages[plane : plane + count] >= 0).any():
            raise _wrong(
                "the OME-XML uses a plane or a page twice", where, "each once", dict(block.attrib)
            )
        pages[plane : plane + count] = np.arange(page, page + count)
        used[page : page + count] = True
    missing = np.flatnonzero(pages < 0)
    if len(missing):
        raise _wrong(
            "the OME-XML gives some planes no page",
            where,
            f"{total} planes",
            f"{len(missing)} missing, first number {missing[0]} in DimensionOrder",
        )
    return pages


def _check_one_file(
    root: ElementTree.Element, blocks: Sequence[ElementTree.Element], where: str
) -> None:
    """A set of several files is refused; one that was renamed is not."""
    if any(_name(element) == "BinaryOnly" for element in root):
        raise _wrong(
            "the OME-XML is in another file", where, "OME-XML in the file itself", "BinaryOnly"
        )
    others = {child.text for block in blocks for child in block if _name(child) == "UUID"}
    if len(others) > 1:
        raise _wrong(
            "the OME-TIFF is spread over several files",
            where,
            "one file",
            f"{len(others)} files",
            "export it into one file, or give the folder if each file holds one slice",
        )


def _voxels(pixels: ElementTree.Element) -> VoxelSize:
    return in_micrometres(
        [pixels.get(f"PhysicalSize{axis}") for axis in "ZYX"],
        [pixels.get(f"PhysicalSize{axis}Unit", _MICRO) for axis in "ZYX"],
    )


def _integer(
    element: ElementTree.Element, name: str, where: str, default: int | None = None
) -> int:
    text = element.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 9:
        raise _wrong("the OME-XML is damaged", where, f"{name}: a number", str(text)[:100])
    return int(text)


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _wrong(
    what: str,
    where: str,
    expected: object,
    found: object,
    mend: str = "export it as one OME-TIFF or plain TIFF stack",
) -> InputError:
    return InputError(what, file=where, expected=expected, found=found, mend=mend)
