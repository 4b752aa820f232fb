"""What an ilastik project says apart from its forests: features, labels, training volume.

Layout of the file: docs/ilp-format.md. Files from before ilastik 1.3.3
have no ComputeIn2d, very old ones neither pickled_type nor known_labels; strings may be of fixed
or variable length. A "lane" is ilastik's word for one of the images that a project was trained on.
"""

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

import numpy as np

from tbseg_ops.classifier.gaussians import (
    DIFFERENCE,
    GRADIENT_MAGNITUDE,
    HESSIAN,
    LAPLACIAN,
    SMOOTHING,
    STRUCTURE_TENSOR,
)
from tbseg_ops.classifier.ilp import EXCHANGED, Ilp
from tbseg_ops.classifier.training import TrainingData
from tbseg_ops.errors import InputError

PIXELS = "Pixel Classification"
TWO_STAGES = ("AutocontextTwoStage", "Autocontext (2-stage)")  # ilastik opens both
_PIXELS_AND_OBJECTS = (
    "Object Classification (from pixel classification)",
    "Pixel Classification + Object Classification",
)
# Part of the name of a workflow that has no pixel classes of its own -> what helps, up to "of the
# workflow Pixel Classification".
_GIVE_FIRST = "give the project from which this one takes its images, if it is"
_OTHERS = {
    "Autocontext": "tbseg knows autocontext of two stages; use such a project, or one",
    "Object Classification": _GIVE_FIRST,
    "Tracking": _GIVE_FIRST,
    "Carving": "carving is work by hand, object by object; for classes of voxels train a project",
    "Multicut": "multicut joins supervoxels of a whole volume; for classes of voxels train a "
    "project",
    "Watershed": _GIVE_FIRST,
    "Neural Network": "neural networks are run by ilastik itself; for tbseg train a project",
    "Domain Adaptation": "neural networks are run by ilastik itself; for tbseg train a project",
    "Counting": "densities are no classes; for classes of voxels train a project",
}

_LANES = "/Input Data/infos"
_IDS = {SMOOTHING, LAPLACIAN, GRADIENT_MAGNITUDE, DIFFERENCE, STRUCTURE_TENSOR, HESSIAN}
_MOST_LABELS = 255
_MOST_SCALES = 256


@dataclass(frozen=True)
class Place:
    """Where a project keeps one stage: its features, and the classifier trained on them."""

    selections: str
    classification: str

    @property
    def forests(self) -> str:
        return f"{self.classification}/ClassifierForests"

    @property
    def labels(self) -> str:
        return f"{self.classification}/LabelNames"


STAGES = (
    Place("/FeatureSelections", "/PixelClassification"),
    Place("/FeatureSelections01", "/PixelClassification01"),
)


@dataclass(frozen=True)
class Selection:
    """The chosen features: (id, index of the scale) in column order; in_2d None in old files."""

    chosen: tuple[tuple[str, int], ...]
    scales: tuple[float, ...]
    in_2d: tuple[bool, ...] | None


@dataclass(frozen=True)
class Training:
    """The last training lane, whose axes ilastik expects; None where the file is silent."""

    channels: int | None
    spatial_axes: str | None
    depth: int | None
    data: TrainingData


def check_workflow(ilp: Ilp) -> tuple[tuple[Place, ...], tuple[str, ...]]:
    """The stages of a project with pixel classes, and what users should know of it.

    InputError for another workflow.
    """
    if not ilp.has("/workflowName"):
        if not ilp.has("/PixelClassification") and not ilp.has("/ilastikVersion"):
            raise ilp.refusal(
                "this HDF5 file is no project of ilastik",
                "/workflowName",
                PIXELS,
                "nothing there",
                EXCHANGED,
            )
        return STAGES[:1], ("the project does not name its workflow: read as Pixel Classification",)
    workflow = ilp.text("/workflowName")
    if workflow == PIXELS:
        return STAGES[:1], ()
    if workflow in TWO_STAGES:
        return STAGES, ()
    if workflow in _PIXELS_AND_OBJECTS:
        note = "of this project for pixels and objects, only the pixel classes are used"
        return STAGES[:1], (note,)
    mend = next((mend for part, mend in _OTHERS.items() if part in workflow), "train a project")
    raise ilp.refusal(
        "the project is of another workflow",
        "/workflowName",
        PIXELS,
        workflow,
        f"{mend} of the workflow {PIXELS}",
    )


def read_version(ilp: Ilp) -> str:
    """The version of ilastik that saved the project."""
    return ilp.text("/ilastikVersion") if ilp.has("/ilastikVersion") else "unknown"


def read_selection(ilp: Ilp, place: Place) -> Selection:
    """The feature matrix; InputError if it is missing, empty, or holds what has no known reach."""
    listed = f"{place.selections}/FeatureListFilename"
    if ilp.has(listed) and (name := ilp.text(listed)):
        raise ilp.refusal(
            "the features come from outside, so no reach can be derived for tiles",
            listed,
            "features computed by ilastik",
            name,
        )
    ids = ilp.texts(f"{place.selections}/FeatureIds", 64)
    scales = ilp.array(f"{place.selections}/Scales", "fiu", (None,)).astype(np.float64)
    if len(scales) > _MOST_SCALES or not np.all((scales > 0) & (scales <= 1e6)):
        raise ilp.refusal("a scale is absurd", f"{place.selections}/Scales", "0 < s <= 1e6", scales)
    path = f"{place.selections}/SelectionMatrix"
    matrix = ilp.array(path, "biu", (len(ids), len(scales))).astype(np.bool_)
    chosen = tuple((ids[row], int(column)) for row, column in np.argwhere(matrix))
    unknown = sorted({name for name, _ in chosen} - _IDS)
    if unknown or len(set(ids)) != len(ids):
        found = unknown or ids
        raise ilp.refusal(
            "unknown features are selected", f"{place.selections}/FeatureIds", _IDS, found
        )
    if not chosen:
        raise ilp.refusal("no feature is selected", path, "at least one", "none")
    flags = f"{place.selections}/ComputeIn2d"
    in_2d = None
    if ilp.has(flags):
        in_2d = tuple(bool(flag) for flag in ilp.array(flags, "biu", (len(scales),)))
    return Selection(chosen, tuple(float(s) for s in scales), in_2d)


def read_labels(ilp: Ilp, place: Place) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """Names and colours of the labels, one per output channel; grey where none is stored."""
    path, colored = place.labels, f"{place.classification}/LabelColors"
    if not ilp.has(path):
        raise ilp.missing(path)
    names = () if ilp.is_empty(path) else tuple(ilp.texts(path, _MOST_LABELS))
    if not names:
        raise ilp.refusal("the project has no labels", path, "label names", "none")
    colors = np.full((len(names), 3), 128)
    if ilp.has(colored) and not ilp.is_empty(colored):
        stored = ilp.array(colored, "iu", (None, 3))[: len(names)]
        colors[: len(stored)] = np.clip(stored, 0, 255)
    return names, tuple((r, g, b) for r, g, b in colors.tolist())


def read_known_labels(ilp: Ilp, place: Place, labels: int, classes: int | None) -> tuple[int, ...]:
    """The label (1-based) of each class of the forest, ascending; 1..classes in old files.

    ``classes``: how many the forests have, None if there is no forest that can be read.
    """
    path = f"{place.forests}/known_labels"
    if not ilp.has(path):
        known = list(range(1, (labels if classes is None else classes) + 1))
    else:
        known = ilp.array(path, "iu", (classes,)).astype(np.int64).tolist()
    if known != sorted(set(known)) or not known or known[0] < 1 or known[-1] > labels:
        raise ilp.refusal(
            "the classes of the forest are not the project's labels",
            path,
            f"ascending numbers from 1 to {labels}",
            known,
        )
    return tuple(known)


def classifier_type(ilp: Ilp, place: Place) -> str:
    """The class name of the stored classifier, matched as text in its pickle."""
    path = f"{place.forests}/pickled_type"
    if not ilp.has(path):
        return "ParallelVigraRfLazyflowClassifier"
    text = ilp.text(path)
    match = re.search(r"(?<![A-Za-z])[A-Z]\w*Classifier\b", text)
    return match.group() if match else repr(text[:200])


def text_paths(ilp: Ilp) -> tuple[str, ...]:
    """Where the texts lie that the functions of this module read."""
    raw = _last_lane(ilp)
    return (
        "/workflowName",
        "/ilastikVersion",
        f"{raw}/axistags",
        f"{raw}/axisorder",
        f"{raw}/axis_units",
        *(
            path
            for place in STAGES
            for path in (
                f"{place.selections}/FeatureListFilename",
                f"{place.selections}/FeatureIds",
                place.labels,
                f"{place.forests}/pickled_type",
            )
        ),
    )


def _last_lane(ilp: Ilp) -> str:
    lanes = ilp.members(_LANES) if ilp.has(_LANES) else []
    return f"{_LANES}/{lanes[-1] if lanes else 'none'}/Raw Data"


def read_training(ilp: Ilp) -> Training:
    """Channels, spatial axes ("zyx" or "yx") and z size of the last training lane."""
    raw = _last_lane(ilp)
    axes = _axes(ilp, raw) if ilp.has(raw) else None
    if axes is None:
        return Training(None, None, None, TrainingData())
    shape: list[int] | None = None
    if ilp.has(f"{raw}/shape"):
        shape = ilp.array(f"{raw}/shape", "iu", (len(axes),)).astype(np.int64).tolist()
    size = dict(zip(axes, shape, strict=True)) if shape else {}
    spatial = "zyx" if "z" in axes else "yx"
    channels = 1 if "c" not in axes else size.get("c")
    data = TrainingData(
        axes=axes,
        shape=tuple(shape) if shape else None,
        value_range=_value_range(ilp, raw),
        **_voxels(ilp, raw),
    )
    return Training(channels, spatial, 1 if "z" not in axes else size.get("z"), data)


def _value_range(ilp: Ilp, raw: str) -> tuple[float, float] | None:
    """None, too, where it is stored in another form: it is for messages only."""
    with suppress(InputError):
        if ilp.has(f"{raw}/drange"):
            low, high = ilp.array(f"{raw}/drange", "iuf", (2,)).astype(np.float64).tolist()
            return (low, high) if isfinite(low) and low < high < inf else None
    return None


def _voxels(ilp: Ilp, raw: str) -> dict[str, Any]:
    """``voxel_size`` (z, y, x) and its units, if they are stored; of a z that is not there: y's."""
    with suppress(InputError, ValueError, LookupError, TypeError, RecursionError):
        stored = json.loads(ilp.text(f"{raw}/axistags"))["axes"]
        size = {axis["key"]: float(axis["resolution"]) for axis in stored}
        named = json.loads(ilp.text(f"{raw}/axis_units")) if ilp.has(f"{raw}/axis_units") else None
        order = ["z" if "z" in size else "y", "y", "x"]
        if all(0 < size[axis] < inf for axis in order):
            return {
                "voxel_size": tuple(size[axis] for axis in order),
                "units": tuple(str(named[axis])[:32] for axis in order) if named else None,
            }
    return {}


def _axes(ilp: Ilp, raw: str) -> str | None:
    """The axis letters in stored order, from axistags (JSON) or axisorder."""
    path = f"{raw}/axistags"
    if ilp.has(path):
        text = ilp.text(path)
        try:
            axes = "".join(axis["key"] for axis in json.loads(text)["axes"])
        except (ValueError, LookupError, TypeError, RecursionError):
            axes = "?"
    elif ilp.has(f"{raw}/axisorder"):
        path = f"{raw}/axisorder"
        axes = text = ilp.text(path)
    else:
        return None
    if len(set(axes)) != len(axes) or not set("yx") <= set(axes) <= set("tzyxc"):
        raise ilp.refusal("the axes of the training volume", path, "some of t z y x c", text[:200])
    return axes
