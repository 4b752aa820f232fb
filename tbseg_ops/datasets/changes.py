"""changes: does a dataset need a run, and why? Told by what the slices hold, never by their dates.

Every slice is read once, as plan does, and compared with the newest run.
"""

from pathlib import Path

from tbseg_ops.classifier import read_passport
from tbseg_ops.datasets.choice import run_state
from tbseg_ops.datasets.registry import get
from tbseg_ops.datasets.runs import Runs
from tbseg_ops.engines import check_engine
from tbseg_ops.errors import ConfigError, IntegrityError, printable
from tbseg_ops.run import RunFolder, RunSpec
from tbseg_ops.run.differences import Basis, changed
from tbseg_ops.run.inputs import mask_of, read_inputs, read_slices
from tbseg_ops.run.result import Progress, silent
from tbseg_ops.stored import Stored
from tbseg_ops.volume import open_source


class Changes(Stored):
    """Whether a dataset needs a run; ``reasons`` are sentences. ``run``: the newest run's folder.

    Where no run is needed the only reason is "unchanged".
    """

    dataset: str
    needed: bool
    reasons: tuple[str, ...]
    run: str | None


def changes(*, name: str, progress: Progress = silent) -> Changes:
    """Compare the dataset ``name`` as it is now with its newest run.

    InputError if the volume, the mask or the classifier cannot be used as they are now: as plan.
    ConfigError if the dataset or the engine is wrong.
    """
    dataset = get(name)
    newest = Runs(Path(dataset.runs), name).newest()
    now = _now(dataset.spec, progress)
    reasons = ["first run"] if newest is None else _reasons(newest, now)
    return Changes(
        dataset=name,
        needed=bool(reasons),
        reasons=tuple(map(printable, reasons)) or ("unchanged",),
        run=None if newest is None else str(newest),
    )


def _now(spec: RunSpec, progress: Progress) -> Basis:
    passport = read_passport(spec.classifier)
    with open_source(spec.volume, spec) as source:
        passport.check_volume(source.info.shape, source.info.channels)
        engine_version = check_engine(spec.engine, passport)
        part = read_slices(spec, passport, source.info)
        with mask_of(spec, source.info.shape) as mask:
            inputs = read_inputs(source, mask, progress, part)
        return Basis(spec, source.info, passport, engine_version, inputs)


def _reasons(newest: Path, now: Basis) -> list[str]:
    state, folder = run_state(newest), RunFolder(newest)
    found = [f"run {newest.name} is incomplete: {state.incomplete}"] if state.incomplete else []
    if not state.planned:
        return found
    try:
        planned = Basis.of(folder.plan, folder.inputs)
    except (ConfigError, IntegrityError):  # planned anew at this moment
        return found
    return found + changed(planned, now)
