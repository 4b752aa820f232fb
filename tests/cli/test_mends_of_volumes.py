"""Whoever does what the message of a refused volume says is not refused again."""

import json
import re
import shlex

import h5py
import numpy as np
import pytest
import tifffile

from tests.cli.mends import follow, option, refusal
from tests.reference_sets import ReferenceSet
from tests.runs import VESSELS
from tests.synthetic import axistags, noise_volume, write_hdf5, write_page, write_stack
from tests.volume import formats

VOLUME = noise_volume((6, 20, 23))
TWO = ReferenceSet("two-channel")


def time_points(place):
    path = place / "v.tif"
    tifffile.imwrite(path, np.stack([VOLUME] * 2), imagej=True, metadata={"axes": "TZYX"})
    error = yield "audit", path
    yield "audit", path, *option(error, "--time")


def time_points_in_parts(place):
    for name in ("v.tif", "v_1.tif"):
        path = place / name
        tifffile.imwrite(path, np.stack([VOLUME] * 2), imagej=True, metadata={"axes": "TZYX"})
    error = yield "audit", place
    yield "audit", place, *option(error, "--time")


def time_points_of_hdf5(place):
    path = write_hdf5(place / "v.h5", np.stack([VOLUME] * 2), axes="tzyx")
    error = yield "audit", path
    yield "audit", path, *option(error, "--time")


def damaged_axistags(place):
    path = write_hdf5(place / "v.h5", VOLUME)
    with h5py.File(path, "r+") as file:
        file["data"].attrs["axistags"] = "{"
    error = yield "audit", path
    yield "audit", path, *option(error, "--axes")


def axistags_of_another_array(place):
    path = write_hdf5(place / "v.h5", VOLUME)
    with h5py.File(path, "r+") as file:
        file["data"].attrs["axistags"] = axistags("tzyxc")
    error = yield "audit", path
    yield "audit", path, *option(error, "--axes")


def axes_of_another_number(place):
    path = write_hdf5(place / "v.h5", VOLUME)
    error = yield "audit", path, "--axes", "zyxc"
    yield "audit", path, *option(error, "--axes")


def six_axes(place):
    path = write_hdf5(place / "v.h5", VOLUME[None, None, ..., None])
    error = yield "audit", f"{path}:/data"
    assert "--axes" not in error.mend, "no letters are enough for six axes"
    with h5py.File(path, "r+") as file:
        data = file["data"][()]
        del file["data"]
        file["data"] = data.reshape(data.shape[1:])
    yield "audit", path


def several_datasets(place):
    path = write_hdf5(place / "v.h5", VOLUME)
    with h5py.File(path, "r+") as file:
        file["more"] = VOLUME
    error = yield "audit", path
    yield "audit", shlex.split(error.mend)[-1]


def no_such_dataset(place):
    path = write_hdf5(place / "v.h5", VOLUME)
    error = yield "audit", f"{path}:/exported_data"
    yield "audit", shlex.split(error.mend)[-1]


def a_scale_of_a_dataset(place):
    path = write_hdf5(place / "v.h5", VOLUME)
    error = yield "audit", path, "--scale", 1
    assert "leave --scale out" in error.mend
    yield "audit", path


def no_such_scale(place):
    path = formats.ome_zarr_04(place, VOLUME)
    error = yield "audit", path, "--scale", 7
    yield "audit", path, *option(error, "--scale")


def no_such_channel(place):
    path = write_hdf5(place / "v.h5", np.stack([VOLUME] * 2, axis=-1), axes="zyxc")
    error = yield "audit", path, "--channel", 2
    yield "audit", path, *option(error, "--channel")


def no_such_time(place):
    path = write_hdf5(place / "v.h5", np.stack([VOLUME] * 2), axes="tzyx")
    error = yield "audit", path, "--time", 2
    yield "audit", path, *option(error, "--time")


def several_views(place):
    path = place / "dataset.h5"
    with h5py.File(path, "w") as file:
        for view in ("s00", "s01"):
            file[f"t00000/{view}/0/cells"] = VOLUME.astype(np.int16)
    error = yield "audit", path
    yield "audit", shlex.split(error.mend)[-1]


def several_arrays(place):
    folder = place / "v.zarr"
    formats.zarr2(folder, VOLUME, "a")
    formats.zarr2(folder, VOLUME, "b")
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    error = yield "audit", folder
    yield "audit", shlex.split(error.mend)[-1]


def a_group_without_arrays(place):
    folder = place / "v.zarr"
    folder.mkdir()
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    error = yield "audit", folder
    assert str(folder / "0") not in error.mend, "nothing is there"
    assert "copied whole" in error.mend
    yield "audit", formats.zarr2(folder, VOLUME, "0")


def options_of_arrays(place):
    folder = write_stack(place, VOLUME)
    error = yield "audit", folder, "--axes", "zyx"
    assert error.mend == "leave --axes out"
    yield "audit", folder


def colours_of_grey(place):
    folder = write_stack(place, np.stack([VESSELS.raw()[..., 0]] * 3, axis=-1))
    error = yield "audit", folder, VESSELS.classifier
    yield "audit", folder, VESSELS.classifier, *option(error, "--channel")


def channels_in_one_folder(place):
    for channel in range(2):
        write_stack(place, TWO.raw()[..., channel], names=f"z{{z}}_ch{channel}.tif")
    error = yield "audit", place, TWO.classifier
    patterns = re.findall(r"'([^']+)'", error.mend)
    yield "audit", patterns[0], TWO.classifier, "--channels-from", patterns[1]


def channels_in_two_folders(place):
    folders = [write_stack(place / f"C0{c}", TWO.raw()[..., c]) for c in range(2)]
    error = yield "audit", folders[0], TWO.classifier
    assert "--channels-from VOLUME" in error.mend
    yield "audit", folders[0], TWO.classifier, "--channels-from", folders[1]


def a_name_of_another_pattern(place):
    write_stack(place, VOLUME, names="img_{z}.tif")
    write_page(place / "overview.tif", VOLUME[0])
    error = yield "audit", place
    (pattern,) = re.findall(r"'([^']+)'", error.mend)
    yield "audit", pattern


def a_slice_of_another_size(place):
    write_stack(place, VOLUME, names="img_{z}.tif")
    write_page(place / "img_6.tif", VOLUME[0, 1:])
    error = yield "audit", place
    assert "glob pattern" in error.mend
    yield "audit", place / "img_[0-5].tif"


def a_gap(place):
    write_stack(place, VOLUME)
    (place / "img_3.tif").unlink()
    error = yield "audit", place
    assert "a list (slices.txt)" in error.mend
    (place / "slices.txt").write_text("\n".join(map(str, sorted(place.glob("*.tif")))))
    yield "audit", place / "slices.txt"


def two_numbers_of_which_the_last_is_not_z(place):
    for z, plane in enumerate(VOLUME):
        write_page(place / f"z{z:02}_t{9 - z}.tif", plane)
    error = yield "audit", place
    (pattern,) = re.findall(r"'([^']+)'", error.mend)
    yield "audit", pattern


def a_place_without_numbers(place):
    write_stack(place, VOLUME, names="img_{z}.tif")
    error = yield "audit", place / "{z}mg_*.tif"
    assert "put {z} where" in error.mend
    yield "audit", place / "img_{z}.tif"


def names_that_only_the_place_tells_apart(place):
    write_stack(place, VOLUME, names="img_{z}.tif")
    write_page(place / "img_3_b.tif", VOLUME[0])
    error = yield "audit", place
    yield "audit", re.findall(r"'([^']+)'", error.mend)[0]


def one_file_of_many_pages_among_slices(place):
    write_stack(place, VOLUME[:2])
    tifffile.imwrite(place / "img_2.tif", VOLUME, metadata=None, photometric="minisblack")
    error = yield "audit", place
    assert "give that file itself" in error.mend
    yield "audit", error.file


def exchanged(place):
    folder = write_stack(place, VESSELS.raw()[..., 0])
    error = yield "audit", VESSELS.classifier, folder
    assert "changed places" in error.mend
    yield "audit", folder, VESSELS.classifier


def a_volume_as_the_classifier(place):
    folder = write_stack(place, VESSELS.raw()[..., 0])
    error = yield "audit", folder, VESSELS.volume
    assert "changed places" in error.mend or "classifier" in error.mend
    yield "audit", folder, VESSELS.classifier


def the_folder_above(place):
    write_stack(place / "brain" / "ch1", VOLUME)
    error = yield "audit", place / "brain"
    yield "audit", shlex.split(error.mend)[-1]


def no_match(place):
    write_stack(place, VOLUME)
    error = yield "audit", place / "imgs_*.tif"
    assert "img_0.tif" in error.mend or "img_0.tif" in str(error.found)
    yield "audit", place / "img_*.tif"


def a_path_that_is_not_there(place):
    write_stack(place / "slices", VOLUME)
    error = yield "audit", place / "slice"
    assert "check the path" in error.mend
    yield "audit", place / "slices"


def a_list_of_other_things(place):
    folder = write_stack(place / "slices", VOLUME)
    path = place / "v.txt"
    path.write_text("# my slices\n" + "\n".join(map(str, sorted(folder.iterdir()))))
    error = yield "audit", path
    assert "the path of a slice in each line" in error.mend
    path.write_text("\n".join(map(str, sorted(folder.iterdir()))))
    yield "audit", path


def parts_of_several_stacks(place):
    for name in ("a_1.tif", "a_2.tif", "b_7.tif"):
        tifffile.imwrite(place / name, VOLUME, metadata=None, photometric="minisblack")
    error = yield "audit", place
    assert "a pattern for the parts" in error.mend
    yield "audit", place / "a_*.tif"


def an_array_of_numpy(place):
    np.save(place / "v.npy", VOLUME[:3])
    error = yield "audit", place / "v.npy"
    code = error.mend.partition(": ")[2]
    names = {"IN": place / "v.npy", "OUT": place / "out.tif", "numpy": np, "tifffile": tifffile}
    exec(code, names)
    yield "audit", place / "out.tif"


def a_constant_volume(place):
    path = place / "v.tif"
    options = {"metadata": None, "photometric": "minisblack"}
    constant = np.zeros((70, 1024, 1024), np.uint8)
    tifffile.imwrite(path, constant, compression="zstd", rowsperstrip=1024, **options)
    error = yield "audit", path
    assert "without compression" in error.mend
    tifffile.imwrite(path, constant, **options)
    yield "audit", path


def axes_of_tifffile(place):
    path = place / "v.tif"
    tifffile.imwrite(path, VOLUME, metadata={"axes": "RYX"}, photometric="minisblack")
    error = yield "audit", path
    (metadata,) = re.findall(r"metadata=(\{.*\})", error.mend)
    shaped = {"axes": json.loads(metadata.replace("'", '"'))["axes"].replace("C", "")}
    tifffile.imwrite(path, VOLUME, metadata=shaped, photometric="minisblack")
    yield "audit", path


def links_out_of_the_file(place):
    inner = write_hdf5(place / "inner.h5", VOLUME)
    with h5py.File(place / "v.h5", "w") as file:
        file["data"] = h5py.ExternalLink(str(inner), "/data")
    error = yield "audit", f"{place / 'v.h5'}:/data"
    assert "h5copy -i IN" in error.mend
    with h5py.File(place / "v.h5", "r") as file, h5py.File(place / "out.h5", "w") as out:
        file.copy("/data", out, "data")
    yield "audit", place / "out.h5"


def a_mask_of_another_size(place):
    folder = write_stack(place / "slices", VESSELS.raw()[..., 0])
    mask = write_hdf5(place / "m.h5", np.ones((5, 45, 53), np.uint8))
    plan = "plan", folder, VESSELS.classifier, place / "run", "--mask", mask
    error = yield plan
    assert "the volume's own size" in error.mend
    write_hdf5(place / "m.h5", np.ones((37, 45, 53), np.uint8))
    yield plan


CASES = [each for each in vars().values() if getattr(each, "__module__", "") == __name__]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_mend_leads_on(case, tmp_path):
    place = tmp_path / "Maus 3 [links]"
    place.mkdir()
    follow(case(place))


def test_a_blank_at_the_end_of_a_path_is_seen(tmp_path):
    error = refusal(("audit", f"{tmp_path}/slices "))
    assert f"file: '{tmp_path}/slices '" in str(error)
