"""The engine ``ilastik``: the real program, headless, started once for several tiles.

See docs/engine-ilastik.md for the command line, the settings and what guards the host.
"""

import json
import re
import secrets
import shutil
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tbseg_ops.classifier.passport import Passport, read_passport
from tbseg_ops.engines.contract import check_unchanged, hard_labels
from tbseg_ops.engines.ilastik.limits import Limits
from tbseg_ops.engines.ilastik.output import check_end, check_words, read_probabilities
from tbseg_ops.engines.ilastik.program import Program, base_environment
from tbseg_ops.engines.ilastik.program import find_ilastik as _find_ilastik
from tbseg_ops.engines.ilastik.safe_project import LIBVER, safe_project
from tbseg_ops.errors import ConfigError, InputError, ResourceError
from tbseg_ops.geometry import Box, Index
from tbseg_ops.hdf5.image import image_of
from tbseg_ops.processes.bounded import Outcome, Running, bounded

# Part of every key: change it whenever what is handed to ilastik changes its result.
_ADAPTER = "1"

# ilastik cuts a volume into blocks by memory / threads, and the last bit of a feature depends on
# the block: with a fixed amount per thread, the blocks are the same for any host and threads.
_RAM_PER_THREAD_MB = 2048

_DATASET = "exported_data"
_SPARE_BYTES = 64 << 20
_LOOK_SECONDS = 0.05  # between two looks whether an output is whole
# What ilastik gives a meaning in paths: patterns, lists, placeholders, and names of containers.
_SPECIAL = re.compile(r"[*?\[\]{}:~]|\.(h5|hdf5|ilp|n5|npz|npy|zarr)(/|$)", re.IGNORECASE)


def find_ilastik() -> Program:
    """The ilastik that this host has, as ``ilastik_program.find_ilastik``.

    Its version also names this adapter's: what a key needs. ConfigError if there is none.
    """
    program = _find_ilastik()
    return Program(program.argv, f"{program.version} adapter-{_ADAPTER}")


class IlastikEngine:
    """Probabilities of one classifier by ilastik's own hand. Safe to use from several threads.

    The project is read once, when the engine is made: into a copy (``safe_project``) that is given
    to ilastik with each tile. InputError if the project is not fit for that, or no longer the one
    of the passport. ConfigError if ilastik is not installed or a setting makes no sense.
    """

    name = "ilastik"

    def __init__(
        self,
        passport: Passport,
        *,
        volume_shape: Index,
        threads: int = 1,
        limits: Limits | None = None,
        workdir: Path | None = None,
    ) -> None:
        passport.check_volume(volume_shape, passport.channels)
        self._program = find_ilastik()
        self._limits = limits or Limits.from_environment()
        self._workdir = workdir
        self._passport = passport
        self._threads = max(1, threads)
        self._project = safe_project(passport.path, passport.channels)
        self._check_unchanged()
        self.version = self._program.version
        self.labels = passport.labels

    def predict_labels(self, raw: NDArray[Any], core: Box) -> NDArray[np.uint8]:
        """The label (1-based), uint8 (z, y, x), of highest probability; see ``predict``."""
        return hard_labels(self.predict(raw, core))

    def predict(self, raw: NDArray[Any], core: Box) -> NDArray[np.float32]:
        """Probabilities (K, z, y, x), float32, C-contiguous, of ``core`` (in voxels of ``raw``).

        raw: (z, y, x, c), uint8, uint16 or float32; ilastik mirrors it at its faces.
        InputError, ConfigError, ResourceError: see ``check_end``. IntegrityError: the output is not
        what it has to be, see ``read_probabilities``. Nothing is left behind in any case, but the
        log of a failure in the folder TBSEG_ILASTIK_LOGS.
        """
        (found,) = self.predict_all([(raw, core)])
        return found

    def predict_all(
        self, tiles: Sequence[tuple[NDArray[Any], Box]]
    ) -> Generator[NDArray[np.float32], None, None]:
        """What ``predict`` gives for each of these, as it comes; ilastik is started once for all.

        An error is raised in the place of the tile at which ilastik ended; those before it count.
        ilastik is ended when the generator is closed.
        """
        fitting = [(self._fit(raw), core) for raw, core in tiles]
        for axes, alike in groupby(fitting, lambda tile: self._axes(len(tile[0]))):
            yield from self._predicted(list(alike), axes)

    def _predicted(
        self, tiles: list[tuple[NDArray[Any], Box]], axes: str
    ) -> Iterator[NDArray[np.float32]]:
        file, memory_mb = self._passport.path, self._limits.memory_mb
        with self._folder() as folder:
            log = folder / "ilastik.log"
            log.touch()
            names = self._write(folder, [raw for raw, _ in tiles], axes)
            with (
                self._log_kept(log),
                bounded(
                    self.command(folder, names, axes),
                    folder=folder,
                    log=log,
                    environment=self._environment(folder),
                    seconds=self._seconds_for(tiles[0][0]),
                    memory_bytes=memory_mb << 20,
                    isolation=self._limits.isolation,
                ) as program,
            ):
                for name, later, (raw, core) in zip(names, [*names[1:], None], tiles, strict=True):
                    seconds = self._seconds_for(raw)
                    program.allow(seconds)
                    outcome = _until_whole(program, folder, later)
                    if outcome is None:
                        check_words(log, file)
                    else:
                        check_end(outcome, log, file, seconds, memory_mb)
                    shape = raw.shape[0], raw.shape[1], raw.shape[2]
                    output = _output(folder, name)
                    yield read_probabilities(output, _DATASET, shape, core, len(self.labels), log)

    def _fit(self, raw: NDArray[Any]) -> NDArray[Any]:
        """The tile as ilastik takes it; InputError if it has other channels than the classifier."""
        if raw.shape[3] != self._passport.channels:
            raise InputError(
                "the tile has other channels than the classifier",
                file=self._passport.path,
                expected=self._passport.channels,
                found=raw.shape[3],
            )
        if len(raw) == 1 and self._passport.spatial_axes == "zyx":
            # ilastik drops an axis of one voxel and then misses it. All scales are in 2D here, so
            # that a second slice changes nothing of the first.
            return np.repeat(raw, 2, axis=0)
        return raw

    def _seconds_for(self, raw: NDArray[Any]) -> float:
        return self._limits.seconds_for(raw[..., 0].size)

    def _axes(self, slices: int) -> str:
        """Of a tile, as ilastik has to see them: slices for a classifier of images are a series."""
        return "zyxc" if self._passport.spatial_axes == "zyx" else "tyxc" if slices > 1 else "yxc"

    def command(self, folder: Path, names: Sequence[str], axes: str = "zyxc") -> list[str]:
        """The command line for tiles of these names in ``folder``, as a list of arguments."""
        return [
            *self._program.argv,
            "--headless",
            "--readonly=1",
            f"--project={folder / 'project.ilp'}",
            f"--export_source=Probabilities{' Stage 2' if self._passport.first else ''}",
            "--export_dtype=float32",
            "--output_format=hdf5",
            f"--output_axis_order={axes.rjust(4, 'z')}",
            f"--output_filename_format={folder}/out-{{nickname}}.h5",
            f"--output_internal_path={_DATASET}",
            f"--input_axes={axes}",
            "--raw_data",
            *(f"{folder / name}.h5/data" for name in names),
        ]

    def _environment(self, folder: Path) -> dict[str, str]:
        threads = str(self._threads)
        return base_environment(folder) | {
            "LAZYFLOW_THREADS": threads,
            "LAZYFLOW_TOTAL_RAM_MB": str(_RAM_PER_THREAD_MB * self._threads),
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
        }

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """A private folder (mode 700), removed in the end with all that ilastik left there."""
        try:
            holder = tempfile.TemporaryDirectory(
                prefix="tbseg-ilastik-", dir=self._workdir, ignore_cleanup_errors=True
            )
        except OSError as error:
            raise ResourceError(
                "no temporary folder can be made",
                file=self._workdir or tempfile.gettempdir(),
                found=error.strerror,
                mend="set TMPDIR to a folder with space",
            ) from error
        with holder as name:
            folder = Path(name).resolve()
            if found := _SPECIAL.search(str(folder)):
                raise ConfigError(
                    "ilastik would misread the path of the temporary folder",
                    file=folder,
                    expected="a path without * ? [ ] { } : ~ and .h5",
                    found=found.group(),
                    mend="set TMPDIR to another folder",
                )
            yield folder

    def _write(self, folder: Path, tiles: Sequence[NDArray[Any]], axes: str) -> list[str]:
        """The project and the tiles, whose names these are; ResourceError if there is no room."""
        outputs = sum(raw[..., 0].size * 4 * len(self.labels) for raw in tiles)
        wanted = sum(raw.nbytes for raw in tiles) + len(self._project) + outputs + _SPARE_BYTES
        free = shutil.disk_usage(folder).free
        if free < wanted:
            raise _no_room(folder, f"{wanted} bytes", f"{free} bytes free")
        names = [f"raw{number:03d}" for number in range(len(tiles))]
        for name, raw in zip(names, tiles, strict=True):
            image = _tile_image(raw if len(axes) == raw.ndim else raw[0], axes)
            _put(folder / f"{name}.h5", image)
        _put(folder / "project.ilp", self._project)
        return names

    def _check_unchanged(self) -> None:
        """By the copy, which is what ilastik is given."""
        with self._folder() as folder:
            copy = folder / "project.ilp"
            _put(copy, self._project)
            check_unchanged(self._passport, read_passport(copy))

    @contextmanager
    def _log_kept(self, log: Path) -> Iterator[None]:
        """If the block raises, the log goes to the log folder; a full disk there is no matter."""
        try:
            yield
        except Exception:
            if folder := self._limits.log_folder:
                with suppress(OSError):
                    folder.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(log, folder / f"ilastik-{secrets.token_hex(6)}.log")
            raise


def _until_whole(program: Running, folder: Path, later: str | None) -> Outcome | None:
    """Wait until an output is whole: the ``later`` one is begun (None), or the program has ended.

    ilastik writes one output after the other.
    """
    if later is None:
        return program.wait()
    while not _output(folder, later).exists():
        outcome = program.look(_LOOK_SECONDS)
        if outcome is not None and not _output(folder, later).exists():
            return outcome
    return None


def _output(folder: Path, name: str) -> Path:
    """What ilastik writes for a tile, by its nickname: of the file, and then of the dataset."""
    return next(folder.glob(f"out-{name}*.h5"), folder / f"out-{name}.h5")


def _tile_image(raw: NDArray[Any], axes: str) -> bytes:
    """A file with the dataset "data" and its axistags, in chunks as ilastik reads it best."""
    tags = [
        {"key": axis, "typeFlags": 1 if axis == "c" else 2, "resolution": 0, "description": ""}
        for axis in axes
    ]

    def fill(file: h5py.File) -> None:
        chunks = (*(min(64, n) for n in raw.shape[:-1]), raw.shape[-1])
        data = file.create_dataset("data", data=raw, chunks=chunks)
        data.attrs["axistags"] = json.dumps({"axes": tags})

    return image_of(fill, LIBVER)


def _put(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise _no_room(path.parent, f"{len(data)} bytes", error.strerror) from error


def _no_room(folder: Path, expected: str, found: object) -> ResourceError:
    return ResourceError(
        "no room on the disk of the temporary folder",
        file=folder.parent,
        expected=expected,
        found=found,
        mend="free some space, or set TMPDIR to a folder with more",
    )
