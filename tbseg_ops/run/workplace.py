"""What a worker process opens once and then uses for all of its pieces."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tbseg_ops.classifier import read_passport
from tbseg_ops.engines import Engine, load_engine
from tbseg_ops.errors import ConfigError
from tbseg_ops.run import RunFolder
from tbseg_ops.run.plan import Plan
from tbseg_ops.settings import here
from tbseg_ops.volume import Source, VolumeInfo, open_planned


@dataclass(frozen=True)
class Workplace:
    """A run folder under one certain plan; small to pickle, opened once per process."""

    path: Path
    plan_digest: str

    @classmethod
    def of(cls, folder: RunFolder) -> "Workplace":
        return cls(folder.path, hashlib.sha256(folder.plan.to_bytes()).hexdigest())

    @property
    def folder(self) -> RunFolder:
        return _folder(self)

    @property
    def source(self) -> Source:
        plan = self.folder.plan
        return _source(self, plan.spec.volume, self.folder.inputs.slices, plan.volume)

    @property
    def mask(self) -> Source | None:
        mask = self.folder.plan.spec.mask
        return None if mask is None else _source(self, mask, self.folder.inputs.mask_slices, None)

    def engine(self, threads: int) -> Engine:
        return _engine(self, threads)


@lru_cache(maxsize=1)
def _folder(place: Workplace) -> RunFolder:
    folder = RunFolder(place.path)
    if Workplace.of(folder) != place:
        raise ConfigError(
            "the plan of this run was changed while the work was going on",
            file=folder.plan_file,
            mend="give the command again: it will follow the new plan",
        )
    return folder


@lru_cache(maxsize=2)
def _source(
    place: Workplace, volume: str, slices: tuple[str, ...], info: VolumeInfo | None
) -> Source:
    """``place`` is part of the cache's key: a new plan opens the volume anew."""
    return open_planned(here(volume), slices, info)


@lru_cache(maxsize=1)
def _engine(place: Workplace, threads: int) -> Engine:
    return engine_of(place.folder.plan, threads)


def engine_of(plan: Plan, threads: int) -> Engine:
    """The engine of a plan; ConfigError if it or the classifier is not what was planned."""
    passport = read_passport(here(plan.spec.classifier))
    _same("the classifier", passport.digest, plan.classifier.digest, plan.spec.classifier)
    engine = load_engine(
        plan.spec.engine, passport, volume_shape=plan.volume.shape, threads=threads
    )
    _same(f"the version of engine {engine.name}", engine.version, plan.engine_version, None)
    return engine


def _same(what: str, found: str, planned: str, file: str | None) -> None:
    if found != planned:
        raise ConfigError(
            f"{what} is not the one that the plan was made with",
            file=file,
            expected=planned,
            found=found,
            mend="make the plan again (tbseg plan, or the task plan); "
            "then only what is affected is recomputed",
        )
