"""How far a run is, how fast it goes, and when it will be done."""

from contextlib import suppress

from tbseg_ops.forecast.model import Forecast, Range, stored_forecast
from tbseg_ops.forecast.pace import Made, pace_of
from tbseg_ops.forecast.replay import Sample
from tbseg_ops.forecast.samples import work_of
from tbseg_ops.run.records import Step
from tbseg_ops.stored import Stored
from tbseg_ops.view.tiles import RunView, TileState


class Standing(Stored):
    """``done`` of ``total`` tiles, of those that were looked at: ``counted`` if all were.

    ``speed``: voxels a second of the latest tiles; ``left``: seconds until all tiles are
    classified, ``to_the_end``: and merged and verified, too, as forecast. ``latest``: when a tile
    was computed last, in seconds since 1970. Each None where it is not known.
    """

    done: int
    total: int
    counted: bool
    speed: float | None = None
    left: Range | None = None
    to_the_end: bool = False
    latest: float | None = None


def standing(view: RunView, seconds: float = 0.3) -> Standing:
    """How a run stands. Tiles are counted for so long: the next call goes on from there."""
    layers = view.progress(seconds=seconds)
    done = sum(layer["done"] or 0 for layer in layers)
    made = [one for state in view.known() if (one := _made(state)) is not None]
    pace, total = pace_of(made), len(view.folder.plan.grid)
    found = Standing(
        done=done,
        total=total,
        counted=all(layer["done"] is not None for layer in layers),
        speed=None if pace is None else pace.voxels_a_second,
        latest=max((one.end for one in made), default=None),
    )
    if done == total or not found.counted:
        return found
    forecast = stored_forecast(view.folder)
    missing = _missing(view, forecast, made, total - done)
    if pace is not None and pace.is_known:
        left = pace.time_for(missing)
    elif forecast is not None and forecast.tiles:
        left = forecast.of("classify").hours.times(3600 * missing / forecast.tiles)
    else:
        return found
    if forecast is not None:
        for step in _AFTER:
            left = left.plus(forecast.of(step).hours.times(3600))
    return found.model_copy(update={"left": left, "to_the_end": forecast is not None})


_AFTER: tuple[Step, ...] = ("merge", "verify")


def _missing(view: RunView, forecast: Forecast | None, made: list[Made], missing: int) -> int:
    """Tiles that are still to be computed: a forecast knows how many are taken over instead."""
    if forecast is None:
        return missing
    with suppress(OSError):
        since = view.folder.forecast_file.stat().st_mtime
        computed = forecast.tiles - sum(one.end > since for one in made)
        return min(missing, computed) if computed > 0 else missing
    return missing


def _made(state: TileState) -> Made | None:
    """None of what was not computed here, or not timed."""
    record, end = state.record, state.committed
    if record is None or end is None or record.seconds <= 0 or record.origin or record.derived:
        return None
    work = work_of(state.plan, state.tile)
    return Made(Sample(record.host, work, record.seconds), end, sum(record.counts))
