"""Calibration, forecast, and its comparison with what came, on small real runs."""

import json
import sys

import pytest
import typer

from tbseg_ops import forecast, steps
from tbseg_ops.cli import forecast as options
from tbseg_ops.forecast import Workforce
from tbseg_ops.forecast.model import Range, stored_forecast
from tbseg_ops.forecast.samples import work_of
from tbseg_ops.forecast.words import duration
from tbseg_ops.report.comparison import compared
from tbseg_ops.run import RunFolder
from tbseg_ops.steps.calibrate import chosen
from tests.runs import copied, last_json, planned, tbseg, through

TILES = 8


@pytest.fixture
def run(finished, tmp_path):
    """A finished run, a copy."""
    return copied(finished, tmp_path)


@pytest.fixture
def new(finished, tmp_path):
    """A planned run of the same slices."""
    planned(tmp_path / "new", finished / "slices")
    return tmp_path / "new"


def measured(run, seconds, host="a"):
    """Give records of classify these seconds, in grid order; the other tiles are undone."""
    folder = RunFolder(run)
    ledger = folder.records("classify")
    for tile, value in zip(folder.plan.grid, [*seconds, *[None] * TILES], strict=False):
        record = ledger.get(tile.name)
        if value is None:
            (run / record.file).unlink()
            ledger.drop(tile.name)
        else:
            ledger.put(record.model_copy(update={"seconds": value, "host": host}))
    return folder


def test_calibration_does_tiles_of_the_run_once(new):
    through(new, until="split")
    assert steps.calibrate(run=new, count=3).computed == 3
    again = steps.calibrate(run=new, count=3)
    assert (again.computed, again.reused) == (0, 3)
    plan = RunFolder(new).plan
    names = {plan.grid[index].name for index in chosen(plan, 3)}
    assert set(RunFolder(new).records("classify").names()) == names
    done = steps.classify(run=new)
    assert (done.computed, done.reused) == (TILES - 3, 3)


def test_shares_of_a_calibration_add_up(new):
    through(new, until="split")
    done = [steps.calibrate(run=new, count=4, part=(i, 3)).computed for i in range(3)]
    assert done == [2, 1, 1]


@pytest.mark.parametrize(("count", "tiles"), [(0, 0), (1, 0), (3, 3), (4, 4), (100, 4)])
def test_a_calibration_is_at_most_half_of_the_tiles(new, count, tiles):
    found = chosen(RunFolder(new).plan, count)
    assert len(found) == len(set(found)) == tiles


def test_the_time_of_a_calibrated_tile_is_its_own(new, monkeypatch):
    """Compiling and loading come before: each process does it once, outside of any record."""
    module = sys.modules["tbseg_ops.steps.calibrate"]
    through(new, until="split")
    order = []
    monkeypatch.setattr(module, "_warm_up", lambda *which: order.append("warm"))
    steps.calibrate(run=new, count=2, progress=lambda name, *_: order.append(name))
    assert order[0] == "warm"
    assert len(order) == 4


def test_nothing_measured(new):
    found = forecast.forecast(run=new, workforce=Workforce(2))
    classify = found.of("classify")
    assert (found.tiles, classify.pieces, found.basis) == (TILES, TILES, "no tile measured yet")
    assert classify.hours.high == pytest.approx(16 * classify.hours.low)
    assert [step.pieces for step in found.steps] == [1, TILES, TILES, 1, 1]
    assert found.disk.low < found.disk.expected < found.disk.high
    assert found.hours.expected == pytest.approx(sum(s.hours.expected for s in found.steps))
    stored = stored_forecast(RunFolder(new))
    assert stored == found


@pytest.mark.parametrize(
    ("seconds", "basis"),
    [([5], "one tile only"), ([5, 6], "2 tiles on 1 host"), ([5, 5, 6, 7], "4 tiles on 1 host")],
)
def test_measured_tiles(run, seconds, basis):
    """Their rate, for what is left, over the workers."""
    folder = measured(run, seconds)
    found = forecast.forecast(run=run, workforce=Workforce(1))
    grid = folder.plan.grid
    done = sum(work_of(folder.plan, grid[i]) for i in range(len(seconds)))
    left = sum(work_of(folder.plan, tile) for tile in grid) - done
    expected = sum(seconds) / done * left
    assert found.basis == basis
    assert found.tiles == TILES - len(seconds)
    assert found.of("classify").hours.expected * 3600 == pytest.approx(expected + 2, rel=0.01)
    # One batch to each of many workers; those of finished tiles cost their pause all the same.
    more = forecast.forecast(run=run, workforce=Workforce(100, pause=3.0, batches=True))
    each = expected / found.tiles + 3 + len(seconds) * 3 / 100
    assert more.of("classify").hours.expected * 3600 == pytest.approx(each, rel=0.02)


def test_workers_that_are_done_help(run):
    """Three batches of two tiles over two workers take no longer than six tiles do."""
    folder = measured(run, [5, 5])
    folder.store(folder.plan.in_batches(2), folder.inputs)
    hours = [
        forecast.forecast(run=run, workforce=Workforce(n, pause=0.0, batches=True)) for n in (1, 2)
    ]
    one, two = (found.of("classify").hours.expected * 3600 for found in hours)
    assert two == pytest.approx(one / 2, rel=0.1)  # with one of them idle: two thirds


def test_an_adopted_file_was_not_measured(run):
    measured(run, [0, 5, 7])
    assert forecast.forecast(run=run, workforce=Workforce(1)).basis == "2 tiles on 1 host"


def test_a_slow_host_counts_by_its_places(run):
    folder = measured(run, [1, 1, 1, 1])
    ledger = folder.records("classify")
    for tile in [folder.plan.grid[i] for i in (2, 3)]:
        ledger.put(ledger.get(tile.name).model_copy(update={"host": "b", "seconds": 9.0}))
    hours = {}
    for host in ("a", "b", "new"):
        workforce = Workforce(9, slots={host: 1}, batches=True)  # workers: what the slots are
        hours[host] = forecast.forecast(run=run, workforce=workforce).of("classify").hours
    assert hours["a"].expected < hours["new"].expected < hours["b"].expected
    assert hours["new"].high / hours["new"].low > hours["a"].high / hours["a"].low


def test_records_of_an_earlier_run_count(run, new):
    measured(run, [5] * TILES)
    found = forecast.forecast(
        run=new, workforce=Workforce(1), earlier=(new.parent / "nothing", run)
    )
    assert found.basis == "8 tiles on 1 host, records of run among them"
    assert found.of("classify").hours.expected * 3600 == pytest.approx(5 * TILES + 2, rel=0.01)
    assert [s.basis for s in found.steps if s.step == "merge"] == ["measured before"]


def test_a_run_with_another_classifier_says_nothing(run, new):
    measured(run, [5] * TILES)
    old = RunFolder(run)
    plan = json.loads(old.plan_file.read_text())
    plan["classifier"]["digest"], plan["seal"] = "0" * 64, ""
    old.plan_file.write_text(json.dumps(plan))
    found = forecast.forecast(run=new, workforce=Workforce(1), earlier=(run,))
    assert found.basis == "no tile measured yet"


def test_with_nothing_left_the_forecast_stays(run):
    """It is the one that the report compares."""
    measured(run, [5, 6])
    made = forecast.forecast(run=run, workforce=Workforce(1))
    through(run, until="classify")
    later = forecast.forecast(run=run, workforce=Workforce(1))
    assert (later.tiles, later.of("classify").hours.high) == (0, 0)
    assert stored_forecast(RunFolder(run)) == made
    again = forecast.forecast(run=run, workforce=Workforce(1), tiles=("z000_y000_x001",))
    assert again.tiles == 1
    assert stored_forecast(RunFolder(run)) == again


def test_sizes_are_those_of_the_measured_files(run):
    folder = measured(run, [5] * 4)
    records = [folder.records("classify").get(folder.plan.grid[i].name) for i in range(4)]
    found = forecast.forecast(run=run, workforce=Workforce(1))
    left = 1 - sum(folder.plan.grid[i].core.size for i in range(4)) / (37 * 45 * 53)
    whole = sum(r.size for r in records) / (1 - left)
    assert found.results.expected == pytest.approx(2 * whole, rel=0.01)
    assert found.results.low < 2 * whole < found.results.high


def test_the_report_compares(run):
    measured(run, [0.2] * 3)
    made = forecast.forecast(run=run, workforce=Workforce(1))
    through(run)
    folder = RunFolder(run)
    records = [folder.records("classify").get(tile.name) for tile in folder.plan.grid]
    hours, size = compared(folder, records)
    later = [r for r in records if r.host != "a"]
    assert len(later) == TILES - 3
    assert hours.forecast == made.of("classify").hours
    assert sum(r.seconds for r in later) <= hours.real * 3600 + 0.1
    assert hours.real * 3600 < 60
    sizes = sum(r.size for r in records) + folder.segmentation_file.stat().st_size
    assert size.real == sizes
    assert size.error == pytest.approx(100 * (made.results.expected / sizes - 1))
    page = folder.report_file.read_text()
    assert "Forecast and reality" in page
    assert "3 tiles on 1 host" in page


@pytest.mark.parametrize("damage", ["{", "", '{"schema_version": 2}'])
def test_no_forecast_that_can_be_read_is_none(run, damage):
    folder = RunFolder(run)
    assert stored_forecast(folder) is None
    folder.forecast_file.write_text(damage)
    assert stored_forecast(folder) is None
    steps.publish(run=run)
    assert "Forecast and reality" not in folder.report_file.read_text()


def test_a_forecast_of_another_plan_does_not_count(finished, run):
    forecast.forecast(run=run, workforce=Workforce(1))
    assert stored_forecast(RunFolder(run)) is not None
    planned_again = RunFolder(run).stored_spec().model_copy(update={"output": "intensity"})
    steps.plan(spec=planned_again, run=run, update=True)
    assert stored_forecast(RunFolder(run)) is None


def test_ranges_add_up():
    one, two = Range(low=8, expected=10, high=13), Range(low=7, expected=10, high=14)
    total = one.plus(two)
    assert (total.expected, total.high) == (20, 25)
    assert total.low == pytest.approx(20 - 13**0.5)
    assert total.plus(Range.exactly(5)).expected == 25
    assert Range.within(10, 2) == Range(low=5, expected=10, high=20)


def test_the_commands(new):
    through(new, until="split")
    done = last_json(tbseg("calibrate", "--run", new, "--count", 2, "--workers", 1, "--json"))
    assert (done["step"], done["computed"]) == ("calibrate", 2)
    found = last_json(
        tbseg("forecast", "--run", new, "--slots", "a=2", "--slots", "b=1", "--batches", "--json")
    )
    assert (found["workers"], found["tiles"], found["basis"]) == (3, 6, "2 tiles on 1 host")
    text = tbseg("forecast", "--run", new).stdout
    assert "2 tiles on 1 host" in text


@pytest.mark.parametrize("text", ["3/3", "1", "-1/2", "a/b", "", "1/2/3"])
def test_wrong_shares(text):
    with pytest.raises(typer.BadParameter, match="I/N"):
        options._part(text)


@pytest.mark.parametrize("text", ["a", "a=0", "=3", "a=b", "a=-1", "a="])
def test_wrong_slots(text):
    with pytest.raises(typer.BadParameter, match="HOST=N"):
        options._slots([text])


def test_slots_of_a_host_that_has_two_names_add_up():
    assert options._slots(["a=2", "b=1", "a=3"]) == {"a": 5, "b": 1}
    assert options._slots([]) is None


@pytest.mark.parametrize(
    ("hours", "text"),
    [(0, "0.0 s"), (0.01, "36.0 s"), (0.1, "6.0 min"), (3, "3.0 h"), (100, "4.2 d")],
)
def test_durations(hours, text):
    assert duration(hours) == text
