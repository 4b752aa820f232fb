"""What Neuroglancer is to show of a run, and where on this machine the program lies."""

import importlib.util
from pathlib import Path
from typing import Any

from tbseg_ops.view.paint import Range, colors_of, hexadecimal
from tbseg_ops.view.tiles import RunView
from tbseg_ops.view.zarr import Space

BASE = "{base}"  # the page puts its own address there
_PIXELS = 360  # a side of one of its four panes, about
GRAY = """#uicontrol invlerp normalized
void main() { emitGrayscale(normalized()); }
"""
MAP = """#uicontrol invlerp normalized
void main() { emitRGBA(vec4(1.0, 0.8, 0.2, normalized())); }
"""


def client_folder() -> Path | None:
    """The built program inside of the package ``neuroglancer``, which is not imported; or None."""
    found = importlib.util.find_spec("neuroglancer")
    for place in (found and found.submodule_search_locations) or ():
        folder = Path(place) / "static" / "client"
        if (folder / "index.html").is_file():
            return folder
    return None


def scene(view: RunView, bounds: Range, images: list[str]) -> dict[str, Any]:
    """The state of the program: ``images`` of ``zarr``, in the classifier's colours and names.

    ``bounds``: raw values that are black and white.
    """
    plan = view.folder.plan
    space, passport = Space.of(plan), plan.classifier
    axes = dict(zip("xyz", reversed(space.voxel), strict=True))
    unit = "m" if space.unit else ""
    middle = [(lo + hi) / 2 for lo, hi in zip(plan.part.lo, plan.part.hi, strict=True)]
    colors = colors_of(passport)
    layers: list[dict[str, Any]] = [_raw(bounds, plan.volume.channels > 1), _labels(colors)]
    for name in images[2:]:
        label = passport.labels[int(name.rpartition("-")[2]) - 1]
        most = 100 if plan.spec.probability_dtype == "uint8" else 1
        layers.append(
            {
                "type": "image",
                "name": f"probability of {label}",
                "source": f"zarr://{BASE}data/{name}/",
                "shader": MAP,
                "shaderControls": {"normalized": {"range": [0, most]}},
                "visible": False,
            }
        )
    return {
        "title": view.folder.path.name,
        "dimensions": {a: [size * space.metres, unit] for a, size in axes.items()},
        "position": middle[::-1],
        "crossSectionScale": max(plan.shape) / _PIXELS,
        "projectionScale": max(plan.shape) * 1.3,
        "layers": layers,
        "selectedLayer": {"layer": "classes"},
        "layout": "4panel",
        "showAxisLines": False,
    }


def names(view: RunView) -> dict[str, Any]:
    """The classes as Neuroglancer's precomputed segment properties."""
    labels = view.folder.plan.classifier.labels
    return {
        "@type": "neuroglancer_segment_properties",
        "inline": {
            "ids": [str(n) for n in range(1, len(labels) + 1)],
            "properties": [{"id": "label", "type": "label", "values": labels}],
        },
    }


def _raw(bounds: Range, channels: bool) -> dict[str, Any]:
    low, high = bounds
    return {
        "type": "image",
        "name": "raw",
        "source": f"zarr://{BASE}data/raw/",
        "shader": GRAY,
        "shaderControls": {"normalized": {"range": [low, max(high, low + 1e-6)]}},
        "opacity": 1,
        **({"localDimensions": {"c'": [1, ""]}, "localPosition": [0]} if channels else {}),
    }


def _labels(colors: list[tuple[int, int, int]]) -> dict[str, Any]:
    segments = [str(n) for n in range(1, len(colors) + 1)]
    return {
        "type": "segmentation",
        "name": "classes",
        "source": [f"zarr://{BASE}data/labels/", f"precomputed://{BASE}data/names/"],
        "segments": segments,
        "segmentColors": {n: hexadecimal(c) for n, c in zip(segments, colors, strict=True)},
        "selectedAlpha": 0.35,
        "tab": "segments",
    }
