"""Any life of a run folder: what is called right is right, and one repair makes it whole again.

Steps in any order, killed at any point of a commit, done again, under other plans; files damaged,
exchanged, of an earlier time or of another run; pieces taken over, removed by ``tbseg gc``.
``TBSEG_LIVES=1000 pytest tests/faults/test_life.py -m slow`` tries more of them.
"""

import os
import shutil
import signal
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tbseg_ops import datasets as registry
from tbseg_ops import steps
from tbseg_ops.errors import CalledOffError, ConfigError, TbsegError
from tbseg_ops.hdf5 import arms_length
from tbseg_ops.run import RunFolder
from tbseg_ops.run.cancellation import cancel, watch
from tbseg_ops.run.status import status
from tests.faults.forks import killed
from tests.faults.harm import HARMS, exchange, replace
from tests.faults.test_kill import POINTS
from tests.retention import add
from tests.runs import datasets, files_below, same, temporary_files, through
from tests.tiny import Tiny, quickly

STEPS = ("ingest", "split", "classify", "merge", "verify", "publish")
OF_TILES = ("split", "classify")
PLAN_FILES = {"spec.json", "plan.json", "inputs.json"}
SPECS = (
    {},
    {"split": "copy"},
    {"ingest": "refer"},
    {"name": "second"},
    {"name": "second", "split": "copy"},
    {"tile": (5, 9, 16)},
)
PARTS = ("", "z000_y000_x001", "slab", "volume", "plan", "segmentation", "json", "h5")
SECONDS = 60  # in which any step of such a run ends

specs = st.sampled_from(SPECS)
names = st.sampled_from(STEPS)
numbers = st.integers(0, 99)
shares = st.floats(0, 1, exclude_max=True)


def do(step, run, tiles=None):
    """A step as its command does it, also of one called off; what it returns."""
    watch_once(run)
    more = {} if tiles is None else {"tiles": tiles}
    return getattr(steps, step)(run=run, **more)


def watch_once(run):
    """CalledOffError if the run is called off; without the thread of ``watch``."""
    if RunFolder(run).called_off_file.exists():
        watch(run)


@contextmanager
def in_time():
    """An endless loop is a failure, and not an endless test."""

    def too_long(number, frame):
        raise AssertionError(f"not done after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Life(RuleBasedStateMachine):
    """The run is 0002 of a dataset; 0001 and 0003 are finished ones, of the other volume."""

    tiny: Tiny
    finished: Path

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=self.finished.parent))
        os.environ["TBSEG_DATASETS"] = str(self.folder / "registry")
        self.run, self.other = (self.folder / "runs" / n for n in ("0002", "0001"))
        shutil.copytree(self.finished, self.other)
        self.attic = self.folder / "attic"
        self.blind = set()  # files that were altered, where nobody need have noticed it yet
        self.hurt = set()  # files of the plan that were altered since it was made

    # What happens

    @initialize(spec=specs, until=st.sampled_from(("nothing", "plan", *STEPS)))
    def begin(self, spec, until):
        if until == "nothing":
            return
        steps.plan(spec=self.tiny.spec(**spec), run=self.run)
        if until != "plan":
            through(self.run, until=until)

    @rule(spec=specs, again=st.booleans(), earlier=st.booleans())
    def plan(self, spec, again, earlier):
        old = RunFolder(self.run).stored_plan()
        values = old.spec if again and old else self.tiny.spec(**spec)
        with self.refusals():
            self.plan_as(values, (self.other,) if earlier else ())

    def plan_as(self, spec, earlier=()):
        steps.plan(spec=spec, run=self.run, update=True, earlier=earlier)
        self.hurt.clear()
        assert RunFolder(self.run).inputs

    @rule(step=names)
    def all_of_a_step(self, step):
        with self.refusals():
            self.check_done(step, do(step, self.run))

    @rule(step=st.sampled_from(OF_TILES), number=numbers)
    def a_tile_again(self, step, number):
        with self.refusals():
            grid = RunFolder(self.run).plan.grid
            name = grid[number % len(grid)].name
            do(step, self.run, tiles=(name,))
            if step == "classify":
                self.check_tiles([name])

    @rule()
    def all_steps(self):
        with self.refusals():
            for step in STEPS:
                self.check_done(step, do(step, self.run))

    @rule(
        step=st.sampled_from(("plan", *STEPS, "repair")),
        point=st.sampled_from(POINTS),
        part=st.sampled_from(PARTS),
        spec=specs,
    )
    def kill_9(self, step, point, part, spec):
        def work():
            if step == "plan":
                steps.plan(spec=self.tiny.spec(**spec), run=self.run, update=True)
            else:
                do(step, self.run)

        if step == "plan":
            self.hurt |= PLAN_FILES

        def told():
            with suppress(TbsegError):
                work()

        ended = killed(told, f"{point}:{part}", self.folder / "flag")
        assert ended in (0, signal.SIGKILL)

    @rule(how=st.sampled_from(sorted(HARMS)), number=numbers, where=shares, elsewhere=st.booleans())
    def damage(self, how, number, where, elsewhere):
        path = self.chosen(self.other if elsewhere else self.run, number)
        if path is not None:
            HARMS[how](path, where)
            self.altered(path)

    @rule(one=numbers, two=numbers)
    def exchange(self, one, two):
        paths = self.chosen(self.run, one), self.chosen(self.run, two)
        if None not in paths and paths[0] != paths[1]:
            exchange(*paths)
            self.altered(*paths)

    @rule(one=numbers, two=numbers)
    def of_another_run(self, one, two):
        path, other = self.chosen(self.run, one), self.chosen(self.other, two)
        same_name = None if path is None else self.other / path.relative_to(self.run)
        if path is not None and other is not None:
            replace(path, same_name if same_name.is_file() else other)
            self.altered(path)

    @rule()
    def keep(self):
        """A copy of all as it is now."""
        if self.run.exists():
            shutil.rmtree(self.attic, ignore_errors=True)
            shutil.copytree(self.run, self.attic)

    @precondition(lambda self: self.attic.exists())
    @rule(number=numbers)
    def of_an_earlier_time(self, number):
        old = self.chosen(self.attic, number)
        path = self.run / old.relative_to(self.attic)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        shutil.copy(old, path)
        self.altered(path)

    @rule(kept=st.integers(1, 2), newer=st.booleans())
    def gc(self, kept, newer):
        third = self.folder / "runs" / "0003"
        if newer:
            shutil.copytree(self.finished, third)
        add(self.folder, self.tiny.slices["first"], keep_runs=kept)
        with self.refusals():
            registry.gc(name="brain", remove=True)
        shutil.rmtree(third, ignore_errors=True)

    @rule()
    def call_off(self):
        with self.refusals():
            cancel(self.run)
            with pytest.raises(CalledOffError):
                watch_once(self.run)

    @rule()
    def repair(self):
        with self.refusals():
            self.repaired()

    def repaired(self):
        watch_once(self.run)
        found = steps.repair(run=self.run)
        self.hurt.clear()
        assert steps.repair(run=self.run).damaged == ()
        if found.result is not None:
            steps.verify(run=self.run, deep=True)
            assert status(run=self.run).verified
            self.check_result()

    # What must be so

    @contextmanager
    def refusals(self):
        """An error that says what to do is an answer."""
        try:
            with in_time():
                yield
        except TbsegError as error:
            check_told(error)

    @invariant()
    def what_is_called_right_is_right(self):
        with self.refusals():
            found = status(run=self.run)
            folder = RunFolder(self.run)
            missing = {step.step: step.missing for step in found.steps}
            if found.verified and self.seen(folder.segmentation_file):
                self.check_result()
            if "classify" not in missing or found.verified:
                return
            done = [t.name for t in folder.plan.grid if t.name not in missing["classify"]]
            self.check_tiles([name for name in done if self.seen(self.class_file(name))])

    def check_done(self, step, result):
        """What a step that has succeeded says of the run."""
        merged = step == "merge" and (result.computed or self.seen(self.run / "segmentation.h5"))
        if step == "classify":
            self.check_tiles([tile.name for tile in RunFolder(self.run).plan.grid])
        elif merged or step in ("verify", "publish"):
            self.check_result()

    def check_result(self):
        assert same(datasets(self.run / "segmentation.h5"), self.right())

    def check_tiles(self, tiles):
        folder, right = RunFolder(self.run), self.right()["labels"]
        for name in tiles:
            core = folder.plan.grid.by_name(name).core
            assert np.array_equal(datasets(self.class_file(name))["labels"], right[core.slices])

    def class_file(self, name):
        return self.run / RunFolder(self.run).records("classify").get(name).file

    def right(self):
        """Of the volume that the run is planned for."""
        return self.tiny.right[Path(RunFolder(self.run).plan.spec.volume).name]

    def teardown(self):
        try:
            if self.run.exists():
                self.ends_well()
        finally:
            shutil.rmtree(self.folder)

    def ends_well(self):
        """One command, and the steps: all is right."""
        (self.run / "called-off").unlink(missing_ok=True)
        with in_time():
            try:
                self.repaired()
            except ConfigError as error:
                self.check_for_a_person(error)
                self.plan_as(self.tiny.spec())
                self.repaired()
            if (self.run / "pruned.json").exists():  # a run without some of its files is no harm
                self.plan_as(self.tiny.spec())
            through(self.run)
        self.check_result()
        assert status(run=self.run).verified
        assert steps.repair(run=self.run).damaged == ()
        left = temporary_files(self.run)
        assert [name for name in left if not name.startswith(".probe.")] == []  # for a day

    def check_for_a_person(self, error):
        """Only what gc has removed, or harm to several files of a plan, needs another plan."""
        pruned = (self.run / "pruned.json").exists()
        assert pruned or len(self.hurt) > 1 or not (self.run / "plan.json").exists()
        assert "plan" in error.mend

    # Files

    def chosen(self, run, number):
        """A file of a run by its number, if it has any; none that was set aside."""
        there = sorted(
            name
            for name in (files_below(run) if run.exists() else ())
            if ".set-aside-" not in name and not name.endswith((".tmp", ".lock"))
        )
        return run / there[number % len(there)] if there else None

    def altered(self, *paths):
        for path in paths:
            if path.name in PLAN_FILES:
                self.hurt.add(path.name)
            if path.exists():
                self.blind.add(identity(path))

    def seen(self, path):
        """Whether a file is as tbseg wrote it."""
        return identity(path) not in self.blind


def check_told(error):
    assert type(error) is not TbsegError
    assert error.mend


def identity(path):
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


@pytest.fixture
def life(tmp_path, monkeypatch):
    """Its class, with what all lives have in common."""
    monkeypatch.setattr(arms_length, "_SECONDS", 2.0)
    monkeypatch.setenv("TBSEG_DATASETS", "")  # set back in the end
    with quickly():
        Life.tiny, Life.finished = Tiny(tmp_path), tmp_path / "finished"
        steps.plan(spec=Life.tiny.spec("second"), run=Life.finished)
        through(Life.finished)
        yield Life


def test_some_lives(life):
    quick = settings(
        max_examples=7,
        stateful_step_count=9,
        phases=(Phase.generate,),  # the lives are short, and shrinking takes longer than trying
        derandomize=True,
        database=None,
    )
    run_state_machine_as_test(life, settings=quick)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_many_lives(life):
    many = settings(
        max_examples=int(os.environ.get("TBSEG_LIVES", "200")),
        stateful_step_count=16,
        phases=(Phase.generate,),
        report_multiple_bugs=False,
        database=None,
    )
    run_state_machine_as_test(life, settings=many)
