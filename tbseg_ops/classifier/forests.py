"""The random forests of a classifier as compact arrays, checked so that walking them is safe.

A vigra tree is stored as ``topology`` (int32) and ``parameters`` (float64). topology[0] is the
number of columns, [1] of classes, the root lies at 2; children are absolute positions:

    inner node (type 0)           0, p, child below, child not below, column
                                  threshold = parameters[p + 1], "below" is x < threshold
    leaf       (type 0x40000000)  type, p
                                  proportions of the classes = parameters[p + 1 : p + 1 + classes]

All trees of a forest are walked at once, level by level, in numpy; every position is checked
before it is used and no node may be reached twice, so neither loops nor reads out of bounds remain.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier.ilp import Ilp
from tbseg_ops.errors import InputError

_INNER = 0
_LEAF = 0x40000000
_LEVELS = 4096
_TREES = 10_000


class UnsupportedTree(Exception):  # noqa: N818 - never leaves this package
    """A forest that ilastik itself can use and this reader cannot; str() says what was found."""


@dataclass(frozen=True)
class Forest:
    """One random forest; inner nodes are numbered level by level, trees in turn, so are leaves.

    roots: int32 (trees,). below, above: int32 (nodes,), the child for x < threshold and the other
    one. In all three a value v >= 0 is an inner node, v < 0 the leaf -1 - v.
    column: int32 (nodes,), < columns. threshold: float32 (nodes,), rounded up, which decides
    ``x < threshold`` for every float32 x as the stored float64 does.
    proportions: float32 (leaves, classes), each in [0, 1], rows of sum 1. leaf_tree: int32
    (leaves,), the tree of each leaf.
    """

    columns: int
    roots: NDArray[np.int32]
    column: NDArray[np.int32]
    threshold: NDArray[np.float32]
    below: NDArray[np.int32]
    above: NDArray[np.int32]
    proportions: NDArray[np.float32]
    leaf_tree: NDArray[np.int32]

    @property
    def trees(self) -> int:
        return len(self.roots)

    @property
    def classes(self) -> int:
        return int(self.proportions.shape[1])

    @property
    def pure(self) -> bool:
        """Whether every leaf gives its whole vote to one class."""
        return bool(np.all(self.proportions.max(axis=1) == 1.0))

    def update(self, digest: "hashlib._Hash") -> None:
        """Feed all that decides this forest's predictions into ``digest``."""
        digest.update(f"forest {self.columns} {self.classes} {self.trees}".encode())
        for name in ("roots", "column", "threshold", "below", "above", "proportions"):
            array: NDArray[Any] = getattr(self, name)
            digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())


def read_forests(ilp: Ilp, group: str) -> tuple[Forest, ...]:
    """All forests in ``group``, in the order ilastik sums them (by name).

    InputError if a forest is missing, damaged or contradicts itself, or if forests differ in
    columns or classes. UnsupportedTree if it is sound but needs more than this reader knows.
    """
    names = [name for name in ilp.members(group) if name.startswith("Forest")]
    forests = tuple(_read_forest(ilp, f"{group}/{name}") for name in names)
    for name, forest in zip(names, forests, strict=True):
        shape, first = (forest.columns, forest.classes), (forests[0].columns, forests[0].classes)
        if shape != first:
            raise ilp.refusal(
                "forests differ in (columns, classes)", f"{group}/{name}", first, shape
            )
    return forests


def _read_forest(ilp: Ilp, path: str) -> Forest:
    names = [name for name in ilp.members(path) if name.startswith("Tree_")]
    count = _parameter(ilp, f"{path}/_options/tree_count_")
    if len(names) != count or not 1 <= count <= _TREES:
        raise ilp.refusal("a forest has another number of trees", path, count, len(names))
    weighted = f"{path}/_options/predict_weighted_"
    if ilp.has(weighted) and _parameter(ilp, weighted):
        raise UnsupportedTree(f"votes weighted by leaf size ({weighted})")
    columns = _parameter(ilp, f"{path}/_ext_param/column_count_")
    classes = _parameter(ilp, f"{path}/_ext_param/class_count_")
    if not (1 <= columns <= 1_000_000 and 1 <= classes <= 255):
        raise ilp.refusal(
            "a forest has absurd dimensions", path, "classes <= 255", (columns, classes)
        )
    topologies = []
    parameters = []
    for name in names:
        tree = f"{path}/{name}"
        topologies.append(ilp.array(f"{tree}/topology", "iu", (None,)))
        parameters.append(ilp.array(f"{tree}/parameters", "f", (None,)))
        head = topologies[-1][:2].tolist()
        if head != [columns, classes]:
            raise ilp.refusal(
                "a tree has other dimensions",
                tree,
                f"columns, classes = {[columns, classes]}",
                head,
            )
    walk = _Walk(ilp, path, names, topologies, parameters)
    return walk.forest(columns, classes)


def _parameter(ilp: Ilp, path: str) -> int:
    value = float(ilp.array(path, "iuf", (1,))[0])
    if not value.is_integer():
        raise ilp.refusal("a count is not a whole number", path, "a whole number", value)
    return int(value)


class _Walk:
    """All trees of one forest, laid end to end and walked together."""

    def __init__(
        self,
        ilp: Ilp,
        path: str,
        names: list[str],
        topologies: list[NDArray[Any]],
        parameters: list[NDArray[Any]],
    ) -> None:
        self._ilp, self._path, self._names = ilp, path, names
        self._topology = np.concatenate(topologies).astype(np.int64)
        self._parameters = np.concatenate(parameters).astype(np.float64)
        self._length = np.array([len(t) for t in topologies])
        self._size = np.array([len(p) for p in parameters])
        self._start = np.cumsum(self._length) - self._length
        self._origin = np.cumsum(self._size) - self._size
        self._visited = np.zeros(len(self._topology), np.bool_)

    def forest(self, columns: int, classes: int) -> Forest:
        trees = len(self._names)
        nodes: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
        leaves: list[NDArray[np.float64]] = []
        leaf_trees: list[NDArray[np.int64]] = []
        # References (to nodes >= 0, to leaves < 0) in the order in which they were met: first the
        # roots, then per level below, above of each node.
        references: list[NDArray[np.int64]] = []
        known = known_leaves = 0
        tree = np.arange(trees)
        at = np.full(trees, 2)
        for _ in range(_LEVELS):
            inner, leaf = self._types(tree, at)
            reference = np.where(
                inner, known - 1 + np.cumsum(inner), -known_leaves - np.cumsum(leaf)
            )
            references.append(reference)
            known += int(inner.sum())
            known_leaves += int(leaf.sum())
            leaves.append(self._proportions(tree[leaf], at[leaf], classes))
            leaf_trees.append(tree[leaf])
            tree, at = tree[inner], at[inner]
            fields, threshold = self._fields(tree, at, columns)
            nodes.append((fields[:, 2], threshold))
            tree = np.repeat(tree, 2)
            at = fields[:, :2].reshape(-1)
            if not len(at):
                break
        else:
            raise self._refusal(tree[0], "a tree is too deep", f"<= {_LEVELS} levels", "more")
        children = np.concatenate(references[1:] or [np.empty(0, np.int64)]).astype(np.int32)
        return Forest(
            columns=columns,
            roots=references[0].astype(np.int32),
            column=np.concatenate([column for column, _ in nodes]).astype(np.int32),
            threshold=_rounded_up(np.concatenate([threshold for _, threshold in nodes])),
            below=np.ascontiguousarray(children[0::2]),
            above=np.ascontiguousarray(children[1::2]),
            proportions=np.concatenate(leaves).astype(np.float32),
            leaf_tree=np.concatenate(leaf_trees).astype(np.int32),
        )

    def _types(
        self, tree: NDArray[Any], at: NDArray[Any]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which of the nodes at ``at`` are inner nodes and which are leaves, all checked to fit."""
        self._demand(tree, (at >= 2) & (at < self._length[tree]), at, "a child outside its tree")
        place = self._start[tree] + at
        fresh = ~self._visited[place]
        self._visited[place] = True
        if len(np.unique(place)) != len(place):
            fresh[:] = False
        self._demand(tree, fresh, at, "a node that is reached twice")
        kind = self._topology[place]
        inner, leaf = kind == _INNER, kind == _LEAF
        if not np.all(inner | leaf):
            other = int(kind[np.argmin(inner | leaf)])
            raise UnsupportedTree(f"tree nodes of type {other:#x} ({self._path})")
        length = np.where(inner, 5, 2)
        self._demand(tree, at + length <= self._length[tree], at, "a node that is cut off")
        return inner, leaf

    def _fields(
        self, tree: NDArray[Any], at: NDArray[Any], columns: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(child below, child above, column) and threshold of inner nodes."""
        place = self._start[tree] + at
        p = self._topology[place + 1]
        fields = self._topology[place[:, None] + np.arange(2, 5)]
        self._demand(tree, (p >= 0) & (p < self._size[tree] - 1), p, "a threshold out of range")
        column = fields[:, 2]
        self._demand(tree, (column >= 0) & (column < columns), column, "a column out of range")
        threshold = self._parameters[self._origin[tree] + p + 1]
        self._demand(tree, np.isfinite(threshold), threshold, "a threshold that is not a number")
        return fields, threshold

    def _proportions(
        self, tree: NDArray[Any], at: NDArray[Any], classes: int
    ) -> NDArray[np.float64]:
        p = self._topology[self._start[tree] + at + 1]
        inside = (p >= 0) & (p < self._size[tree] - classes)
        self._demand(tree, inside, p, "proportions out of range")
        values: NDArray[np.float64] = self._parameters[
            (self._origin[tree] + p)[:, None] + np.arange(1, classes + 1)
        ]
        # vigra divides by the sum of all proportions: rows of sum 1 make that the number of trees.
        sound = (values >= 0).all(axis=1) & (np.abs(values.sum(axis=1) - 1) <= 1e-9)
        self._demand(tree, sound, at, "a leaf whose proportions do not add up to 1")
        return values

    def _demand(
        self, tree: NDArray[Any], true: NDArray[np.bool_], value: NDArray[Any], what: str
    ) -> None:
        if not np.all(true):
            first = int(np.argmin(true))
            raise self._refusal(tree[first], f"a tree has {what}", "a sound tree", value[first])

    def _refusal(self, tree: int, what: str, expected: object, found: object) -> InputError:
        return self._ilp.refusal(what, f"{self._path}/{self._names[tree]}", expected, found)


def _rounded_up(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """The least float32 that is not below ``threshold``."""
    with np.errstate(over="ignore"):
        near = threshold.astype(np.float32)
    return np.where(near < threshold, np.nextafter(near, np.float32(np.inf)), near)
