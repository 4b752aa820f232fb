"""A copy of a project that ilastik may open: what it needs, and nothing that runs or leads out.

The copy is built new from a list of known names, object by object, so that what is not known is
not there: bookmarks (a pickle of free content), stored predictions, export settings (they would
shift, crop or rescale the output; the command line gives them all), saved command-line arguments.
The remaining pickles are looked at (``pickles``), never loaded.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tbseg_ops.engines.ilastik.pickles import LIMIT_BYTES, check_pickle
from tbseg_ops.errors import InputError
from tbseg_ops.hdf5.untrusted import hdf5_errors, open_untrusted

# Group -> the names taken from it. Without "Input Data" and its labels ilastik does not keep a
# stored classifier, so these go along although nothing of them is used.
_WANTED = {
    "/": ("ilastikVersion", "workflowName", "time"),
    "/FeatureSelections": (
        "StorageVersion",
        "FeatureIds",
        "Scales",
        "SelectionMatrix",
        "ComputeIn2d",
    ),
    "/Input Data": ("StorageVersion", "Role Names", "infos", "local_data"),
    "/PixelClassification": (
        "StorageVersion",
        "LabelNames",
        "LabelColors",
        "PmapColors",
        "LabelSets",
        "ClassifierFactory",
        "ClassifierForests",
    ),
}
_CLASSIFIER = "/PixelClassification/ClassifierForests/"
_PICKLES = ("/PixelClassification/ClassifierFactory", _CLASSIFIER + "pickled_type")
# A classifier that is not made of random forests is stored as one more pickle.
_CLASSIFIER_TEXTS = (_CLASSIFIER + "pickled_type", _CLASSIFIER + "feature_names")

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
    with hdf5_errors(file, "copied"), open_untrusted(file) as source:
        copy = _Copy(file)
        return image_of(lambda target: copy.project(source, target, channels))


def image_of(fill: Callable[[h5py.File], None]) -> bytes:
    """The bytes of the HDF5 file that ``fill`` writes, made in memory.

    A full disk is then an error of one plain write, not one inside the HDF5 library.
    """
    with h5py.File(
        "image", "w", driver="core", backing_store=False, libver=("earliest", "v110")
    ) as file:
        fill(file)
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def _complete_lanes(target: h5py.File, channels: int) -> None:
    """Give each training volume a ``shape``, which projects from before ilastik 1.3.3 lack.

    ilastik looks for it in the volume itself then, by a path that leads nowhere from the copy. Only
    the number of axes and of channels matters to it, and that no label lies outside.
    """
    lengths = {"c": channels, "t": 1}
    for lane in target.get("Input Data/infos", {}).values():
        for raw in lane.values():
            axes = _axes_of(raw) if isinstance(raw, h5py.Group) and "shape" not in raw else None
            if axes is not None:
                raw["shape"] = [lengths.get(axis, _LARGE) for axis in axes]


def _axes_of(raw: h5py.Group) -> list[str] | None:
    if "axistags" in raw:
        with suppress(ValueError, LookupError, TypeError):
            return [axis["key"] for axis in json.loads(raw["axistags"][()])["axes"]]
    return list(raw["axisorder"][()].decode()) if "axisorder" in raw else None


class _Copy:
    def __init__(self, file: str) -> None:
        self._file = file
        self._objects = 0
        self._bytes = 0

    def project(self, source: h5py.File, target: h5py.File, channels: int) -> None:
        for path, names in _WANTED.items():
            group = source if path == "/" else self._open(source, path.strip("/"), "")
            if group is None:
                continue
            if not isinstance(group, h5py.Group):
                raise self._refusal(path, "a group", "a dataset")
            place = target.require_group(path)
            self._attributes(group, place, path)
            for name in names:
                self._member(group, name, place, path.rstrip("/"), (group.id,))
        _complete_lanes(target, channels)

    def _member(
        self, source: h5py.Group, name: str, target: h5py.Group, parent: str, above: tuple[Any, ...]
    ) -> None:
        path = f"{parent}/{name}"
        item = self._open(source, name, parent)
        if item is None:
            return
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
            for child in item:
                self._member(item, child, group, path, (*above, item.id))
        else:
            raise self._refusal(path, "a group or a dataset", "a named type")

    def _dataset(self, item: h5py.Dataset, name: str, target: h5py.Group, path: str) -> None:
        if item.external or item.is_virtual:
            raise self._refusal(path, "data inside the file", "data in another file")
        text = h5py.check_string_dtype(item.dtype)
        if (
            path.startswith(_CLASSIFIER)
            and item.dtype.kind not in "biuf"
            and path not in _CLASSIFIER_TEXTS
        ):
            raise self._refusal(path, "a random forest, in numbers", f"data of type {item.dtype}")
        if path in _PICKLES:
            check_pickle(self._pickle(item, path, text), file=self._file, path=path)
        if text is not None and text.length is None:
            self._texts(item, name, target, path)
        elif item.dtype.kind in "biufS":
            # Chunks are copied as they are stored; nothing is decompressed.
            self._spend(path, item.id.get_storage_size())
            item.parent.copy(item, target, name=name, without_attrs=True)
        else:
            raise self._refusal(path, "numbers or text", item.dtype)
        self._attributes(item, target[name], path)

    def _texts(self, item: h5py.Dataset, name: str, target: h5py.Group, path: str) -> None:
        if item.size is None or item.size > _MAX_TEXTS:
            raise self._refusal(path, f"at most {_MAX_TEXTS} texts", item.size)
        values = np.empty(item.shape, object)
        # One by one: all of them may point at the same huge text.
        for index in np.ndindex(item.shape):
            values[index] = item[index]
            self._spend(path, len(values[index]))
        target.create_dataset(name, item.shape, item.dtype, data=values)

    def _pickle(self, item: h5py.Dataset, path: str, text: object) -> bytes:
        if item.shape != () or item.dtype.itemsize > LIMIT_BYTES or text is None:
            raise self._refusal(path, "one text", f"{item.dtype} {item.shape}")
        return bytes(item[()])

    def _attributes(self, item: Any, target: Any, path: str) -> None:
        if len(item.attrs) > _MAX_ATTRIBUTES:
            raise self._refusal(path, f"at most {_MAX_ATTRIBUTES} attributes", len(item.attrs))
        for name in item.attrs:
            found = item.attrs.get_id(name)
            text = h5py.check_string_dtype(found.dtype)
            if found.dtype.kind not in "biufSO" or (found.dtype.kind == "O" and text is None):
                raise self._refusal(f"{path}@{name}", "numbers or text", found.dtype)
            if found.shape is None or len(found.shape) > 1 or max(found.shape, default=1) > 16:
                raise self._refusal(f"{path}@{name}", "a few values", found.shape)
            value = item.attrs[name]
            self._spend(path, len(value) if isinstance(value, str) else np.asarray(value).nbytes)
            target.attrs.create(name, value, dtype=found.dtype)

    def _open(self, group: h5py.Group, name: str, parent: str) -> Any:
        """The object of that name, or None; only a plain hard link is followed."""
        link = group.get(name, getlink=True)
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise self._refusal(f"{parent}/{name}", "an object of this file", "a link elsewhere")
        return group[name]

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
            mend="save the project again in ilastik, or use engine native",
        )
