"""A run in napari: raw and classes to scale, in the classifier's colours, read as looked at.

napari is not installed with tbseg: whoever uses it installs it beside.
"""

import importlib.util
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import ConfigError
from tbseg_ops.geometry import Box, Index
from tbseg_ops.run.outputs import LABELS
from tbseg_ops.view.paint import colors_of, hexadecimal
from tbseg_ops.view.picture import Pictures
from tbseg_ops.view.tiles import RunView
from tbseg_ops.view.voxels import Classes, level_shape, levels_of, raw_box
from tbseg_ops.view.zarr import Space

_CHUNK = 128  # voxels a side of what is read together


def check_installed() -> None:
    """ConfigError if napari is not there."""
    if importlib.util.find_spec("napari") is None:
        raise ConfigError(
            "napari is not installed beside tbseg",
            expected="the Python package napari",
            found="none",
            mend="pip install 'napari[all]' in the environment of tbseg; or use tbseg view RUN",
        )


def show(view: RunView) -> None:
    """Open a window, and come back when it is closed."""
    check_installed()
    import napari

    viewer = napari.Viewer(title=f"tbseg: {view.folder.path.name}")
    add_layers(viewer, view)
    napari.run()


def add_layers(viewer: Any, view: RunView) -> None:
    """Raw and classes as layers of a viewer of napari, each with all its levels, read lazily.

    Tiles that are classified later are seen after the layers are added anew.
    """
    from napari.utils.colormaps import DirectLabelColormap

    plan = view.folder.plan
    space, passport = Space.of(plan), plan.classifier
    names = ("z", "y", "x")
    unit = space.unit or "pixel"
    common = {"axis_labels": names, "units": (unit,) * 3}
    for channel in range(plan.volume.channels):
        raw = _levels(_Raw(view, channel), plan.read.shape, np.dtype(plan.volume.dtype))
        viewer.add_image(
            **_data(raw),
            name="raw" if plan.volume.channels == 1 else f"raw, channel {channel}",
            contrast_limits=Pictures(view).bounds(),
            blending="translucent" if channel == 0 else "additive",
            scale=space.voxel,
            translate=[lo * v for lo, v in zip(plan.read.lo, space.voxel, strict=True)],
            **common,
        )
    colors = [hexadecimal(color) for color in colors_of(passport)]
    colormap: dict[int | None, str] = {0: "transparent", None: "transparent"}
    colormap.update(enumerate(colors, start=1))
    classes = viewer.add_labels(
        **_data(_levels(_Labels(view), plan.shape, np.dtype(np.uint8))),
        name="classes",
        opacity=0.4,
        colormap=DirectLabelColormap(color_dict=colormap),
        features={"index": range(len(colors) + 1), "label": ["", *passport.labels]},
        scale=space.voxel,
        translate=[lo * v for lo, v in zip(plan.part.lo, space.voxel, strict=True)],
        **common,
    )
    classes.editable = False


class _Raw:
    def __init__(self, view: RunView, channel: int) -> None:
        self._view, self._channel = view, channel

    def box(self, box: Box, level: int) -> NDArray[np.generic]:
        return raw_box(self._view.folder, box, level)[..., self._channel]


class _Labels:
    def __init__(self, view: RunView) -> None:
        self._classes = Classes(view, LABELS)

    def box(self, box: Box, level: int) -> NDArray[np.generic]:
        found = self._classes.box(box, level)
        return np.zeros(box.shape, np.uint8) if found is None else found


class _Level:
    """One level as dask takes arrays: shape, dtype, and slices of it by ``[...]``."""

    ndim = 3

    def __init__(
        self, source: _Raw | _Labels, level: int, shape: Index, dtype: np.dtype[Any]
    ) -> None:
        self._source, self._level = source, level
        self.shape, self.dtype = shape, dtype

    def __getitem__(self, wanted: tuple[int | slice, ...]) -> NDArray[np.generic]:
        whole = [slice(n, n + 1) if isinstance(n, int) else n for n in wanted]
        (z0, z1, _), (y0, y1, _), (x0, x1, _) = (
            s.indices(n) for s, n in zip(whole, self.shape, strict=True)
        )
        voxels = self._source.box(Box((z0, y0, x0), (z1, y1, x1)), self._level)
        return voxels[tuple(0 if isinstance(n, int) else slice(None, None, n.step) for n in wanted)]


def _data(levels: list[Any]) -> dict[str, Any]:
    """Levels as napari takes them: of a list of one it would take the planes for levels."""
    several = len(levels) > 1
    return {"data": levels if several else levels[0], "multiscale": several}


def _levels(source: _Raw | _Labels, shape: Index, dtype: np.dtype[Any]) -> list[Any]:
    import dask.array as da  # napari brings it

    found = []
    for level in range(levels_of(shape, _CHUNK)):
        sides = level_shape(shape, level)
        # Planes are looked at one by one: of the full resolution few are read at once.
        chunk = (1 if level == 0 else 16, _CHUNK * 4, _CHUNK * 4)
        array = _Level(source, level, sides, dtype)
        found.append(
            da.from_array(array, chunks=chunk, asarray=False, meta=np.empty((0,) * 3, dtype))
        )
    return found
