"""Which page of a multi-page file is which slice: ImageJ, OME-XML, tifffile's own description."""

import numpy as np
import pytest
import tifffile

from tbseg_ops.volume import open_source
from tests.refusals import refused
from tests.synthetic import noise_volume, write_page

VOLUME = noise_volume((4, 2, 20, 23), "uint16")  # z, c, y, x
CANONICAL = np.moveaxis(VOLUME, 1, 3)


def whole(path):
    with open_source(str(path)) as source:
        return source.read(0, source.info.shape[0]).array


def write_pages(path, pages, description, **options):
    """Pages (n, y, x) with ``description`` on the first one."""
    with tifffile.TiffWriter(path) as file:
        for i, page in enumerate(pages):
            text = description if i == 0 else None
            file.write(page, description=text, metadata=None, contiguous=False, **options)
    return path


def imagej(order="czt", **counts):
    lines = [f"{key}={value}" for key, value in counts.items()]
    return "\n".join(["ImageJ=1.54f", *lines, f"order={order}", ""])


@pytest.mark.parametrize("order", ["czt", "zct", "ctz", "ztc", "tcz", "tzc", "default", "xyczt"])
def test_imagej_orders(order, tmp_path):
    slices_first = order in ("zct", "ztc", "tzc")
    pages = (VOLUME.swapaxes(0, 1) if slices_first else VOLUME).reshape(8, 20, 23)
    text = imagej(order, images=8, channels=2, slices=4)
    assert np.array_equal(whole(write_pages(tmp_path / "v.tif", pages, text)), CANONICAL)


def test_imagej_plain_stack_has_images_only(tmp_path):
    path = write_pages(tmp_path / "v.tif", VOLUME[:, 0], imagej(images=4))
    assert np.array_equal(whole(path)[..., 0], VOLUME[:, 0])


def test_imagej_colour_stack(tmp_path):
    volume = noise_volume((4, 20, 23, 3))
    tifffile.imwrite(tmp_path / "v.tif", volume, imagej=True, metadata={"axes": "ZYXS"})
    assert np.array_equal(whole(tmp_path / "v.tif"), volume)


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("channels", [1, 2])
def test_imagej_beyond_4_gb_has_one_page(channels, byteorder, tmp_path):
    volume = VOLUME[:, :channels]
    path = tmp_path / "v.tif"
    tifffile.imwrite(
        path, volume, imagej=True, truncate=True, byteorder=byteorder, metadata={"axes": "ZCYX"}
    )
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 1
    with open_source(str(path)) as source:
        found = source.read(1, 3)
        assert np.array_equal(found.array, CANONICAL[1:3, ..., :channels])
        assert found.fingerprints == source.fingerprints(1, 3)


@pytest.mark.parametrize("axes", ["ZCYX", "CZYX", "TZCYX"])
def test_named_axes_of_tifffile(axes, tmp_path):
    volume = VOLUME.swapaxes(0, 1) if axes == "CZYX" else VOLUME
    volume = volume[None] if axes[0] == "T" else volume
    tifffile.imwrite(tmp_path / "v.tif", volume, metadata={"axes": axes}, photometric="minisblack")
    assert np.array_equal(whole(tmp_path / "v.tif"), CANONICAL)


def test_pages_written_one_by_one_are_slices_with_a_warning(tmp_path):
    with tifffile.TiffWriter(tmp_path / "v.tif") as file:
        for plane in VOLUME[:, 0]:
            file.write(plane, contiguous=False)
    assert np.array_equal(whole(tmp_path / "v.tif")[..., 0], VOLUME[:, 0])
    assert "one by one" in open_source(str(tmp_path / "v.tif")).warnings[0]


def ome(order="XYZCT", z=4, c=2, t=1, x=23, y=20, blocks="<TiffData/>", extra="", images=1):
    pixels = (
        f'<Pixels ID="P" Type="uint16" DimensionOrder="{order}" SizeX="{x}" SizeY="{y}"'
        f' SizeZ="{z}" SizeC="{c}" SizeT="{t}">{blocks}</Pixels>'
    )
    image = f'<Image ID="I" Name="one">{pixels}</Image>'
    root = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    return f'<?xml version="1.0" encoding="UTF-8"?>{root}{image * images}{extra}</OME>'


@pytest.mark.parametrize("order", ["XYZCT", "XYCZT", "XYTZC", "XYCTZ"])
def test_ome_orders(order, tmp_path):
    slices_first = order.index("Z") < order.index("C")
    pages = (VOLUME.swapaxes(0, 1) if slices_first else VOLUME).reshape(8, 20, 23)
    assert np.array_equal(whole(write_pages(tmp_path / "v.tif", pages, ome(order))), CANONICAL)


def test_ome_pages_in_any_order(tmp_path):
    order = np.random.default_rng(3).permutation(8)
    places = [(z, c) for z in range(4) for c in range(2)]
    blocks = "".join(
        f'<TiffData IFD="{page}" FirstZ="{places[i][0]}" FirstC="{places[i][1]}" PlaneCount="1"/>'
        for page, i in enumerate(order)
    )
    path = write_pages(tmp_path / "v.tif", VOLUME.reshape(8, 20, 23)[order], ome(blocks=blocks))
    assert np.array_equal(whole(path), CANONICAL)


def test_a_renamed_ome_file_is_still_one_file(tmp_path):
    blocks = '<TiffData IFD="0" PlaneCount="8"><UUID FileName="old.ome.tif">urn:1</UUID></TiffData>'
    pages = VOLUME.swapaxes(0, 1).reshape(8, 20, 23)
    path = write_pages(tmp_path / "new.tif", pages, ome(blocks=blocks))
    assert np.array_equal(whole(path), CANONICAL)


TWO_FILES = "".join(
    f'<TiffData IFD="{i}"><UUID FileName="{i}.tif">urn:{i}</UUID></TiffData>' for i in range(8)
)
REFUSED = {
    "imagej frames": (imagej(images=8, frames=8), "time points"),
    "imagej more images": (imagej(images=16, channels=2, slices=8), "truncated"),
    "imagej contradiction": (imagej(images=9, channels=2, slices=4), "contradicts"),
    "imagej no number": (imagej(images="x"), "damaged"),
    "imagej zero": (imagej(images=8, slices=0), "damaged"),
    "imagej huge": (imagej(slices=10**8, channels=10**8), "truncated"),
    "imagej order": (imagej("zzz", images=8), "unknown order"),
    "tifffile more pages": ('{"shape": [16, 20, 23]}', "truncated"),
    "tifffile fewer pages": ('{"shape": [4, 20, 23]}', "truncated"),
    "tifffile other shape": ('{"shape": [8, 23, 20]}', "differ"),
    "tifffile no numbers": ('{"shape": "x"}', "damaged"),
    "tifffile which is z": ('{"shape": [4, 2, 20, 23]}', "not clear"),
    "tifffile time": ('{"shape": [8, 20, 23], "axes": "TYX"}', "time points"),
    "tifffile cut": ('{"shape": [8, 20, 23', "damaged"),
    "ome time": (ome(z=1, c=1, t=8), "time points"),
    "ome shape": (ome(x=24), "differ in shape"),
    "ome more pages": (ome(z=8), "does not hold the planes"),
    "ome huge": (ome(z=10**8, c=10**8), "does not hold the planes"),
    "ome order": (ome(order="XYZC"), "DimensionOrder"),
    "ome not a number": (ome(z="-4"), "damaged"),
    "ome two images": (ome(images=2), "exactly one image"),
    "ome no image": (ome(images=0), "exactly one image"),
    "ome several files": (ome(blocks=TWO_FILES), "several files"),
    "ome elsewhere": (ome(extra="<BinaryOnly/>"), "another file"),
    "ome modulo": (ome(extra='<ModuloAlongZ Type="angle"/>'), "further dimensions"),
    "ome plane twice": (ome(blocks='<TiffData IFD="0"/><TiffData IFD="1"/>'), "twice"),
    "ome page twice": (
        ome(blocks='<TiffData IFD="0"/><TiffData IFD="0" FirstZ="1"/>'),
        "page twice",
    ),
    "ome plane without page": (ome(blocks='<TiffData IFD="0" PlaneCount="7"/>'), "no page"),
    "ome beyond": (ome(blocks='<TiffData IFD="4" PlaneCount="8"/>'), "outside"),
    "ome cut": (ome().replace("</Image>", ""), "damaged"),
    "ome entities": (ome().replace("<OME", '<!DOCTYPE x [<!ENTITY a "b">]><OME'), "entities"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, tmp_path):
    text, what = REFUSED[case]
    path = write_pages(tmp_path / "v.tif", VOLUME.reshape(8, 20, 23), text)
    with refused(what, "v.tif"):
        open_source(str(path))


def test_channels_in_two_ways_are_refused(tmp_path):
    pages = noise_volume((8, 20, 23, 3))
    text = imagej(images=8, channels=2, slices=4)
    path = write_pages(tmp_path / "v.tif", pages, text, photometric="rgb")
    with refused("two ways"):
        open_source(str(path))


def test_a_slice_file_that_is_a_whole_stack_is_refused(tmp_path):
    """One page, but ImageJ's description tells of more images behind it."""
    folder = tmp_path / "s"
    folder.mkdir()
    tifffile.imwrite(
        folder / "1.tif", VOLUME[:, 0], imagej=True, truncate=True, metadata={"axes": "ZYX"}
    )
    with refused("more than one image"):
        open_source(str(folder))


@pytest.mark.parametrize("as_folder", [True, False])
def test_images_that_no_page_tells_of_are_refused(as_folder, tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    path = write_page(folder / "1.tif", VOLUME[0, 0])
    with path.open("ab") as file:
        file.write(VOLUME[1:, 0].tobytes())
    with refused("hidden"):
        open_source(str(folder if as_folder else path))


def test_a_pyramid_is_read_at_full_size(tmp_path):
    with tifffile.TiffWriter(tmp_path / "v.tif") as file:
        for plane in VOLUME[:, 0]:
            file.write(plane, subifds=1, metadata=None, contiguous=False)
            file.write(plane[::2, ::2], subfiletype=1, metadata=None)
    assert np.array_equal(whole(tmp_path / "v.tif")[..., 0], VOLUME[:, 0])
