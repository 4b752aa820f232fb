"""plan: read every slice once for its fingerprint, cut the volume into tiles, check the room."""

import os
from math import ceil, prod
from pathlib import Path

import numpy as np

from tbseg_ops.classifier import Passport, check_engine, read_passport
from tbseg_ops.errors import ConfigError, InputError, ResourceError
from tbseg_ops.geometry import Grid, Index, Tile
from tbseg_ops.run import Inputs, Plan, Record, Records, RunFolder, RunSpec
from tbseg_ops.run.commit import free_bytes, storage_errors, temporary
from tbseg_ops.run.plan import GridModel, slabs_of
from tbseg_ops.steps.inputs import read_inputs
from tbseg_ops.steps.merge import WHOLE, merge_key
from tbseg_ops.steps.result import Progress, silent
from tbseg_ops.volume import Source, open_source

_MOST_TILES = 1_000_000  # each has files and records of its own
_MOST_LABELS = 255  # labels are uint8, and 0 is no class
# Compressed size of a class or probability map as a share of its raw size; deliberately high.
_MASK_SHARE, _INTENSITY_SHARE, _PROBABILITY_SHARE = 0.1, 0.7, 0.4


def plan(*, spec: RunSpec, run: Path, update: bool = False, progress: Progress = silent) -> Plan:
    """Make (or make again) the plan of the run folder ``run``.

    The same spec and input give the same bytes. A folder of another spec is refused unless
    ``update``; what is already done and still right is recognised in either case.

    InputError: volume or classifier are unusable. ConfigError: the parameters are, or the folder
    belongs to another spec. ResourceError: the disk is too small.
    """
    folder = RunFolder(run)
    if not update:
        _refuse_other_spec(folder, spec)
    passport = read_passport(spec.classifier)
    with open_source(spec.volume) as source:
        passport.check_volume(source.info.shape, source.info.channels)
        engine_version = check_engine(spec.engine, passport)
        _check_classes(spec, passport)
        _check_writable(folder)
        inputs = read_inputs(source, spec.mask, progress)
        made = _plan(spec, source, passport, engine_version, inputs)
    _check_room(folder, made, inputs)
    with folder.planning():
        folder.store(made, inputs)
        folder.called_off_file.unlink(missing_ok=True)
    return made


def _plan(
    spec: RunSpec, source: Source, passport: Passport, engine_version: str, inputs: Inputs
) -> Plan:
    info = source.info
    grid = Grid.balanced(info.shape, spec.tile, passport.halo_for(info.shape))
    if len(grid) > _MOST_TILES:
        raise ConfigError(
            "the tiles are too small for this volume",
            expected=f"at most {_MOST_TILES:,} tiles",
            found=f"{len(grid):,} tiles of {grid.core} over {grid.volume} (z, y, x)",
            mend="choose larger tiles",
        )
    size = ceil(len(grid) / spec.max_batches)
    return Plan(
        spec=spec,
        volume=info,
        classifier=passport,
        engine_version=engine_version,
        inputs_digest=inputs.digest,
        grid_model=GridModel(volume=grid.volume, core=grid.core, chunk=grid.chunk, halo=grid.halo),
        slabs=slabs_of(info, np.dtype(info.dtype).itemsize),
        batch_size=size,
        batches=ceil(len(grid) / size),
        notes=(*source.warnings, *_grid_notes(spec.tile, grid)),
    )


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


def _check_writable(folder: RunFolder) -> None:
    with storage_errors(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
        if not os.access(folder.path, os.W_OK | os.X_OK):
            raise PermissionError(13, "no permission to write", str(folder.path))
        with temporary(folder.path / "probe") as probe:
            probe.touch(exist_ok=False)


def disk_needed(made: Plan) -> dict[str, int]:
    """Bytes that a run will take on disk, by kind; the compressed ones are estimates from above."""
    itemsize = np.dtype(made.volume.dtype).itemsize * made.volume.channels
    voxels = prod(made.volume.shape)
    halo = sum(tile.box.size for tile in _sample(made.grid)) / sum(
        tile.core.size for tile in _sample(made.grid)
    )
    labels = len(made.classifier.labels)
    classes = voxels * (labels + 1) * _MASK_SHARE
    if made.spec.output == "intensity":
        classes = voxels * (_MASK_SHARE + itemsize * _INTENSITY_SHARE)
    maps = len(made.probability_labels) * np.dtype(made.spec.probability_dtype).itemsize
    outputs = int(classes + voxels * maps * _PROBABILITY_SHARE)
    return {
        "volume": voxels * itemsize,
        "tiles": int(voxels * itemsize * halo) if made.spec.split == "copy" else 0,
        "classes": outputs,
        "segmentation": outputs,
    }


def _sample(grid: Grid) -> list[Tile]:
    return [grid[i] for i in range(0, len(grid), max(1, len(grid) // 1000))]


def _check_room(folder: RunFolder, made: Plan, inputs: Inputs) -> None:
    needed = disk_missing(folder, made, inputs)
    free = free_bytes(folder.path)
    if needed > free:
        raise ResourceError(
            "the disk is too small for this run",
            file=folder.path,
            expected=f"{needed / 1e9:.2f} GB free",
            found=f"{free / 1e9:.2f} GB free",
            mend="free some space, choose another run folder, "
            "or do without tile copies: --split virtual",
        )


def disk_missing(folder: RunFolder, made: Plan, inputs: Inputs) -> float:
    """Bytes that a run will still take on disk, by the estimates of ``disk_needed``."""
    missing = _missing(folder, made, inputs)
    return sum(size * missing[kind] for kind, size in disk_needed(made).items())


def _missing(folder: RunFolder, made: Plan, inputs: Inputs) -> dict[str, float]:
    """The share of each kind of file that this plan cannot take over from an earlier call."""
    ingest, split, classify = (folder.records(step) for step in ("ingest", "split", "classify"))
    slabs = [slab for slab in made.slabs if _has(ingest, slab.name, made.slab_key(inputs, slab))]
    tiles, classes = 0, []
    for tile in made.grid if split.names() else ():
        cut = _has(split, tile.name, made.split_key(inputs, tile))
        if cut is not None:
            tiles += 1
            done = _has(classify, tile.name, made.classify_key(cut.content, tile))
            classes += [done] if done is not None else []
    n = len(made.grid)
    merged = len(classes) == n and _has(folder.records("merge"), WHOLE, merge_key(made, classes))
    return {
        "volume": 1 - len(slabs) / len(made.slabs),
        "tiles": 1 - tiles / n,
        "classes": 1 - len(classes) / n,
        "segmentation": 0.0 if merged else 1.0,
    }


def _has(records: Records, name: str, key: str) -> Record | None:
    record = records.get(name)
    return record if record is not None and record.key == key else None
