"""What a worker process opens once and then uses for all of its pieces."""

from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from tbseg_ops.engines import ClassifierChangedError, Engine, load_engine
from tbseg_ops.errors import ConfigError
from tbseg_ops.run import RunFolder
from tbseg_ops.run.batches import Batches
from tbseg_ops.run.plan import Plan
from tbseg_ops.settings import here
from tbseg_ops.volume import Source, open_mask


class Workplace:
    """A run folder under one certain plan, and what is opened once for all of its pieces.

    It goes to another process as path, plan and ``threads`` (of the engine), and is opened there
    once. ConfigError if the plan has been exchanged in the meantime.
    """

    def __init__(self, folder: RunFolder, threads: int = 1) -> None:
        self.folder = folder
        self.threads = threads

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self.folder.path, self._plan_digest, self.threads)

    @cached_property
    def _plan_digest(self) -> str:
        return self.folder.plan.digest

    @cached_property
    def mask(self) -> Source | None:
        mask = self.folder.plan.spec.mask
        slices = self.folder.inputs.mask_slices
        return (
            None if mask is None else open_mask(here(mask), self.folder.plan.volume.shape, slices)
        )

    @cached_property
    def batches(self) -> Batches:
        return Batches(self.folder)

    @cached_property
    def engine(self) -> Engine:
        return engine_of(self.folder.plan, self.threads)


@lru_cache(maxsize=1)
def _opened(path: Path, plan_digest: str, threads: int) -> Workplace:
    folder = RunFolder(path)
    if folder.plan.digest != plan_digest:
        raise folder.plan_changed()
    return Workplace(folder, threads)


def engine_of(plan: Plan, threads: int) -> Engine:
    """The engine of a plan; ConfigError if it or the classifier is not what was planned."""
    passport = plan.classifier.model_copy(update={"path": here(plan.spec.classifier)})
    try:
        engine = load_engine(
            plan.spec.engine, passport, volume_shape=plan.volume.shape, threads=threads
        )
    except ClassifierChangedError as error:
        file = plan.spec.classifier
        raise _not_planned("the classifier", passport.digest, error.found, file) from error
    if engine.version != plan.engine_version:
        what = f"the version of engine {engine.name}"
        raise _not_planned(what, plan.engine_version, engine.version)
    return engine


def _not_planned(
    what: str, expected: object, found: object, file: str | None = None
) -> ConfigError:
    return ConfigError(
        f"{what} is not the one that the plan was made with",
        file=file,
        expected=expected,
        found=found,
        mend="make the plan again (tbseg plan, or the task plan); "
        "then only what is affected is recomputed",
    )
