"""What a dataset's runs may lose: the policy, without touching a file."""

from pathlib import Path

from tbseg_ops.datasets.choice import RunState, run_state
from tbseg_ops.datasets.claims import claim_of
from tbseg_ops.datasets.dataset import Retention
from tbseg_ops.datasets.runs import Runs
from tbseg_ops.run import RunFolder
from tbseg_ops.run.removed import KINDS, Kind
from tbseg_ops.settings import here


def excess(runs: Runs, retention: Retention) -> dict[Path, tuple[Kind, ...]]:
    """The kinds of files that nothing needs any more, by run folder, the oldest first.

    - The last ``keep_runs`` verified runs keep their result, and what is exported of it. Class
      files and slabs are kept in the newest of them alone, where the next run takes them over;
      sub-volumes if ``keep_sub_volumes``.
    - Older verified runs, and incomplete ones before the newest verified run, keep their records;
      incomplete ones their result, too, if there is one: it may be the only copy.
    - Nothing goes of: the run that is claimed; the runs after the newest verified one; those from
      which one of these takes pieces over; a run whose plan cannot be read.
    """
    states = [run_state(runs.folder(number)) for number in runs.numbers()]
    verified = [state.run for state in states if state.verified]
    if not verified:
        return {}
    safe = _safe(runs, states, verified[-1])
    return {
        Path(state.run): kinds
        for state in states
        if state.run not in safe
        and state.planned
        and (kinds := _kinds(state.run, verified, retention))
    }


def _kinds(run: str, verified: list[str], retention: Retention) -> tuple[Kind, ...]:
    if run not in verified:
        return tuple(kind for kind in KINDS if kind not in ("export", "segmentation"))
    if run not in verified[-retention.keep_runs :]:
        return KINDS
    tiles: tuple[Kind, ...] = () if retention.keep_sub_volumes else ("tiles",)
    return tiles if run == verified[-1] else ("classes", *tiles, "volume")


def _safe(runs: Runs, states: list[RunState], newest_verified: str) -> set[str]:
    """The run folders of which nothing may go."""
    order = [state.run for state in states]
    going_on = set(order[order.index(newest_verified) + 1 :])
    safe = set()
    held = claim_of(runs)
    if held is not None:
        going_on.add(str(runs.path / held.run))
        safe = {str(runs.path / name) for name in held.earlier}
    for run in going_on:
        safe |= {run, *_earlier(runs, Path(run))}
    return safe


def _earlier(runs: Runs, run: Path) -> set[str]:
    """The runs of this dataset from which ``run`` takes pieces over, by its plan."""
    plan = RunFolder(run).stored_plan()
    paths = [Path(here(path)) for path in (plan.earlier if plan is not None else ())]
    real = runs.path.resolve()
    return {str(runs.path / path.name) for path in paths if path.resolve().parent == real}
