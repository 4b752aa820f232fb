"""The mark of a run from which ``tbseg gc`` removed something: ``pruned.json``.

It is written before the first file goes, so that what is missing later is never taken for damage.
The records stay: they tell what was done, how long it took, and what it gave.
"""

from typing import Literal, get_args

from pydantic import ValidationError

from tbseg_ops.run.done import Found
from tbseg_ops.run.exports import forget
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.run.records import Step
from tbseg_ops.storage.commit import commit_over, storage_errors
from tbseg_ops.stored import Stored

Kind = Literal["export", "segmentation", "classes", "tiles", "volume"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Pruned(Stored):
    """The kinds of files that were removed, or were about to be."""

    schema_version: Literal[1] = 1
    kinds: tuple[Kind, ...]


def pruned(folder: RunFolder) -> tuple[Kind, ...]:
    """What was removed from a run; all kinds if the mark is there but cannot be read."""
    with storage_errors(folder.pruned_file):
        try:
            return Pruned.model_validate_json(folder.pruned_file.read_bytes()).kinds
        except FileNotFoundError:
            return ()
        except ValidationError:
            return KINDS


def mark_pruned(folder: RunFolder, kinds: tuple[Kind, ...]) -> None:
    """Say that these kinds of files are removed, beside what was said before."""
    before = pruned(folder)
    wanted = tuple(kind for kind in KINDS if kind in before or kind in kinds)
    if wanted != before:
        commit_over(folder.pruned_file, Pruned(kinds=wanted).to_bytes())


def revive(folder: RunFolder) -> None:
    """Take a pruned run for what is left of it, before it is planned again.

    The records of files that are gone go, too, and what is known of exports; then the mark.
    """
    if not pruned(folder):
        return
    for step in get_args(Step):
        ledger = folder.records(step)
        for name in ledger.names():
            record = ledger.get(name)
            if record is not None and Found(folder, record).is_lost:
                ledger.drop(name)
    forget(folder.exports)
    with storage_errors(folder.pruned_file):
        folder.pruned_file.unlink(missing_ok=True)
