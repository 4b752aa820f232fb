"""The order of slice names, and the gaps and duplicates among them."""

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from tbseg_ops.errors import InputError
from tbseg_ops.volume import open_source
from tbseg_ops.volume.order import order_slices
from tests.synthetic import noise_volume

ACCEPTED = {
    "natural": (["a10.tif", "a9.tif", "a11.tif"], ["a9.tif", "a10.tif", "a11.tif"]),
    "zero padded": (["a010.tif", "a009.tif"], ["a009.tif", "a010.tif"]),
    "padding runs out": (["a100.tif", "a99.tif", "a098.tif"], ["a098.tif", "a99.tif", "a100.tif"]),
    "constant number behind": (["z2_2020.tif", "z1_2020.tif"], ["z1_2020.tif", "z2_2020.tif"]),
    "constant number in front": (["s7_2.tif", "s7_1.tif"], ["s7_1.tif", "s7_2.tif"]),
    "two that run": (["n1_z8.tif", "n2_z9.tif"], ["n1_z8.tif", "n2_z9.tif"]),
    "over folders": (["b2/z3.tif", "b1/z2.tif"], ["b1/z2.tif", "b2/z3.tif"]),
    "mixed extensions": (["z2.TIF", "z1.tiff"], ["z1.tiff", "z2.TIF"]),
    "a single one": (["anything.tif"], ["anything.tif"]),
    "signs": (
        ["z1.tif", "z-1.tif", "z0.tif", "z-2.tif"],
        ["z-2.tif", "z-1.tif", "z0.tif", "z1.tif"],
    ),
    "a dash, not a sign": (["img-10.tif", "img-9.tif"], ["img-9.tif", "img-10.tif"]),
    "decimals": (["z1.1.tif", "z0.9.tif", "z1.0.tif"], ["z0.9.tif", "z1.0.tif", "z1.1.tif"]),
}

WARNED = {
    "no numbers": (["b.tif", "a.tif"], ["a.tif", "b.tif"], "no running number"),
    "only constant numbers": (["b1.tif", "a1.tif"], ["a1.tif", "b1.tif"], "no running number"),
    "steps": (
        [f"z{z:06}.tif" for z in (40, 0, 20)],
        [f"z{z:06}.tif" for z in (0, 20, 40)],
        "of 20",
    ),
    "steps of a decimal": (
        ["z1.0.tif", "z0.5.tif", "z1.5.tif"],
        ["z0.5.tif", "z1.0.tif", "z1.5.tif"],
        "of 5",
    ),
    "only negative, or a dash": (
        ["z-3.tif", "z-1.tif", "z-2.tif"],
        ["z-1.tif", "z-2.tif", "z-3.tif"],
        "reversed",
    ),
    "several patterns": (["b3.tif", "a2.tif"], ["a2.tif", "b3.tif"], "2 patterns"),
}

REFUSED = {
    "a gap": (["z1.tif", "z4.tif"], "missing", "2 missing: 2-3"),
    "two gaps": (["z1.tif", "z2.tif", "z4.tif", "z6.tif"], "missing", "3, 5"),
    "a gap by the step": ([f"z{z}.tif" for z in (0, 20, 40, 80)], "missing", "1 missing: 60"),
    "signs, a gap": (["z-2.tif", "z-1.tif", "z1.tif"], "missing", "1 missing: 0"),
    "a huge gap": (["z1.tif", f"z{10**200}.tif"], "missing", "2-9"),
    "same number twice": (["z1.tif", "z01.tif", "z2.tif"], "duplicate", "z01.tif, z1.tif"),
    "two extensions": (["z1.tif", "z1.tiff", "z2.tif"], "duplicate", "z1.tiff"),
    "no number varies": (["z1.tif", "z01.tif"], "duplicate", "z01.tif"),
    "channels": (["z1_c1.tif", "z1_c2.tif", "z2_c1.tif", "z2_c2.tif"], "duplicate", "z2_c1.tif"),
    "channels in front": (
        [f"c{c}_z{z}.tif" for c in (1, 2) for z in (1, 2)],
        "duplicate",
        "c2_z1.tif",
    ),
    "one without a number": (["z1.tif", "z2.tif", "z.tif"], "one pattern", "z1.tif"),
    "numbers run backwards": (["a2.tif", "b1.tif"], "contradicts", "b1.tif"),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(case):
    names, ordered = ACCEPTED[case]
    assert order_slices(names, "folder") == (tuple(ordered), ())


@pytest.mark.parametrize("case", WARNED)
def test_accepted_with_a_warning(case):
    names, ordered, warning = WARNED[case]
    found, warnings = order_slices(names, "folder")
    assert found == tuple(ordered)
    assert len(warnings) == 1
    assert warning in warnings[0]


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    names, what, found = REFUSED[case]
    with pytest.raises(InputError, match=what) as caught:
        order_slices(names, "folder")
    assert found in str(caught.value)
    assert "file: folder" in str(caught.value)


@given(st.integers(0, 10**6), st.integers(2, 60), st.data())
def test_any_run_is_accepted_and_any_hole_is_found(start, length, data):
    numbers = list(range(start, start + length))
    names = data.draw(st.permutations([f"img{n}.tif" for n in numbers]))
    assert order_slices(names, "x")[0] == tuple(f"img{n}.tif" for n in numbers)
    hole = data.draw(st.integers(start, start + length - 1))
    left = [name for name in names if name != f"img{hole}.tif"]
    if hole in (numbers[0], numbers[-1]):  # what lies beyond the ends cannot be known
        assert len(order_slices(left, "x")[0]) == length - 1
    else:
        with pytest.raises(InputError, match="missing") as caught:
            order_slices(left, "x")
        assert caught.value.found == f"1 missing: {hole}"


def placed(names, pattern):
    return order_slices(names, f"/d/{pattern}", "/d")


def test_the_number_stands_where_the_pattern_says():
    """Of three numbers in the names, the second is that of the slice."""
    names = [f"t1_z{z:03}_{9 - z}um.tif" for z in range(9)]
    assert placed(names[::-1], "t1_z{z}_*.tif") == (tuple(names), ())
    backwards, notes = placed(names, "t1_*_{z}um.tif")
    assert (backwards, notes) == (tuple(names[::-1]), ())


def test_signs_and_decimals_in_the_given_place():
    names = ["z-1.5.tif", "z-1.tif", "z-0.5.tif", "z0.tif", "z+0.5.tif"]
    ordered, _ = placed(sorted(names), "z{z}.tif")
    assert ordered == tuple(names)


def test_names_without_the_number_are_named():
    ordered, notes = placed(["a1.tif", "a2.tif", "a_sum.tif", "a3_b.tif"], "a{z}.tif")
    assert ordered == ("a1.tif", "a2.tif")
    assert "a3_b.tif, a_sum.tif" in notes[0]


def test_a_number_of_a_folder():
    names = [f"{z}/img.tif" for z in range(10, 60, 10)]
    ordered, notes = placed(names[::-1], "{z}/img.tif")
    assert ordered == tuple(names)
    assert "steps of 10" in notes[0]


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["a1.tif", "a2.tif", "a4.tif", "a5.tif"], "missing"),
        (["a1.tif", "a01.tif", "a2.tif"], "duplicate"),
        (["a.tif", "a_b.tif"], "no name has a number"),
    ],
)
def test_the_given_place_is_checked_as_any_other(names, what):
    with pytest.raises(InputError, match=what):
        placed(names, "a{z}.tif")


def test_parts_of_a_stack_in_the_order_of_the_given_place(tmp_path):
    volume = noise_volume((6, 20, 23))
    for part in range(2):
        path = tmp_path / f"s{part}_of_{9 - part}.tif"
        tifffile.imwrite(path, volume[3 * part : 3 * part + 3], photometric="minisblack")
    with open_source(str(tmp_path / "s{z}_of_*.tif")) as source:
        assert np.array_equal(source.read(0, 6).array[..., 0], volume)
