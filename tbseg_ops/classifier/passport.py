"""The passport of a classifier: everything about an .ilp that planning a run needs.

Reading one loads neither numba nor any image library.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tbseg_ops.classifier import gaussians
from tbseg_ops.classifier.forests import Forest, UnsupportedTree, read_forests
from tbseg_ops.classifier.ilp import Ilp, open_ilp
from tbseg_ops.classifier.known import Known
from tbseg_ops.classifier.project import (
    Place,
    Selection,
    Training,
    check_workflow,
    classifier_type,
    read_known_labels,
    read_labels,
    read_selection,
    read_training,
    read_version,
    text_paths,
)
from tbseg_ops.classifier.training import TrainingData, joined, raw_thresholds
from tbseg_ops.errors import InputError
from tbseg_ops.geometry import Index

_PLAIN, _SKLEARN = "ParallelVigraRfLazyflowClassifier", "SklearnLazyflowClassifier"
_EIGENVALUES = (gaussians.STRUCTURE_TENSOR, gaussians.HESSIAN)


class Feature(BaseModel):
    """One selected feature: ``scale`` is ilastik's sigma in voxels; ``in_2d``: per z slice."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    id: str
    scale: float
    in_2d: bool

    def columns(self) -> int:
        """Columns per channel: the eigenvalues, or one."""
        return 1 if self.id not in _EIGENVALUES else 2 if self.in_2d else 3


class Passport(BaseModel):
    """What a trained pixel classifier is and asks for; made by ``read_passport``.

    A classifier of two stages (autocontext) is described by its second, whose input are the raw
    channels followed by the first stage's probabilities; ``first`` is the passport of that stage.

    ``labels`` and ``colors`` (RGB, 0..255) are per output channel. ``known_labels[i]`` (1-based) is
    the label of the forests' class i; the channels of other labels are 0 everywhere.
    ``spatial_axes``: "yx" if it was trained on images, or on a time series of them: then each slice
    is classified by itself. ``features``: in column order, before channels and eigenvalues are
    expanded; if ``compute_in_2d_stored`` is False their ``in_2d`` is that of the training volume,
    and ``features_for`` tells what holds for another one. ``columns``: what the forests expect.
    ``percent_exact``: every probability is k/100 but for the last bit of its float32 (sums over
    several forests are rounded, in ilastik too), so that uint8 percent loses no vote. Labels must
    still be taken from the float32 values: the last bit can break a tie.
    ``digest``: SHA-256 of all that decides the result. ``native_refusals``: what the engine
    ``native`` lacks, each with what was found; empty if it can do it all. ``notes``: what its owner
    should know of how the project is read. ``training``: on what it was trained; empty in plans of
    earlier versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    schema_version: Literal[1] = 1
    path: str
    ilastik_version: str
    digest: str
    labels: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    known_labels: tuple[int, ...]
    features: tuple[Feature, ...]
    compute_in_2d_stored: bool
    channels: int
    spatial_axes: Literal["zyx", "yx"]
    columns: int
    forests: int
    trees: int
    nodes: int
    percent_exact: bool
    native_refusals: tuple[str, ...]
    training: TrainingData = TrainingData()
    notes: tuple[str, ...] = ()
    first: "Passport | None" = None

    @property
    def inputs(self) -> int:
        """Channels that the features are computed of: the volume's, and those of a first stage."""
        return self.channels + (len(self.first.labels) if self.first else 0)

    def features_for(self, volume_shape: Index) -> tuple[Feature, ...]:
        """The features with the 2D flags that hold for a volume of that (z, y, x) shape.

        In a volume of one slice, and by a classifier of images, every scale is computed in 2D;
        files without stored flags compute all scales in 3D otherwise.
        """
        flat = volume_shape[0] == 1 or self.spatial_axes == "yx"
        return tuple(
            f.model_copy(update={"in_2d": flat or (self.compute_in_2d_stored and f.in_2d)})
            for f in self.features
        )

    def halo_for(self, volume_shape: Index) -> Index:
        """Voxels (z, y, x) on each side that can change a voxel's result: exact, no estimate."""
        own = self.reach_for(volume_shape)
        if self.first is None:
            return own
        z, y, x = self.first.halo_for(volume_shape)
        return own[0] + z, own[1] + y, own[2] + x

    def reach_for(self, volume_shape: Index) -> Index:
        """Of the halo, what this stage sees of its own input."""
        features = self.features_for(volume_shape)
        reach = [gaussians.halo_radius(f.id, f.scale) for f in features]
        depth = max((r for r, f in zip(reach, features, strict=True) if not f.in_2d), default=0)
        return depth, max(reach), max(reach)

    def minimum_side_for(self, volume_shape: Index) -> Index:
        """The least (z, y, x) shape of a volume that ilastik accepts, in voxels."""
        features = self.features_for(volume_shape)
        depth = max((gaussians.minimum_side(f.scale) for f in features if not f.in_2d), default=1)
        side = max(gaussians.minimum_side(f.scale) for f in features)
        if self.first is not None:
            z, y, _ = self.first.minimum_side_for(volume_shape)
            depth, side = max(depth, z), max(side, y)
        return depth, side, side

    def notes_for(self, volume_shape: Index) -> tuple[str, ...]:
        """``notes``, and what is to be known of how a volume of that (z, y, x) shape is read."""
        if self.spatial_axes == "zyx" or volume_shape[0] == 1:
            return self.notes
        return (*self.notes, "trained on images: each slice is classified by itself, in 2D")

    def check_volume(self, shape: Index, channels: int) -> None:
        """InputError unless a volume of (z, y, x) ``shape`` is one for this classifier."""
        if channels != self.channels:
            mend = "give the others, in the classifier's order: --channels-from VOLUME"
            if self.channels == 1:
                mend = (
                    f"choose one (also where grey is stored as RGB): --channel 0 to {channels - 1}"
                )
            elif channels > self.channels:
                mend = "give the kind of volume that the classifier was trained on"
            raise InputError(
                "the volume has other channels than the classifier's",
                file=self.path,
                expected=self.channels,
                found=channels,
                mend=mend,
            )
        least = self.minimum_side_for(shape)
        if any(n < low for n, low in zip(shape, least, strict=True)):
            raise InputError(
                "the volume is too small for the largest scale of the classifier",
                file=self.path,
                expected=f"at least {least} voxels (z, y, x)",
                found=shape,
                mend="train without the largest scales, or use a larger volume",
            )
        if self.first is not None:
            self.first.check_volume(shape, channels)
        columns = self.inputs * sum(f.columns() for f in self.features_for(shape))
        if columns != self.columns:
            raise InputError(
                "the volume gives another number of feature columns than in training",
                file=self.path,
                expected=self.columns,
                found=f"{columns} for a volume of shape {shape}",
                mend="eigenvalue features have other columns in a single slice: train on such data",
            )


def read_passport(path: str | Path) -> Passport:
    """Read and check a classifier. InputError if no engine could use it."""
    return read_classifier(path)[0]


def read_classifier(path: str | Path) -> tuple[Passport, tuple[Forest, ...]]:
    """The passport, and the forests if they are of the kind that the engine native knows.

    The forests of all stages in turn, of which the last ``forests`` are those of the last one.
    """
    known = Known(str(path))
    if (found := known.get()) is not None:
        return _at(Passport.model_validate_json(found[0]), str(path)), found[1]
    passport, forests = _read(path)
    known.put(passport.model_dump_json(), forests)
    return passport, forests


def _at(passport: Passport, path: str) -> Passport:
    """The same of a file at ``path``: equal bytes may have been read elsewhere."""
    first = passport.first and _at(passport.first, path)
    return passport.model_copy(update={"path": path, "first": first})


def _read(path: str | Path) -> tuple[Passport, tuple[Forest, ...]]:
    with open_ilp(path) as ilp:
        ilp.prefetch(text_paths(ilp))
        places, notes = check_workflow(ilp)
        passport, forests = _read_stage(ilp, places[0], None)
        for place in places[1:]:
            passport, more = _read_stage(ilp, place, passport)
            forests += more
    return passport.model_copy(update={"notes": notes}), forests


def _read_stage(
    ilp: Ilp, place: Place, first: Passport | None
) -> tuple[Passport, tuple[Forest, ...]]:
    if not ilp.has(place.forests):
        raise InputError(
            f"the project holds no trained classifier: {place.forests}",
            file=ilp.file,
            expected="a random forest",
            found="none: it was saved without training",
            mend="open it in ilastik, switch Live Update on (or export once), save it again",
        )
    selection = read_selection(ilp, place)
    labels, colors = read_labels(ilp, place)
    kind, forests, refusals = _read_classifier(ilp, place)
    known = read_known_labels(ilp, place, len(labels), forests[0].classes if forests else None)
    training = read_training(ilp)
    features = _features(selection, training)
    refusals += _without_kernel(features)
    if first is not None:
        training = replace(training, channels=first.channels)
        refusals = first.native_refusals + refusals
    channels, columns = _channels(ilp, place, features, training, forests, first)
    content: list[object] = [
        kind,
        list(map(list, selection.chosen)),
        selection.scales,
        selection.in_2d,
        len(labels),
        labels,
        known,
        channels,
    ]
    digest = hashlib.sha256(
        json.dumps(content + ([first.digest] if first is not None else [])).encode()
    )
    for forest in forests:
        forest.update(digest)
    if not forests:
        for name, stored in ilp.walk(place.forests):
            digest.update(f"{name} {len(stored)} ".encode() + stored)
    trees = sum(forest.trees for forest in forests)
    maps = len(first.labels) if first is not None else 0
    thresholds = _thresholds(features, channels + maps, columns, forests)[:channels]
    if first is not None:
        thresholds = joined(first.training.thresholds, thresholds)
    passport = Passport(
        path=ilp.file,
        ilastik_version=read_version(ilp),
        digest=digest.hexdigest(),
        labels=labels,
        colors=colors,
        known_labels=known,
        features=features,
        compute_in_2d_stored=selection.in_2d is not None,
        channels=channels,
        spatial_axes="yx" if training.spatial_axes == "yx" else "zyx",
        columns=columns,
        forests=len(forests),
        trees=trees,
        nodes=sum(len(forest.column) for forest in forests),
        percent_exact=trees > 0 and 100 % trees == 0 and all(f.pure for f in forests),
        native_refusals=refusals,
        training=training.data.model_copy(update={"thresholds": thresholds}),
        first=first,
    )
    return passport, forests


def _read_classifier(ilp: Ilp, place: Place) -> tuple[str, tuple[Forest, ...], tuple[str, ...]]:
    """Type, forests, and what only ilastik itself can use; the forests are empty in that case."""
    kind = classifier_type(ilp, place)
    if kind == _SKLEARN:
        raise ilp.refusal(
            "the classifier is one of scikit-learn, stored as a pickle, which is never loaded",
            place.forests,
            "a random forest of vigra",
            kind,
            "choose the Parallel Random Forest in ilastik (Training: Advanced > Classifier), "
            "train it and save the project",
        )
    if kind != _PLAIN:
        return kind, (), (f"classifier type {kind}",)
    try:
        forests = read_forests(ilp, place.forests)
    except UnsupportedTree as error:
        return kind, (), (str(error),)
    if not forests:
        raise ilp.missing(f"{place.forests}/Forest0000")
    return kind, forests, ()


def _features(selection: Selection, training: Training) -> tuple[Feature, ...]:
    """In column order; without stored flags, those that held for the training volume."""
    flags = selection.in_2d or (training.depth == 1,) * len(selection.scales)
    return tuple(
        Feature(id=name, scale=selection.scales[i], in_2d=flags[i]) for name, i in selection.chosen
    )


def _thresholds(
    features: tuple[Feature, ...], channels: int, columns: int, forests: tuple[Forest, ...]
) -> tuple[tuple[float, float] | None, ...]:
    """See ``raw_thresholds``. Old files do not tell whether the forest's columns were 2D."""
    if channels * sum(f.columns() for f in features) != columns:
        features = tuple(f.model_copy(update={"in_2d": True}) for f in features)
    layout = [(f.id, c) for f in features for c in range(channels) for _ in range(f.columns())]
    return raw_thresholds(layout, channels, forests)


def _without_kernel(features: tuple[Feature, ...]) -> tuple[str, ...]:
    """Second derivatives at scales too small to have one: undefined, not imitated."""
    return tuple(
        f"{f.id} at scale {f.scale}"
        for f in features
        if f.id in (gaussians.LAPLACIAN, gaussians.HESSIAN)
        and gaussians.radius(gaussians.feature_sigma(f.scale), gaussians.FEATURE_WINDOW) == 0
    )


def _channels(
    ilp: Ilp,
    place: Place,
    features: tuple[Feature, ...],
    training: Training,
    forests: tuple[Forest, ...],
    first: Passport | None,
) -> tuple[int, int]:
    """Channels and columns of the training, which must agree with each other and the features.

    Where the file does not tell the training volume's shape, the forest's columns do.
    """
    maps = len(first.labels) if first is not None else 0
    solid = sum(f.columns() for f in features)
    flat = sum(f.model_copy(update={"in_2d": True}).columns() for f in features)
    singles = [flat] if training.depth == 1 else [solid] if training.depth else [solid, flat]
    if not forests:
        channels = training.channels or 1
        return channels, (channels + maps) * singles[0]
    columns = forests[0].columns
    for single in singles:
        channels = training.channels or max(1, columns // single)
        if (channels + maps) * single == columns:
            return channels, columns
    raise ilp.refusal(
        "the forest was trained on other features than the project selects",
        place.forests,
        f"a multiple of {singles[0]} columns"
        if training.channels is None
        else f"{(training.channels + maps) * singles[0]} columns",
        columns,
    )
