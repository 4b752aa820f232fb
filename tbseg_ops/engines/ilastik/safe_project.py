"""A copy of a project that ilastik may open: what it needs, and nothing that runs or leads out.

The copy is built new from a list of known names, object by object, so that what is not known is
not there: bookmarks (a pickle of free content), stored predictions, export settings (they would
shift, crop or rescale the output; the command line gives them all), saved command-line arguments.
The remaining pickles are looked at (``pickles``), never loaded.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier.project import PIXELS, STAGES, TWO_STAGES
from tbseg_ops.engines.contract import NATIVE_TOO
from tbseg_ops.engines.ilastik.pickles import LIMIT_BYTES, check_pickle
from tbseg_ops.errors import InputError
from tbseg_ops.hdf5.image import image_of
from tbseg_ops.hdf5.texts import TextReader
from tbseg_ops.hdf5.untrusted import (
    MissingError,
    check_attributes,
    check_dataset,
    find,
    hdf5_errors,
    members,
    open_untrusted,
)

# Group -> the names taken from it. Without "Input Data" and its labels ilastik does not keep a
# stored classifier, so these go along although nothing of them is used.
_SELECTIONS = ("StorageVersion", "FeatureIds", "Scales", "SelectionMatrix", "ComputeIn2d")
_CLASSIFICATION = (
    "StorageVersion",
    "LabelNames",
    "LabelColors",
    "PmapColors",
    "LabelSets",
    "ClassifierFactory",
    "ClassifierForests",
)
_WANTED = {
    "/": ("ilastikVersion", "workflowName", "time"),
    "/Input Data": ("StorageVersion", "Role Names", "infos", "local_data"),
    **{place.selections: _SELECTIONS for place in STAGES},
    **{place.classification: _CLASSIFICATION for place in STAGES},
}
_CLASSIFIERS = tuple(f"{place.forests}/" for place in STAGES)
# A classifier that is not made of random forests is stored as one more pickle.
_TYPES = tuple(f"{path}pickled_type" for path in _CLASSIFIERS)
_CLASSIFIER_TEXTS = (*_TYPES, *(f"{path}feature_names" for path in _CLASSIFIERS))
_PICKLES = (*_TYPES, *(f"{place.classification}/ClassifierFactory" for place in STAGES))

LIBVER = ("earliest", "v110")
"""Versions of the HDF5 format that each release of ilastik can read."""

_MAX_OBJECTS = 500_000
_MAX_DEPTH = 12
_MAX_ATTRIBUTES = 64
_MAX_TEXTS = 4096
_MAX_BYTES = 1 << 30
_LARGE = 1 << 14  # voxels along an axis of a training volume of unknown size


def safe_project(path: str | Path, channels: int = 1) -> bytes:
    """The HDF5 image of a copy of the project ``path`` that ilastik may open.

    ``channels``: of the training volumes, for projects that do not tell their shape.

    InputError, naming the object and what was found, for links out of the file, external and
    virtual data, loops, objects of a type ilastik does not write, pickles that are not ilastik's
    own, and for projects of which more than 1 GiB would have to be copied.
    """
    file = str(path)
    with hdf5_errors(file, "copied"), open_untrusted(file) as source, TextReader(file) as reader:
        copy = _Copy(file, reader)
        return image_of(lambda target: copy.project(source["/"], target, channels), LIBVER)


def _complete_lanes(target: h5py.File, channels: int) -> None:
    """Give each training volume a ``shape``, which projects from before ilastik 1.3.3 lack.

    ilastik looks for it in the volume itself then, by a path that leads nowhere from the copy. Only
    the number of axes and of channels matters to it, and that no label lies outside.
    """
    lengths = {"c": channels}
    for lane in target.get("Input Data/infos", {}).values():
        for raw in lane.values():
            axes = _axes_of(raw) if isinstance(raw, h5py.Group) and "shape" not in raw else None
            if axes is not None:
                raw["shape"] = [lengths.get(axis, _LARGE) for axis in axes]


def _name_workflow(target: h5py.File) -> None:
    """Of a project for pixels and objects, the copy holds the pixels' part alone."""
    known = [name.encode() for name in (PIXELS, *TWO_STAGES)]
    if "workflowName" not in target or target["workflowName"][()] not in known:
        target.pop("workflowName", None)
        target["workflowName"] = PIXELS.encode()


def _axes_of(raw: h5py.Group) -> list[str] | None:
    if "axistags" in raw:
        with suppress(ValueError, LookupError, TypeError):
            return [axis["key"] for axis in json.loads(raw["axistags"][()])["axes"]]
    return list(raw["axisorder"][()].decode()) if "axisorder" in raw else None


class _Copy:
    def __init__(self, file: str, reader: TextReader) -> None:
        self._file = file
        self._reader = reader
        self._objects = 0
        self._bytes = 0
        # Texts of variable length, and what is to be done with them: read at the end, in one go.
        self._texts: list[tuple[h5py.HLObject, str | None]] = []
        self._writers: list[Callable[[NDArray[np.object_]], None]] = []

    def project(self, source: h5py.Group, target: h5py.File, channels: int) -> None:
        for path, names in _WANTED.items():
            try:
                group = find(source, path, f"{self._file}:{path}")
            except MissingError:
                continue
            if not isinstance(group, h5py.Group):
                raise self._refusal(path, "a group", "a dataset")
            place = target.require_group(path)
            self._attributes(group, place, path)
            there = members(group, _MAX_OBJECTS, f"{self._file}:{path}")
            for name in names:
                if name in there:
                    self._member(group, name, place, path.rstrip("/"), (group.id,))
        self._reader.prefetch(self._texts)
        for (owner, attribute), write in zip(self._texts, self._writers, strict=True):
            write(self._read(owner, attribute))
        _complete_lanes(target, channels)
        _name_workflow(target)

    def _member(
        self, source: h5py.Group, name: str, target: h5py.Group, parent: str, above: tuple[Any, ...]
    ) -> None:
        path = f"{parent}/{name}"
        item = find(source, name, f"{self._file}:{path}")
        self._objects += 1
        if self._objects > _MAX_OBJECTS:
            raise self._refusal(path, f"at most {_MAX_OBJECTS} objects", "more")
        if isinstance(item, h5py.Dataset):
            self._dataset(item, name, target, path)
        elif isinstance(item, h5py.Group):
            # h5py compares object ids by address and file: a group inside itself is found here.
            if item.id in above or len(above) >= _MAX_DEPTH:
                raise self._refusal(path, "a tree of groups", "a loop, or too many levels")
            group = target.create_group(name)
            self._attributes(item, group, path)
            for child in members(item, _MAX_OBJECTS, f"{self._file}:{path}"):
                self._member(item, child, group, path, (*above, item.id))
        else:
            raise self._refusal(path, "a group or a dataset", "a named type")

    def _dataset(self, item: h5py.Dataset, name: str, target: h5py.Group, path: str) -> None:
        if item.shape is not None:  # else it has no bytes
            check_dataset(item, f"{self._file}:{path}")
        text = h5py.check_string_dtype(item.dtype)
        if (
            path.startswith(_CLASSIFIERS)
            and item.dtype.kind not in "biuf"
            and path not in _CLASSIFIER_TEXTS
        ):
            raise self._refusal(path, "a random forest, in numbers", f"data of type {item.dtype}")
        if path in _PICKLES and (
            item.shape != () or item.dtype.itemsize > LIMIT_BYTES or text is None
        ):
            raise self._refusal(path, "one text", f"{item.dtype} {item.shape}")
        if text is not None and text.length is None:
            self._later(item, name, target, path)
            return
        if item.dtype.kind in "biufS":
            if path in _PICKLES:
                check_pickle(bytes(item[()]), file=self._file, path=path)
            # Chunks are copied as they are stored; nothing is decompressed.
            self._spend(path, item.id.get_storage_size())
            item.parent.copy(item, target, name=name, without_attrs=True)
        else:
            raise self._refusal(path, "numbers or text", item.dtype)
        self._attributes(item, target[name], path)

    def _later(self, item: h5py.Dataset, name: str, target: h5py.Group, path: str) -> None:
        if item.size is None or item.size > _MAX_TEXTS:
            raise self._refusal(path, f"at most {_MAX_TEXTS} texts", item.size)
        place = target.create_dataset(name, item.shape, item.dtype)

        def write(values: NDArray[np.object_]) -> None:
            if path in _PICKLES:
                check_pickle(values.item(), file=self._file, path=path)
            place[()] = values

        self._texts.append((item, None))
        self._writers.append(write)
        self._attributes(item, place, path)

    def _read(self, owner: Any, attribute: str | None) -> NDArray[np.object_]:
        found = owner.attrs.get_id(attribute) if attribute else owner
        values = np.empty(found.shape, object)
        for i, text in enumerate(self._reader.texts(owner, attribute)):
            self._spend(owner.name, len(text))
            values.flat[i] = text
        return values

    def _attributes(self, item: Any, target: Any, path: str) -> None:
        check_attributes(item, f"{self._file}:{path}", _MAX_ATTRIBUTES)
        for name in item.attrs:
            found = item.attrs.get_id(name)
            text = h5py.check_string_dtype(found.dtype)
            if found.dtype.kind not in "biufSO" or (found.dtype.kind == "O" and text is None):
                raise self._refusal(f"{path}@{name}", "numbers or text", found.dtype)
            if found.shape is None or len(found.shape) > 1 or max(found.shape, default=1) > 16:
                raise self._refusal(f"{path}@{name}", "a few values", found.shape)
            create = partial(target.attrs.create, name, dtype=found.dtype)
            if text is not None and text.length is None:
                self._texts.append((item, name))
                self._writers.append(create)
                continue
            value = np.asarray(item.attrs[name])
            self._spend(path, value.nbytes)
            create(value)

    def _spend(self, path: str, size: int) -> None:
        self._bytes += size
        if self._bytes > _MAX_BYTES:
            raise InputError(
                f"the project is too large to be handed to ilastik with every tile: {path}",
                file=self._file,
                expected=f"at most {_MAX_BYTES >> 20} MB without stored predictions",
                found="more",
                mend="in ilastik, keep the training images outside of the project and save it",
            )

    def _refusal(self, path: str, expected: object, found: object) -> InputError:
        return InputError(
            f"the project holds what ilastik must not be given: {path}",
            file=self._file,
            expected=expected,
            found=found,
            mend=f"save the project again in ilastik{NATIVE_TOO}",
        )
