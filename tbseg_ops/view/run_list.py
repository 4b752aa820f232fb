"""Runs as lines of a list: what each is of, what changed since the run before, how it stands.

What did not change is not found out again. All lines together take as long as they may: what is not
reached comes with the next look.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from time import monotonic
from typing import Any

from tbseg_ops.errors import TbsegError, printable
from tbseg_ops.run.differences import Basis, changed
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.view.standing import standing
from tbseg_ops.view.tiles import RunView, revision_of

_MOST = 500  # runs that are kept in mind
_MOST_VIEWS = 16  # and with their tiles


@dataclass(frozen=True)
class _Line:
    plan: str
    revision: str
    is_whole: bool  # nothing of that revision is left to be found out
    told: dict[str, Any]


class RunList:
    """The lines of any number of runs, for any thread."""

    def __init__(self) -> None:
        self._lines: OrderedDict[Path, _Line] = OrderedDict()
        self._views: OrderedDict[Path, RunView] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, runs: Mapping[Path, bool], seconds: float = 1.0) -> dict[Path, dict[str, Any]]:
        """A line for each run folder, found out in about so many seconds; JSON.

        ``runs``: whether its tiles are counted, too. Of what is not reached, or cannot be read,
        parts are missing.
        """
        end = monotonic() + seconds
        with self._lock:
            return {path: self._line(path, counted, end) for path, counted in runs.items()}

    def _line(self, path: Path, counted: bool, end: float) -> dict[str, Any]:
        try:
            folder = RunFolder(path)
            revision = revision_of(folder)
            known = self._lines.get(path)
            is_known = known is not None and known.is_whole and known.revision == revision
            if not is_known and monotonic() < end:
                known = self._lines[path] = self._found(folder, revision, counted, end)
                self._lines.move_to_end(path)
                _forget(self._lines, _MOST)
        except TbsegError as error:
            return {"error": error.what}
        return {} if known is None else known.told

    def _found(self, folder: RunFolder, revision: str, counted: bool, end: float) -> _Line:
        view = self._views.pop(folder.path, None)
        if counted:
            view = self._views[folder.path] = view or RunView(folder)
            _forget(self._views, _MOST_VIEWS)
            folder = view.folder
        plan, known = folder.plan, self._lines.get(folder.path)
        digest = plan.digest
        told: dict[str, Any] = {
            "volume": plan.spec.volume,
            "voxels": prod(plan.shape),
            "classifier": plan.spec.classifier,
            "digest": plan.classifier.digest,
            "changes": known.told["changes"]
            if known is not None and known.plan == digest
            else _changes(folder),
            "report": folder.report_file.is_file(),
            "result": str(folder.segmentation_file) if folder.segmentation_file.is_file() else None,
        }
        if view is None or not counted:
            return _Line(digest, revision, True, told)
        found = standing(view, max(end - monotonic(), 0.0))
        return _Line(digest, revision, found.counted, told | {"standing": found.model_dump()})


def _changes(folder: RunFolder) -> list[str] | None:
    """Sentences: what is another than in the run from which this one takes over first; None if
    there is no such run, or it cannot be read any more."""
    try:
        if not folder.earlier:
            return None
        before = folder.earlier[0]
        old, new = (Basis.of(run.plan, run.inputs) for run in (before, folder))
    except TbsegError:
        return None
    return [printable(reason) for reason in changed(old, new)]


def _forget(kept: OrderedDict[Path, Any], most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)
