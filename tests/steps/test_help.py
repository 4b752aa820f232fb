"""Idle workers take tiles of others' batches: which, when not, and what comes of it."""

import pickle
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tbseg_ops import steps
from tbseg_ops.errors import InputError
from tbseg_ops.run import RunFolder, workplace
from tbseg_ops.run.batches import Batches
from tbseg_ops.run.finish import DifferentResultsError
from tbseg_ops.storage.alive import kernel
from tests.fleet import SleepingEngine, split_run, work
from tests.tiny import classifier

TILES = 4


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """A run of three batches of four tiles, split."""
    folder = tmp_path_factory.mktemp("help")
    return split_run(folder, classifier(folder), 3, TILES).parent


@pytest.fixture
def run(split, tmp_path, monkeypatch):
    monkeypatch.setattr(workplace, "load_engine", lambda *args, **more: SleepingEngine(0))
    return Path(shutil.copytree(split / "run", tmp_path / "run"))


@pytest.fixture
def said():
    return Said()


class Said(list):
    def __call__(self, piece, what, done, total):
        self.append(f"{piece}: {what.split(' ')[0]} ({done} of {total})")


def recorded(run):
    """The tiles that are classified, by batch: their places in it."""
    folder, done = RunFolder(run), RunFolder(run).records("classify").names()
    batches = map(folder.plan.batch, range(folder.plan.batches))
    return [[i for i, tile in enumerate(batch) if tile.name in done] for batch in batches]


def test_tiles_of_a_batch_at_work_from_its_end(run, said):
    batches, plan = Batches(RunFolder(run)), RunFolder(run).plan
    with batches.at_batch(1), batches.at_batch(2), batches.at_tiles([plan.batch(2)[0].index]):
        result = steps.classify(run=run, batch=0, progress=said)
    # What a task reports of its own batch does not change.
    assert (result.computed, result.reused, result.helped) == (TILES, 0, 7)
    names = [[tile.name for tile in plan.batch(number)] for number in range(3)]
    assert said == [
        *(f"{names[0][i]}: computed ({i + 1} of 4)" for i in range(4)),
        *(f"helps batch 1: {names[1][i]} ({4 - i} of 4)" for i in (3, 2, 1, 0)),
        *(f"helps batch 2: {names[2][i]} ({4 - i} of 4)" for i in (3, 2, 1)),
    ]
    assert recorded(run) == [[0, 1, 2, 3], [0, 1, 2, 3], [1, 2, 3]]
    done = steps.classify(run=run, batch=2)
    assert (done.computed, done.reused, done.helped) == (1, 3, None)


class Two:
    """A team of two, to whom all goes pickled, as to processes."""

    workers, is_root = 2, True

    def map(self, work, pieces, *, short=False):
        yield from (pickle.loads(pickle.dumps(work))(piece) for piece in pieces)


def test_workers_of_their_own_help(run, said):
    batches = Batches(RunFolder(run))
    with batches.at_batch(1), batches.at_batch(2):
        result = steps.classify(run=run, batch=0, team=Two(), progress=said)
    assert (result.computed, result.helped) == (TILES, 2 * TILES)
    assert recorded(run) == [[0, 1, 2, 3]] * 3


def test_not_while_a_batch_waits(run, said):
    with Batches(RunFolder(run)).at_batch(1):
        assert steps.classify(run=run, batch=0, progress=said).helped is None
    assert recorded(run) == [[0, 1, 2, 3], [], []]


def test_a_batch_that_failed_waits_again(run):
    with pytest.raises(InputError), Batches(RunFolder(run)).at_batch(2):
        raise InputError("a tile")
    test_not_while_a_batch_waits(run, Said())


@pytest.mark.parametrize("chosen", [{"batch": 0, "again": True}, {"tiles": ("z000_y000_x000",)}])
def test_a_redo_helps_nobody(run, chosen):
    batches = Batches(RunFolder(run))
    with batches.at_batch(0), batches.at_batch(1), batches.at_batch(2):
        assert steps.classify(run=run, **chosen).helped is None
    assert not any(recorded(run)[1:])


def test_nobody_helps_the_dead(run):
    """A batch whose process was killed waits in the queue, and its sign of life goes.

    The sign that is left on a tile keeps nobody from doing its batch.
    """
    folder = RunFolder(run)
    steps.classify(run=run, batch=1)
    dead = folder.path / "batches" / f".batch-2-{folder.plan.digest[:12]}.host.{kernel()}.1.a.tmp"
    of_tile = dead.with_name(dead.name.replace("batch-2", f"tile-{folder.plan.batch(2)[1].index}"))
    dead.touch()
    of_tile.touch()
    assert steps.classify(run=run, batch=0).helped is None
    assert not dead.exists()
    assert recorded(run)[2] == []
    assert steps.classify(run=run, batch=2).computed == TILES
    steps.merge(run=run)
    assert not of_tile.exists()


def failing(monkeypatch, first, error):
    """Tiles from the index ``first`` on fail."""
    module = sys.modules["tbseg_ops.steps.classify"]
    share = module.classify_share

    def fails(place, force, indices):
        if indices[0] >= first:
            raise error
        return share(place, force, indices)

    monkeypatch.setattr(module, "classify_share", fails)


def test_a_tile_of_others_that_fails_is_theirs(run, said, monkeypatch):
    failing(monkeypatch, TILES, InputError("the slice is torn", tile="one"))
    with ExitStack() as at_work:
        for number in (1, 2):
            at_work.enter_context(Batches(RunFolder(run)).at_batch(number))
        result = steps.classify(run=run, batch=0, progress=lambda *a: said.append(a))
    assert (result.computed, result.helped) == (TILES, None)
    assert said[-1] == ("helps no more", "the slice is torn; tile: one", 0, 0)
    assert not any(recorded(run)[1:])


@pytest.mark.parametrize("error", [DifferentResultsError("two results"), KeyboardInterrupt()])
def test_a_machine_that_computes_wrongly_and_a_cancel_are_told(run, monkeypatch, error):
    failing(monkeypatch, TILES, error)
    batches = Batches(RunFolder(run))
    with (
        pytest.raises(type(error)),
        batches.at_batch(1),
        batches.at_batch(2),
    ):
        steps.classify(run=run, batch=0)


def test_one_tile_is_no_batch(run):
    folder = RunFolder(run)
    folder.store(folder.plan.in_batches(1), folder.inputs)
    assert steps.classify(run=run, batch=0).helped is None
    assert not (run / "batches").exists()


def test_merging_ends_it(run):
    for number in range(3):
        steps.classify(run=run, batch=number)
    assert len(list((run / "batches").iterdir())) == 3
    steps.merge(run=run)
    assert not list((run / "batches").iterdir())


def test_hosts_of_different_speed_end_together(split, tmp_path, monkeypatch):
    """1x, 2x and 4x: what they make is what one host makes, byte for byte."""
    run, alone = (split_run(tmp_path / name, split / "tiny.ilp", 4, 8) for name in ("all", "one"))
    done, tiles = work(run, (0.4, 0.2, 0.1)), 32
    assert done.helped > 0, done.said
    assert tiles <= sum(done.asked) <= tiles + 3, done.said
    # About a tile of the slowest host; were he not helped, half of the time.
    assert done.seconds - min(done.ends) < 0.4 * done.seconds, done
    monkeypatch.setattr(workplace, "load_engine", lambda *args, **more: SleepingEngine(0))
    steps.classify(run=alone)
    for each in (run, alone):
        steps.merge(run=each)
    assert made(run) == made(alone)
    assert len(RunFolder(run).records("classify").names()) == tiles


def made(run):
    """The bytes of the class files and of the merged file."""
    files = [*(run / "classes").iterdir(), run / "segmentation.h5"]
    return {file.name: file.read_bytes() for file in files}
