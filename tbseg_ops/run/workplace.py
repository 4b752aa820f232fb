"""What a worker process opens once and then uses for all of its pieces."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tbseg_ops.engines import ClassifierChangedError, Engine, load_engine
from tbseg_ops.errors import ConfigError
from tbseg_ops.run import RunFolder
from tbseg_ops.run.plan import Plan
from tbseg_ops.settings import here
from tbseg_ops.volume import Source, open_source


@dataclass(frozen=True)
class Workplace:
    """A run folder under one certain plan; small to pickle, opened once per process."""

    path: Path
    plan_digest: str

    @classmethod
    def of(cls, folder: RunFolder) -> "Workplace":
        return cls(folder.path, folder.plan.digest)

    @property
    def folder(self) -> RunFolder:
        return _folder(self)

    @property
    def source(self) -> Source:
        return _source(self.folder.plan.spec.volume, self)

    @property
    def mask(self) -> Source | None:
        mask = self.folder.plan.spec.mask
        return None if mask is None else _source(mask, self)

    def engine(self, threads: int) -> Engine:
        return _engine(self, threads)


@lru_cache(maxsize=1)
def _folder(place: Workplace) -> RunFolder:
    folder = RunFolder(place.path)
    if Workplace.of(folder) != place:
        raise folder.plan_changed()
    return folder


@lru_cache(maxsize=2)
def _source(volume: str, place: Workplace) -> Source:
    """``place`` is part of the cache's key: a new plan opens the volume anew."""
    return open_source(here(volume))


@lru_cache(maxsize=1)
def _engine(place: Workplace, threads: int) -> Engine:
    return engine_of(place.folder.plan, threads)


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
