"""A run in napari, where that is installed: to scale, in colours, and no more read than is seen."""

import importlib.util

import numpy as np
import pytest

from tbseg_ops import steps
from tbseg_ops.run import RunFolder
from tbseg_ops.view import napari
from tbseg_ops.view.tiles import RunView
from tests.runs import planned, stack, tbseg, through

HERE = importlib.util.find_spec("napari") is not None


@pytest.mark.skipif(HERE, reason="napari is installed")
def test_without_napari_it_is_said_how_to_get_it(finished):
    done = tbseg("view", "--napari", finished / "run")
    assert done.returncode == 78
    assert "pip install 'napari[all]'" in done.stderr


@pytest.mark.filterwarnings("ignore")  # of napari's own imports
@pytest.mark.skipif(not HERE, reason="napari is not installed")
def test_layers_are_what_the_run_has_and_read_plane_by_plane(tmp_path, monkeypatch):
    from napari.components import ViewerModel

    raw = np.zeros((40, 300, 310), np.uint8)
    raw[:, 100:200, 100:200] = 200
    run = tmp_path / "run"
    planned(run, stack(tmp_path / "slices", raw), tile=(40, 150, 160), box="5:40,0:300,0:310")
    through(run, until="split")
    steps.classify(run=run, tiles=("z000_y000_x000",))
    view, read = RunView(RunFolder(run)), []
    truth = napari.raw_box
    monkeypatch.setattr(
        napari,
        "raw_box",
        lambda f, box, level: read.append((box.size, level)) or truth(f, box, level),
    )
    viewer = ViewerModel()
    napari.add_layers(viewer, view)
    image, classes = viewer.layers
    assert (image.name, classes.name) == ("raw", "classes")
    assert tuple(classes.translate) == (5, 0, 0)
    colors = view.folder.plan.classifier.colors
    shown = classes.colormap.map(np.array([1, 2]))[:, :3] * 255
    assert np.allclose(shown, colors[:2])
    assert list(classes.features["label"])[1:] == list(view.folder.plan.classifier.labels)
    assert np.array_equal(np.asarray(image.data[0][7]), raw[7])
    labels = np.asarray(classes.data[0][3])
    core = view.folder.plan.grid.by_name("z000_y000_x000").core
    assert (labels[: core.hi[1], : core.hi[2]] > 0).all()
    assert not labels[core.hi[1] :].any()
    assert max(size for size, level in read if level == 0) <= raw[0].size
