"""The images of a result that can be taken out of it, by the names that a user gives them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.errors import InputError
from tbseg_ops.geometry import Box
from tbseg_ops.hdf5.image import opened
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.run.outputs import LABELS, encoded
from tbseg_ops.run.plan import Plan
from tbseg_ops.run.raw import read_volume

RAW_NAME = "raw"


@dataclass(frozen=True)
class Image:
    """``name`` is one for files, whatever the class is called; ``title`` is for people.

    ``dataset``: of the merged file; None for raw. ``channels``: 0 if there is no such axis.
    ``is_label``: its values are names of things, and are never averaged.
    """

    name: str
    title: str
    dataset: str | None
    dtype: str
    channels: int = 0
    is_label: bool = False
    value: int = 0  # of the class in the labels, if it is the mask of one

    def read(self, folder: RunFolder, box: Box) -> NDArray[np.generic]:
        """The voxels (z, y, x) or (z, y, x, c) of ``box``, in coordinates of the result."""
        if self.dataset is None:
            raw = read_volume(folder, box, box).raw
            return raw if self.channels else raw[..., 0]
        with opened(folder.segmentation_file) as file:
            voxels: NDArray[np.generic] = file[self.dataset][box.slices]
        return voxels


def images_of(plan: Plan, what: Sequence[str]) -> list[Image]:
    """``what``: raw, labels, CLASS, class:CLASS or probabilities:CLASS, in the order given.

    InputError names what the run does not have.
    """
    return list(dict.fromkeys(_image(plan, word) for word in what))


def _image(plan: Plan, word: str) -> Image:
    info, labels = plan.volume, plan.classifier.labels
    channels = info.channels if info.channels > 1 else 0
    if word == RAW_NAME:
        return Image(RAW_NAME, "raw", None, info.dtype, channels)
    if word == LABELS:
        return Image(LABELS, "classes", LABELS, "uint8", is_label=True)
    kind, _, label = word.partition(":")
    if kind not in ("class", "probabilities"):
        kind, label = "class", word
    if label not in labels:
        raise _not_there(plan, word, ["raw", "labels", *labels])
    number = labels.index(label)
    name = f"{number + 1}-{_plain(label)}".rstrip("-")
    dataset = encoded(labels)[number]
    if kind == "probabilities":
        if number not in plan.probability_labels:
            kept = [f"probabilities:{labels[i]}" for i in plan.probability_labels]
            raise _not_there(plan, word, kept or ["a run with --probabilities"])
        return Image(
            f"probability-{name}",
            f"probability of {label}",
            f"probabilities/{dataset}",
            plan.spec.probability_dtype,
        )
    if plan.spec.output == "intensity":
        return Image(f"class-{name}", label, f"classes/{dataset}", info.dtype, channels)
    return Image(f"class-{name}", label, f"classes/{dataset}", "uint8", 0, True, number + 1)


def _plain(label: str) -> str:
    """What of a label is harmless in the name of a file; the number before it tells it apart."""
    return re.sub(r"[^A-Za-z0-9]+", "-", label)[:40].strip("-")


def _not_there(plan: Plan, word: str, there: list[str]) -> InputError:
    return InputError(
        "the run has nothing of that name",
        file=plan.spec.classifier,
        expected="any of " + ", ".join(map(repr, there)),
        found=word,
        mend="correct --what; probability maps are there if the run was asked for them",
    )
