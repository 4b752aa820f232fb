"""The engine of a run. Importing this module does not load numba, nor looks for ilastik."""

from tbseg_ops.classifier.passport import Passport, read_classifier
from tbseg_ops.engines.contract import NATIVE_TOO, NATIVE_VERSION, Engine, check_unchanged
from tbseg_ops.errors import InputError, TbsegError
from tbseg_ops.geometry import Index
from tbseg_ops.options import EngineName


def check_engine(name: EngineName, passport: Passport) -> str:
    """The version of the engine that would run this classifier; loads no numba.

    InputError if the engine lacks what the classifier needs, ConfigError if it is not installed.
    """
    if name == "ilastik":
        from tbseg_ops.engines.ilastik.engine import find_ilastik
        from tbseg_ops.engines.ilastik.safe_project import safe_project

        try:
            safe_project(passport.path, passport.channels)  # what it refuses, it refuses now
            return find_ilastik().version
        except TbsegError as error:
            if passport.native_refusals and error.mend:
                error.mend = error.mend.removesuffix(NATIVE_TOO)
            raise
    if passport.native_refusals:
        raise InputError(
            "the engine native cannot run this classifier",
            file=passport.path,
            expected="a random forest of vigra and ilastik's own features",
            found="; ".join(passport.native_refusals),
            mend="use --engine ilastik",
        )
    return NATIVE_VERSION


def load_engine(
    name: EngineName,
    passport: Passport,
    *,
    volume_shape: Index,
    threads: int = 1,
) -> Engine:
    """The engine for tiles of a volume of (z, y, x) ``volume_shape``.

    The classifier is read once, here. InputError if the engine lacks what it needs, or if it is no
    longer the one of the passport (ClassifierChangedError).
    """
    if name == "ilastik":
        from tbseg_ops.engines.ilastik.engine import IlastikEngine

        return IlastikEngine(passport, volume_shape=volume_shape, threads=threads)
    check_engine(name, passport)
    passport.check_volume(volume_shape, passport.channels)
    now, forests = read_classifier(passport.path)
    check_unchanged(passport, now)
    from tbseg_ops.engines.native.engine import NativeEngine

    return NativeEngine(now, forests, volume_shape, threads)
