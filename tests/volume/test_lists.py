"""A text file of paths is a volume in the order of its lines."""

import numpy as np
import pytest

from tbseg_ops.errors import ConfigError, TbsegError
from tbseg_ops.reference import Reference
from tbseg_ops.selection import Selection
from tbseg_ops.volume import open_planned, open_source
from tests.runs import VESSELS, datasets, planned, stack, through
from tests.synthetic import noise_volume, write_stack

ORDER = [3, 0, 4, 1, 2]  # that of no name


def written(path, lines, end="\n"):
    path.write_bytes(end.join(map(str, lines)).encode())
    return str(path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
@pytest.mark.parametrize("relative", [True, False])
def test_the_order_is_that_of_the_list(relative, end, tmp_path):
    volume = noise_volume()
    folder = write_stack(tmp_path / "a" / "s", volume)
    base = "a/s" if relative else folder
    path = written(tmp_path / "slices.txt", [f"{base}/img_{z}.tif" for z in ORDER], end)
    with open_source(path) as source:
        assert np.array_equal(source.read(0, 5).array[..., 0], volume[ORDER])
        names, info, all_ = source.slices, source.info, source.fingerprints(0, 5)
    with open_planned(path, names, info) as source:
        assert np.array_equal(source.read(1, 3, all_).array[..., 0], volume[ORDER[1:3]])
    with open_source(path, Selection(order="reversed")) as source:
        assert np.array_equal(source.read(0, 5).array[..., 0], volume[ORDER[::-1]])


def test_a_list_as_further_channel_in_its_order(tmp_path):
    one, two = noise_volume(), noise_volume(seed=1)
    first = str(write_stack(tmp_path / "one", one))
    write_stack(tmp_path / "two", two)
    path = written(tmp_path / "two.txt", [f"two/img_{z}.tif" for z in ORDER])
    chosen = Selection(channels_from=(path,))
    with open_source(first, chosen) as source:
        names, info = source.slices, source.info
        wanted = np.stack([one, two[ORDER]], axis=3)
        assert np.array_equal(source.read(0, 5).array, wanted)
    with open_planned(first, names, info, chosen) as source:
        assert np.array_equal(source.read(0, 5).array, wanted)


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([], "0"),
        (["s/img_0.tif", "s/img_1.tif", "s/img_0.tif"], "img_0.tif several times"),
        (["s/img_0.tif", "s/notes.doc"], "notes.doc"),
        (["s/img_0.tif", "s/img_9.tif"], "img_9.tif"),
        (["s/img_0.tif", "../../../../../../etc/passwd"], "passwd"),
    ],
)
def test_a_wrong_list_is_refused_and_no_line_is_dropped(lines, found, tmp_path):
    write_stack(tmp_path / "s", noise_volume())
    with pytest.raises(TbsegError) as caught:
        open_source(written(tmp_path / "l.txt", lines))
    assert found in str(caught.value)


def test_what_is_no_text_is_refused(tmp_path):
    (tmp_path / "l.txt").write_bytes(b"\xff\xfe\0\x80" * 9)
    with pytest.raises(TbsegError, match="no list of slices"):
        open_source(str(tmp_path / "l.txt"))


def test_a_list_does_not_lead_out_of_the_allowed_folders(tmp_path, monkeypatch):
    write_stack(tmp_path / "out", noise_volume())
    (tmp_path / "in").mkdir()
    path = written(tmp_path / "in" / "l.txt", [f"../out/img_{z}.tif" for z in range(5)])
    monkeypatch.setenv("TBSEG_ROOTS", str(tmp_path / "in"))
    with pytest.raises(ConfigError, match="outside of the folders"):
        open_source(path)


def test_a_run_of_a_list_is_that_of_the_folder(finished, tmp_path):
    raw = VESSELS.raw()[..., 0]
    order = np.random.default_rng(0).permutation(len(raw))
    stack(tmp_path / "s", raw[order])  # file i holds slice order[i]
    place = np.argsort(order)
    path = written(tmp_path / "l.txt", [f"s/img_{i}.tif" for i in place])
    planned(tmp_path / "run", path)
    through(tmp_path / "run")
    found = datasets(tmp_path / "run/segmentation.h5")["labels"]
    assert np.array_equal(found, datasets(finished / "run/segmentation.h5")["labels"])
    assert Reference.of(path).name == "l"
