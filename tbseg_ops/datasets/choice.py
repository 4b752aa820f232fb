"""The state of a dataset's runs, the choice of the next one, and the claim for it."""

from collections.abc import Container, Iterator
from itertools import chain
from pathlib import Path

from tbseg_ops.datasets.claims import Claim, claim
from tbseg_ops.datasets.runs import Runs
from tbseg_ops.errors import ConfigError, IntegrityError
from tbseg_ops.pipeline import STEPS
from tbseg_ops.processes.identity import Process
from tbseg_ops.run import RunFolder
from tbseg_ops.run.piece import WHOLE
from tbseg_ops.run.status import Status, status
from tbseg_ops.stored import Stored

_MOST_EARLIER = 3
_ALL_STEPS = {step.name for step in STEPS}
_WHOLE_STEPS = {step.name for step in STEPS if step.unit == "volume"}  # one piece each


class RunState(Stored):
    """``incomplete`` tells in a few words what a run lacks: of a verified one, files for others.

    ``planned``: its plan can be read. ``pruned``: ``tbseg gc`` has removed its result.
    """

    run: str
    verified: bool
    planned: bool
    incomplete: str | None
    pruned: bool = False


class Choice(Stored):
    """A run to work on, and earlier ones whose pieces may be taken over; all of them folders."""

    run: str
    earlier: tuple[str, ...]


def run_state(run: Path) -> RunState:
    """What is known of a run from its plan and its records; no file is opened or digested."""
    folder = RunFolder(run)
    if not folder.plan_file.exists():
        return RunState(run=str(run), verified=False, planned=False, incomplete="not planned")
    try:
        found = status(run=run)
    except (ConfigError, IntegrityError) as error:
        why = error.what.splitlines()[0].rstrip(":")
        return RunState(run=str(run), verified=False, planned=False, incomplete=why)
    if found.verified:
        lacks = None if "export" in found.pruned else _missing(found, ("export",)) or None
        return RunState(run=str(run), verified=True, planned=True, incomplete=lacks)
    gone = "segmentation" in found.pruned
    lacks = "its result was removed by tbseg gc" if gone else _result(folder) or _missing(found)
    return RunState(run=str(run), verified=False, planned=True, incomplete=lacks, pruned=gone)


def choose(runs: Runs, *, again: bool = False) -> Choice:
    """The newest run if it is incomplete, or ``again``; else a new one.

    Useful to take pieces from: the newest verified run and the incomplete ones after it, the
    newest first, three at most. Looks at no claim.
    """
    states: Iterator[RunState] = (
        run_state(runs.folder(number)) for number in reversed(runs.numbers())
    )
    newest = next(states, None)
    if newest is None or (newest.incomplete is None and not again):
        run, states = str(runs.next()), chain([newest] if newest else [], states)
    else:
        run = newest.run
    earlier: list[str] = []
    for state in states:
        if state.verified:
            earlier = [*earlier[: _MOST_EARLIER - 1], state.run]
            break
        if state.planned and not state.pruned:
            earlier.append(state.run)
    return Choice(run=run, earlier=tuple(earlier[:_MOST_EARLIER]))


def claim_next(
    runs: Runs,
    *,
    holder: str,
    process: Process | None = None,
    supersede: str | None = None,
    again: bool = False,
) -> Claim:
    """Claim the run that ``choose`` chooses: see ``datasets.claim``."""

    def chosen() -> tuple[str, tuple[str, ...]]:
        choice = choose(runs, again=again)
        return Path(choice.run).name, tuple(Path(path).name for path in choice.earlier)

    return claim(runs, chosen, holder=holder, process=process, supersede=supersede)


def _result(folder: RunFolder) -> str | None:
    """What is wrong with the result of a run that was verified, if that is what it lacks."""
    merged, verified = (folder.records(step).get(WHOLE) for step in ("merge", "verify"))
    if merged is None or verified is None:
        return None
    path = folder.segmentation_file
    if not path.is_file():
        return "its result is missing"
    if (size := path.stat().st_size) != merged.size:
        return f"its result has changed: {size} bytes instead of {merged.size}"
    return None


def _missing(found: Status, of: Container[str] = _ALL_STEPS) -> str:
    parts = [
        f"{step.step} missing"
        if step.step in _WHOLE_STEPS
        else f"{step.step} {len(step.missing)} of {step.total} missing"
        for step in found.steps
        if step.missing and step.step in of
    ]
    return ", ".join(parts)
