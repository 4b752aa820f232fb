"""plan: read every slice once for its fingerprint, cut the volume into tiles, check the room."""

from contextlib import suppress
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np

from tbseg_ops.classifier import Passport, read_passport
from tbseg_ops.engines import check_engine
from tbseg_ops.errors import ConfigError, InputError, ResourceError
from tbseg_ops.forecast.batches import batch_size
from tbseg_ops.forecast.crowd import crowd_notes
from tbseg_ops.forecast.disk import disk_missing
from tbseg_ops.geometry import Box, Grid, Index
from tbseg_ops.run import Inputs, Plan, RunFolder, RunSpec
from tbseg_ops.run.fit import input_warnings
from tbseg_ops.run.inputs import Look, mask_of, read_inputs, read_slices
from tbseg_ops.run.plan import GridModel, slabs_of
from tbseg_ops.run.referred import Seen, seen_in
from tbseg_ops.run.removed import revive
from tbseg_ops.run.result import Progress, silent
from tbseg_ops.run.work_left import WorkLeft, work_left
from tbseg_ops.steps.ingest import put_seen
from tbseg_ops.storage.commit import free_bytes
from tbseg_ops.storage.locks import locked
from tbseg_ops.storage.place import check_place
from tbseg_ops.storage.stale import once_more
from tbseg_ops.volume import Source, open_source
from tbseg_ops.volume.sample import sample
from tbseg_ops.volume.source import VOXEL_TYPES

_MOST_TILES = 1_000_000  # each has files and records of its own
_MOST_LABELS = 255  # labels are uint8, and 0 is no class


def plan(
    *,
    spec: RunSpec,
    run: Path,
    update: bool = False,
    earlier: tuple[Path, ...] = (),
    places: int | None = None,
    task_seconds: float = 0.0,
    progress: Progress = silent,
) -> Plan:
    """Make (or make again) the plan of the run folder ``run``.

    The same spec, input and earlier runs give the same bytes. A folder of another spec is refused
    unless ``update``; what is already done and still right is recognised in either case.
    ``earlier``: folders of runs from which finished pieces are taken over, the best one first.
    ``places``: how many batches will be worked on at once, if a scheduler works on them; each then
    has about ``task_seconds`` of work. Without it a batch is one tile, if they are not too many.

    InputError: volume or classifier are unusable. ConfigError: the parameters are, or the folder
    belongs to another spec, or an earlier one is no run. ResourceError: the disk is too small.
    """
    folder = RunFolder(run)
    if not update:
        _refuse_other_spec(folder, spec)
    _refuse_other_folder(folder)
    before, called_off = folder.stored_plan(), _identity(folder.called_off_file)
    future, seen = _drafted(spec=spec, run=run, earlier=earlier, progress=progress)
    if places is not None:
        size = batch_size(future.plan, places, task_seconds)
        future = future.under(future.plan.in_batches(size), future.inputs)
    _check_room(future, work_left(future, before))
    with locked(folder.path):  # against other planners of this folder
        revive(folder)
        folder.store(future.plan, future.inputs)
        if _identity(folder.called_off_file) == called_off:  # else it was called off meanwhile
            folder.called_off_file.unlink(missing_ok=True)
    put_seen(future, seen)
    return future.plan


def _identity(file: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        found = file.stat()
        return found.st_ino, found.st_mtime_ns
    return None


def draft(
    *, spec: RunSpec, run: Path, earlier: tuple[Path, ...] = (), progress: Progress = silent
) -> RunFolder:
    """The run folder with the plan that ``plan`` would make; nothing but a probe is written."""
    return _drafted(spec=spec, run=run, earlier=earlier, progress=progress)[0]


def _drafted(
    *, spec: RunSpec, run: Path, earlier: tuple[Path, ...], progress: Progress
) -> tuple[RunFolder, dict[str, Seen]]:
    """The same, and what slabs that refer to the slices record, by name."""
    folder = RunFolder(run)
    seen: dict[str, Seen] = {}
    passport = once_more(read_passport, spec.classifier)
    with once_more(open_source, spec.volume, spec) as source:
        passport.check_volume(source.info.shape, source.info.channels)
        engine_version = check_engine(spec.engine, passport)
        _check_classes(spec, passport)
        check_place(folder.path)
        info, refers = source.info, _refers(spec, source)
        part, look = read_slices(spec, passport, info), None
        slabs = slabs_of(info, VOXEL_TYPES[info.dtype], *part)
        if refers and spec.mask is None:  # else ingest has to read, too: slabs hold the mask
            read = spec.part(info.shape).grown(passport.halo_for(info.shape), info.shape)
            look = Look(
                slabs, lambda slab, found: seen.update({slab.name: seen_in(found, read, slab)})
            )
        with once_more(mask_of, spec, info.shape) as mask:
            inputs = read_inputs(source, mask, progress, part, look)
            made = _plan(spec, source, passport, engine_version, inputs, folder, earlier)
            made = made.model_copy(
                update={
                    "refers": refers,
                    "notes": (
                        *made.notes,
                        *crowd_notes(made),
                        *(mask.warnings if mask is not None else ()),
                    ),
                }
            )
    return folder.under(made, inputs), seen


def _refers(spec: RunSpec, source: Source) -> bool:
    """Whether the run refers to its slices. InputError if it should, and they do not allow it."""
    if spec.ingest == "refer" and not source.is_plain:
        raise InputError(
            "a run cannot refer to this volume",
            file=spec.volume,
            expected="TIFF slices, or one file of them: not compressed, pixels of a slice in one"
            " piece and of the type that is classified, one byte order, no channel left out",
            mend="give --ingest auto: the run has a copy then",
        )
    return source.is_plain and spec.ingest != "copy"


def _plan(
    spec: RunSpec,
    source: Source,
    passport: Passport,
    engine_version: str,
    inputs: Inputs,
    folder: RunFolder,
    earlier: tuple[Path, ...],
) -> Plan:
    info = source.info
    runs = [_earlier_run(path) for path in earlier]
    olds = [old for run in (folder, *runs) if (old := run.stored_plan()) is not None]
    part = spec.part(info.shape)
    grid = _grid(spec, info.shape, part, passport, olds)
    if len(grid) > _MOST_TILES:
        raise ConfigError(
            "the tiles are too small for this volume",
            expected=f"at most {_MOST_TILES:,} tiles",
            found=f"{len(grid):,} tiles of {grid.core} over {grid.volume} (z, y, x)",
            mend=f"choose larger tiles, such as --tile {_larger(grid)}",
        )
    return Plan(
        spec=spec,
        volume=info,
        classifier=passport,
        engine_version=engine_version,
        inputs_digest=inputs.digest,
        grid_model=GridModel(volume=grid.volume, core=grid.core, chunk=grid.chunk, halo=grid.halo),
        slabs=slabs_of(info, np.dtype(info.dtype).itemsize, *read_slices(spec, passport, info)),
        batch_size=1,
        batches=len(grid),
        notes=(
            *source.warnings,
            *passport.notes_for(info.shape),
            *_part_notes(spec, part, info.shape),
            *_grid_notes(spec.tile, grid),
        ),
        earlier=tuple(str(run.path) for run in runs),
        warnings=input_warnings(passport, info, sample(source)),
    ).in_batches(ceil(len(grid) / spec.max_batches))


def _larger(grid: Grid) -> str:
    """A tile of the same form, of which there are not too many."""
    times = ceil((len(grid) / _MOST_TILES) ** (1 / 3)) + 1
    return ",".join(
        str(min(n * times, whole)) for n, whole in zip(grid.core, grid.volume, strict=True)
    )


def _earlier_run(path: Path) -> RunFolder:
    run = RunFolder(path)
    if not run.plan_file.is_file():
        raise ConfigError(
            "the earlier run is not the folder of a planned run",
            file=run.plan_file,
            expected="a file made by tbseg plan",
            found="no such file",
            mend="correct --earlier, or leave it out",
        )
    return run


def _grid(spec: RunSpec, shape: Index, part: Box, passport: Passport, olds: list[Plan]) -> Grid:
    """The tiles: those of an earlier plan where they suit, so that their results can be kept."""
    halo, least = passport.halo_for(shape), passport.minimum_side_for(shape)
    for old in olds:
        if (old.spec.tile, old.spec.box, old.grid.halo) == (spec.tile, spec.box, halo):
            grid = old.grid.over(part.shape, spec.tile)
            if grid is not None:
                grid = replace(grid, origin=part.lo, whole=shape)
                if grid[len(grid) - 1].box.shape[0] >= least[0]:
                    return grid
    return replace(Grid.balanced(part.shape, spec.tile, halo), origin=part.lo, whole=shape)


def _part_notes(spec: RunSpec, part: Box, shape: Index) -> list[str]:
    if spec.box is None:
        return []
    ranges = ", ".join(
        f"{axis} {low}:{high} of {n}"
        for axis, low, high, n in zip("zyx", part.lo, part.hi, shape, strict=True)
    )
    return [f"only a part of the volume is classified ({ranges}), with what lies around it"]


def _grid_notes(tile: Index, grid: Grid) -> list[str]:
    notes = []
    for axis, wanted, core, n, count in zip(
        "zyx", tile, grid.core, grid.volume, grid.counts, strict=True
    ):
        last = n - (count - 1) * core
        if core != min(wanted, n) or last != core:
            cores = f"{count} x {core}" if last == core else f"{count - 1} x {core} and {last}"
            notes.append(f"{axis}: tiles of {wanted} over {n} voxels are balanced to {cores}")
    return notes


def _refuse_other_spec(folder: RunFolder, spec: RunSpec) -> None:
    stored = folder.stored_spec()
    if stored is None or stored == spec:
        return
    old, new = stored.model_dump(), spec.model_dump()
    differing = [name for name in new if new[name] != old[name]]
    raise ConfigError(
        "the run folder belongs to a run with other parameters",
        file=folder.spec_file,
        expected="; ".join(f"{name} = {old[name]}" for name in differing),
        found="; ".join(f"{name} = {new[name]}" for name in differing),
        mend="choose a new run folder, or give --update to change this run: "
        "what does not depend on the change is kept",
    )


def _refuse_other_folder(folder: RunFolder) -> None:
    """A folder with somebody's files is not filled with those of a run."""
    if not folder.path.is_dir() or folder.spec_file.exists() or folder.inputs_file.exists():
        return
    ours = ("jobs", "records", "batches", "volume", "tiles", "classes")
    known = {*ours, folder.called_off_file.name}
    names = {entry.name for entry in folder.path.iterdir() if not entry.name.startswith(".")}
    if others := sorted(names - known):
        raise ConfigError(
            "the folder is not empty, and no run",
            file=folder.path,
            expected="a new folder, an empty one, or that of a run",
            found=", ".join(others[:5]) + (", ..." if len(others) > 5 else ""),
            mend=f"choose another run folder, such as {RunFolder(folder.path / 'run').quoted}",
        )


def _check_classes(spec: RunSpec, passport: Passport) -> None:
    if len(passport.labels) > _MOST_LABELS:
        raise InputError(
            "the classifier has more classes than a label image can name",
            file=spec.classifier,
            expected=f"at most {_MOST_LABELS}",
            found=len(passport.labels),
            mend="train with fewer classes",
        )
    wanted = spec.wanted_probabilities(passport.labels)
    if wanted and spec.probability_dtype == "uint8" and not passport.percent_exact:
        raise InputError(
            "the probabilities of this classifier are not whole percents: uint8 would lose some",
            file=spec.classifier,
            expected="every probability k/100",
            found=f"{passport.trees} trees, or leaves with several classes",
            mend="use --probability-dtype float32",
        )


def _check_room(folder: RunFolder, left: WorkLeft) -> None:
    needed, spec = disk_missing(folder.plan, left), folder.plan.spec
    free = free_bytes(folder.path)
    if needed > free:
        raise ResourceError(
            "the disk is too small for this run",
            file=folder.path,
            expected=f"{needed / 1e9:.2f} GB free",
            found=f"{free / 1e9:.2f} GB free",
            mend="free some space, or choose another run folder"
            + ("" if spec.split == "virtual" else ", or do without tile copies: --split virtual"),
        )
