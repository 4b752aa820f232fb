"""classify: K class arrays per tile by the classifier's own forest; each tile done exactly once."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import prod
from pathlib import Path

import h5py

from tbseg_ops.geometry import Box, Grid, Tile
from tbseg_ops.hdf5.image import content_of_arrays, count_not_finite, image_of, stamp
from tbseg_ops.run import Alone, RunFolder, Team, under_mpi
from tbseg_ops.run.done import own_content
from tbseg_ops.run.finish import Facts, Finished, Made, finish
from tbseg_ops.run.outputs import chunks_digest, create_outputs, raw_chunks
from tbseg_ops.run.piece import Piece
from tbseg_ops.run.prediction import (
    Prediction,
    earlier_prediction,
    is_known,
    predict,
    predict_all,
    shares,
    written,
)
from tbseg_ops.run.raw import SubVolume
from tbseg_ops.run.result import Progress, StepResult, silent, work_through
from tbseg_ops.run.workplace import Workplace
from tbseg_ops.steps.help import help_others
from tbseg_ops.steps.split import read_tile


def classify(
    *,
    run: Path,
    batch: int | None = None,
    tiles: tuple[str, ...] | None = None,
    again: bool = False,
    threads: int = 1,
    team: Team | None = None,
    progress: Progress = silent,
) -> StepResult:
    """Classify what is missing of a batch or of all tiles; anew the named ``tiles``, or ``again``.

    The result is the same bytes for any number of workers and ``threads`` (of the engine). After
    a batch of several tiles, those of others that work on a batch: see ``help_others``.
    """
    folder = RunFolder(run)
    wanted = [tile.index for tile in folder.tiles(batch, tiles)]
    place, force = Workplace(folder, threads), again or tiles is not None
    some = tile_shares(folder, wanted, team)
    do = partial(work_through, "classify", folder, some)
    if batch is None or force or under_mpi() or folder.plan.batch_size == 1:
        return do(partial(classify_share, place, force), team, progress, len(wanted))
    with place.batches.at_batch(batch):
        done = do(partial(_in_sight, place), team, progress, len(wanted))
    helped = help_others(place, _in_sight, team or Alone(), progress)
    return done.model_copy(update={"helped": helped or None})


def _in_sight(place: Workplace, indices: Sequence[int]) -> Iterator[Finished]:
    """The class files of some tiles; helpers see that they are being computed."""
    with place.batches.at_tiles(indices):
        yield from classify_share(place, False, indices)


def tile_shares(
    folder: RunFolder, indices: Sequence[int], team: Team | None
) -> list[Sequence[int]]:
    """Tiles of the grid as a worker is given them: see ``shares``."""
    plan, workers = folder.plan, 1 if team is None else team.workers
    return shares(plan, plan.spec.engine, indices, _largest(plan.grid), workers)


def _largest(grid: Grid) -> int:
    """No tile with its halo has more voxels."""
    sizes = zip(grid.core, grid.halo, grid.volume, strict=True)
    return prod(min(core + 2 * halo, n) for core, halo, n in sizes)


@dataclass(frozen=True)
class _Ahead:
    """Tiles that the engine is asked for together: their sub-volumes, and what it says of them."""

    parts: dict[int, SubVolume]
    answers: Iterator[tuple[int, Prediction]]

    def of(self, index: int) -> Prediction:
        """Asked for in the order of the parts; some may be passed over."""
        return next(prediction for at, prediction in self.answers if at == index)


def classify_share(place: Workplace, force: bool, indices: Sequence[int]) -> Iterator[Finished]:
    """The class files of some tiles, by their indices in the grid, each committed as it comes."""
    if len(indices) == 1:
        yield _classify(place, force, indices[0], None)
        return
    folder, parts = place.folder, {}
    for index in indices:
        tile = folder.plan.grid[index]
        part, piece = _piece(folder, tile)
        if force or not is_known(folder, piece):
            parts[index] = part or read_tile(folder, tile)[0]
    with closing(_answers(place, parts)) as answers:
        ahead = _Ahead(parts, answers)
        for index in indices:
            yield _classify(place, force, index, ahead)


def _answers(
    place: Workplace, parts: dict[int, SubVolume]
) -> Generator[tuple[int, Prediction], None, None]:
    plan = place.folder.plan
    wanted = [(part, _core(plan.grid[index])) for index, part in parts.items()]
    with closing(predict_all(plan, place.engine, wanted)) as predictions:
        yield from zip(parts, predictions, strict=True)


def _classify(place: Workplace, force: bool, index: int, ahead: _Ahead | None) -> Finished:
    folder = place.folder
    tile = folder.plan.grid[index]
    part, piece = _piece(folder, tile)
    if ahead is not None and index in ahead.parts:
        part = ahead.parts[index]
    else:
        ahead = None
    return finish(folder, piece, lambda: _make(place, force, tile, piece, part, ahead), force=force)


def _piece(folder: RunFolder, tile: Tile) -> tuple[SubVolume | None, Piece]:
    """The class file of a tile; and its sub-volume, if that had to be read to know it."""
    part, content = None, own_content(folder, tile)
    if content is None:
        part, content = read_tile(folder, tile)
    return part, folder.classes(tile, content)


def _core(tile: Tile) -> Box:
    return tile.core.relative_to(tile.box.lo)


def _make(
    place: Workplace,
    force: bool,
    tile: Tile,
    piece: Piece,
    part: SubVolume | None,
    ahead: _Ahead | None,
) -> Made:
    """``part``: the tile's sub-volume, if it has been read. ``ahead``: if the tile is in there."""
    folder, plan = place.folder, place.folder.plan
    earlier = None if force else earlier_prediction(folder, piece)
    if part is None and (earlier is None or plan.spec.output == "intensity"):
        part = read_tile(folder, tile)[0]
    core = _core(tile)
    raw = None if part is None else part.raw[core.slices]
    if earlier is None:
        assert part is not None
        one = predict(plan, place.engine, part, core) if ahead is None else ahead.of(tile.index)
        prediction, not_finite = one, count_not_finite(part.raw[core.slices])
    else:
        prediction, not_finite = earlier
    arrays, counts = written(plan, prediction, raw, tile.name)
    facts = Facts(content_of_arrays(arrays), "", counts, not_finite, piece.predicted)

    def fill(file: h5py.File) -> None:
        nonlocal facts
        create_outputs(file, plan, tile.core.shape)
        for name, array in arrays.items():
            file[name][...] = array
        file.flush()
        facts = replace(facts, chunks=chunks_digest(raw_chunks(file, plan, tile.core, (0, 0, 0))))
        stamp(file, key=piece.key, **asdict(facts))
        stamp(file, core=[tile.core.lo, tile.core.hi])

    image = image_of(fill)
    return Made(image, facts, derived=earlier is not None)
