"""classify: K class arrays per tile by the classifier's own forest; each tile done exactly once."""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import h5py

from tbseg_ops.geometry import Tile
from tbseg_ops.hdf5.image import content_of_arrays, count_not_finite, image_of, stamp
from tbseg_ops.run import RunFolder, Team
from tbseg_ops.run.done import own_content
from tbseg_ops.run.finish import Facts, Finished, Made, finish
from tbseg_ops.run.outputs import chunks_digest, create_outputs, raw_chunks
from tbseg_ops.run.piece import Piece
from tbseg_ops.run.prediction import earlier_prediction, predict, written
from tbseg_ops.run.raw import SubVolume
from tbseg_ops.run.result import Progress, StepResult, silent, work_through
from tbseg_ops.run.workplace import Workplace
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

    The result is the same bytes for any number of workers and ``threads`` (of the engine).
    """
    folder = RunFolder(run)
    wanted = [tile.index for tile in folder.tiles(batch, tiles)]
    work = partial(classify_tile, Workplace(folder, threads), again or tiles is not None)
    return work_through("classify", folder, wanted, work, team, progress)


def classify_tile(place: Workplace, force: bool, index: int) -> Finished:
    """The class file of one tile, by its index in the grid."""
    folder = place.folder
    tile = folder.plan.grid[index]
    part: SubVolume | None = None
    content = own_content(folder, tile)
    if content is None:
        part, content = read_tile(folder, tile)
    piece = folder.classes(tile, content)
    return finish(folder, piece, lambda: _make(place, force, tile, piece, part), force=force)


def _make(place: Workplace, force: bool, tile: Tile, piece: Piece, part: SubVolume | None) -> Made:
    """``part``: the tile's sub-volume, if it has been read already."""
    folder, plan = place.folder, place.folder.plan
    earlier = None if force else earlier_prediction(folder, piece)
    if part is None and (earlier is None or plan.spec.output == "intensity"):
        part = read_tile(folder, tile)[0]
    core = tile.core.relative_to(tile.box.lo)
    raw = None if part is None else part.raw[core.slices]
    if earlier is None:
        assert part is not None
        prediction = predict(plan, place.engine, part, core)
        not_finite = count_not_finite(part.raw[core.slices])
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
