"""The operator: what it runs, what it reports, and which failures are tried again."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

pytestmark = pytest.mark.filterwarnings("ignore")  # of Airflow's own imports


@pytest.fixture
def step(monkeypatch):
    """Makes a step whose program is a Python text instead of tbseg."""
    from tbseg_airflow.backends.local import LocalBackend
    from tbseg_airflow.operators import step as module

    texts = []

    class Fake(LocalBackend):
        def submit(self, arguments):
            return super().submit([sys.executable, "-c", texts[-1], *arguments])

    monkeypatch.setattr(module, "LocalBackend", Fake)

    def make(text, **values):
        texts.append(text)
        return module.TbsegStep(**{"task_id": "t", "step": "classify", "run_dir": "/run"} | values)

    return make


def context(**ti):
    """As much of Airflow's context as the operator looks at."""
    ti = {"task_id": "t", "dag_id": "d", "run_id": "r", "map_index": -1, "max_tries": 0} | ti
    return {"ti": SimpleNamespace(**ti), "dag_run": SimpleNamespace(clear_number=0, conf={})}


REPORT = "import json\nprint(json.dumps({'computed': 2, 'tiles': ['a'], 'file': None, 'on': True}))"


def test_the_result_is_small_and_says_where_it_ran(step):
    result = step(REPORT).execute(context())
    assert result == {
        "computed": 2,
        "file": None,
        "on": True,
        "instance": "t",
        "clear_number": 0,
    }


@pytest.mark.parametrize(
    ("values", "last"),
    [
        ({}, []),
        ({"options": ["--threads=2", ""]}, ["--threads=2"]),
        ({"what": 0}, ["--batch=0"]),
        ({"what": 7, "options": ["--workers=1"]}, ["--workers=1", "--batch=7"]),
        ({"what": "z0_y0_x0"}, ["--tiles=z0_y0_x0"]),
    ],
)
def test_the_command(step, values, last):
    expected = ["tbseg", "classify", "--run=/run", "--json", *last]
    assert step(REPORT, **values).command(context(map_index=0)) == expected


def test_a_batch_that_was_chosen_again_is_forced(step, monkeypatch):
    from tbseg_airflow.operators import step as module

    made = step(REPORT, what=7)
    monkeypatch.setattr(module, "chosen_again", lambda *arguments: True)
    assert made.command(context())[-2:] == ["--batch=7", "--again"]
    assert step(REPORT, what="z000_y000_x007").command(context())[-1] == "--tiles=z000_y000_x007"


def test_title_of_a_plan_that_cannot_be_read(step):
    assert step(REPORT, what=3).title == "batch 3"
    assert step(REPORT, what="z000_y000_x001").title == "z000_y000_x001"


MESSAGE = "slices are missing\n  file: /data\n  expected: 40\n  found: 39"
FAILS = (
    "import sys\n"
    "print('warning: before', file=sys.stderr)\n"
    f"print({'error: ' + MESSAGE!r}, file=sys.stderr)\n"
    "sys.exit({code})"
)


@pytest.mark.parametrize(
    ("code", "again"),
    [
        (65, False),  # input
        (78, False),  # settings
        (70, False),  # a defect
        (2, False),  # usage
        (127, False),  # no such program
        (75, True),  # disk, memory, a host
        (74, True),  # something damaged
        (1, True),  # the interpreter died
        (143, True),  # SIGTERM
    ],
)
def test_exit_codes(step, code, again):
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(Exception, match="slices are missing") as caught:
        step(FAILS.replace("{code}", str(code))).call(["tbseg"])
    assert isinstance(caught.value, AirflowFailException) is not again
    assert str(caught.value) == MESSAGE


@pytest.mark.parametrize(
    ("code", "kind", "again"),
    [
        (65, "InputError", False),
        (75, "ResourceError", True),
        (1, "ConfigError", False),  # mpiexec and srun have exit codes of their own
        (1, "IntegrityError", True),
        (2, "UsageError", False),
    ],
)
def test_the_object_of_an_error_counts_more_than_text_and_code(step, code, kind, again):
    from airflow.sdk.exceptions import AirflowFailException

    from tbseg_ops import errors

    error = getattr(errors, kind)("slices are missing", file="/data", expected=40, found=39)
    text = FAILS.replace("slices are", "mpiexec: something else is").replace("{code}", str(code))
    with pytest.raises(Exception, match="slices are missing") as caught:
        step(f"print({error.to_json()!r})\n{text}").call(["tbseg"])
    assert isinstance(caught.value, AirflowFailException) is not again
    assert str(caught.value) == MESSAGE


@pytest.mark.parametrize("line", ['{"error": "x"}', '{"error": {"what": "x"}}', '{"error": null}'])
def test_what_only_looks_like_an_error_object_is_none(step, line):
    with pytest.raises(Exception, match="slices are missing") as caught:
        step(f"print({line!r})\n{FAILS.replace('{code}', '65')}").call(["tbseg"])
    assert str(caught.value) == MESSAGE


# As Airflow does it: supervisor.py sets up the log, task_runner.py logs what ended the task.
RUNNER = """
import os, sys
from airflow.sdk.log import configure_logging
configure_logging(json_output=True, output=os.fdopen(1, "wb", buffering=0),
                  sending_to_supervisor=True)
from airflow.sdk.execution_time import task_runner
from tbseg_airflow.backends.local import LocalBackend
from tbseg_airflow.operators import step
class Fake(LocalBackend):
    def submit(self, arguments):
        return super().submit([sys.executable, "-c", sys.argv[1]])
step.LocalBackend = Fake
made = step.TbsegStep(task_id="t", step="classify", run_dir="/run", backend=sys.argv[2])
made.pre_execute({})
try:
    made.execute({"ti": None})
except Exception:
    task_runner.log.exception("Task failed with exception")
try:
    1 / 0
except Exception:
    task_runner.log.exception("Task failed with exception")
"""


def ended(text, backend="local"):
    """What of the log says why a task failed, and what a defect of an operator leaves there."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUNNER, text, backend],
        capture_output=True, text=True, check=True, timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    *lines, defect = map(json.loads, done.stdout.splitlines())
    assert defect["error_detail" if "error_detail" in defect else "exception"], defect
    assert not [line for line in lines if line.keys() & {"error_detail", "exception", "exc_info"}]
    return [line["event"] for line in lines if line["level"] == "error"]


def test_the_log_has_the_message_once_and_no_traceback():
    from tbseg_ops.errors import InputError

    error = InputError("slices are missing", file="/data", expected=40, found=39)
    said = [*f"error: {MESSAGE}".splitlines(), "the task failed: see above"]
    assert ended(f"print({error.to_json()!r})\n{FAILS.replace('{code}', '65')}") == said
    assert ended(FAILS.replace("{code}", "65")) == said
    assert ended("import os\nos.kill(os.getpid(), 9)") == [
        "error: tbseg classify was ended by SIGKILL without saying why"
    ]
    (nothing_ran,) = ended("", "elsewhere")
    assert nothing_ran.startswith("error: there is no such backend\n  expected: local, ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import os\nos.kill(os.getpid(), 9)", "tbseg classify was ended by SIGKILL without"),
        ("import sys\nsys.exit(137)", "was ended by SIGKILL"),
        ("import sys\nsys.exit(75)", "ended with exit code 75"),
        ("import sys\nprint('a line', file=sys.stderr)\nsys.exit(3)", "ended with exit code 3"),
        ("raise ZeroDivisionError('of all things')", "^ZeroDivisionError: of all things$"),
        ("print('well')", "ended well but printed no result"),
        ("print('[1]')\nprint('{broken')", "ended well but printed no result"),
    ],
)
def test_failures_that_say_nothing_are_tried_again(step, text, message):
    from tbseg_airflow.outcome import StepFailed

    with pytest.raises(StepFailed, match=message):
        step(text).call(["tbseg"])


def test_a_missing_program_is_not_tried_again(monkeypatch):
    from tbseg_airflow.operators.step import TbsegStep
    from tbseg_airflow.outcome import StepRefused

    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StepRefused, match="tbseg is not installed"):
        TbsegStep(task_id="t", step="classify", run_dir="/run").call(["tbseg", "classify"])


def logged(capsys):
    """(level, text) of what went to the task's log."""
    return re.findall(r"\[(\w+) *\] (.*?) +\[airflow\.task", capsys.readouterr().out)


def test_output_is_logged_with_its_level(step, capsys):
    lines = ["classify z000: done", "warning: nearly full", "error: full", "  mend: x"]
    with pytest.raises(Exception, match="full"):
        step(f"import sys\nfor line in {lines}: print(line, file=sys.stderr)\nsys.exit(75)").call(
            ["tbseg", "a b"]
        )
    assert logged(capsys) == [
        ("info", "$ tbseg 'a b'"),
        ("info", "classify z000: done"),
        ("warning", "warning: nearly full"),
        ("error", "error: full"),
        ("error", "  mend: x"),
    ]


def test_the_result_is_logged_for_people(step, capsys):
    step("print('before')\n" + REPORT.replace("'on'", "'notes': ['mind'], 'on'")).call(["tbseg"])
    assert logged(capsys) == [
        ("info", "$ tbseg"),
        ("info", "before"),
        ("warning", "note: mind"),
        ("info", "done: computed 2, on True"),
    ]


def test_on_kill_ends_the_command(step, monkeypatch):
    """As Airflow does it: on_kill is called from a signal handler while the command runs."""
    from tbseg_airflow.outcome import StepFailed

    made = step("import time, os\nprint(os.getpid(), flush=True)\ntime.sleep(60)")
    pids = []
    monkeypatch.setattr(
        "tbseg_airflow.transcript.Transcript.add",
        lambda self, line: (
            pids.append(int(line.text)) or signal.setitimer(signal.ITIMER_REAL, 0.05)
        ),
    )
    previous = signal.signal(signal.SIGALRM, lambda number, frame: made.on_kill())
    try:
        with pytest.raises(StepFailed, match="was ended by SIGTERM"):
            made.call(["tbseg"])
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert not psutil.pid_exists(pids[0])


def test_on_kill_before_anything_runs(step):
    step(REPORT).on_kill()


@pytest.mark.parametrize(
    ("run", "params", "uri"),
    [
        ("/data/brain7-vessels", {}, "tbseg://data/brain7-vessels/segmentation"),
        (
            "/data/mouse 3/\N{GREEK SMALL LETTER MU}#1",
            {"dataset": None},
            "tbseg://mouse%203/%CE%BC%231/segmentation",
        ),
        ("/run", {"dataset": ""}, "tbseg://run/segmentation"),
        ("/data/runs/0007", {"dataset": "brain7.a"}, "tbseg://brain7.a/segmentation"),
    ],
)
def test_an_asset_event_is_announced(step, run, params, uri):
    from airflow.sdk import AssetAlias

    added = []
    events = SimpleNamespace(add=lambda asset, extra: added.append((asset, extra)))
    alias = AssetAlias("tbseg")
    published = "import json\nprint(json.dumps({'file': 'r', 'digest': 'd', 'result': 's'}))"
    made = step(published, outlets=[alias], run_dir=run)
    made.execute(context() | {"outlet_events": {alias: events}, "params": params})
    ((asset, extra),) = added
    assert asset.uri == uri
    assert asset.name == uri.removeprefix("tbseg://")
    found = {key: extra[key] for key in ("run", "report", "file", "digest", "result")}
    assert found == {"run": run, "report": "r", "file": "r", "digest": "d", "result": "s"}
    json.dumps(extra)


def params(**changes):
    """The form's values."""
    return {
        "dataset": None,
        "volume": "/v",
        "classifier": "/c.ilp",
        "run": None,
        "tile": "8,8,8",
        "split": "copy",
        "engine": "native",
        "output": "mask",
        "probabilities": "vessel,axon",
        "probability_dtype": "uint8",
        "mask": None,
        "only_tiles": None,
        "update": False,
        "backend": "kubernetes",
        "task_seconds": 45.0,
    } | changes


@pytest.fixture
def plan(monkeypatch):
    """Runs a plan step; gives its commands, its result and what it pushed."""
    from tbseg_airflow.operators import plan as module

    variables = {}
    monkeypatch.setattr(module.Variable, "get", lambda name, default: variables.get(name, default))
    monkeypatch.setattr(module.TbsegPlan, "_check_owner", lambda self, params: None)
    report = {"run": "/r", "tiles": 9, "batches": 3, "publish": [], "labels": ["a"], "notes": []}

    def run(conf=(), **changes):
        made = module.TbsegPlan(task_id="plan", home="/home")
        commands, pushed = [], {}
        made.call = lambda command: commands.append(command) or report
        values = context(xcom_push=pushed.__setitem__)
        values["dag"] = SimpleNamespace(params=params())
        values["dag_run"].conf = {key: params(**changes).get(key) for key in conf}
        # As Airflow does: the conf is merged into the form's values, unknown keys too.
        values["params"] = params(**changes) | values["dag_run"].conf
        return made.execute(values), commands, pushed

    run.variables, run.report = variables, report
    return run


def test_warnings_are_warnings_in_the_log(step, plan, capsys):
    text = 'print(\'{"computed": 1, "warnings": ["100 % are above"]}\')'
    assert "warnings" not in step(text).execute(context())
    plan.report["warnings"] = ["all are below"]
    plan()
    found = [text for level, text in logged(capsys) if level == "warning" and " are " in text]
    assert found == ["100 % are above", "all are below"]


def test_plan(plan):
    result, (command,), pushed = plan(conf=["volume", "tile"])
    assert result == [0, 1, 2]
    assert command == [
        "tbseg",
        "plan",
        "--json",
        "--places=50",
        "--task-seconds=45.0",
        "--tile=8,8,8",
        "--split=copy",
        "--engine=native",
        "--output=mask",
        "--probabilities=vessel,axon",
        "--probability-dtype=uint8",
        "--",
        "/v",
        "/c.ilp",
        "/v-c",
    ]
    assert pushed == {
        "plan": {"run": "/r", "tiles": 9, "batches": 3, "publish": [], "clear_number": 0}
    }


def test_plan_over_chosen_tiles(plan):
    result, (command,), _ = plan(
        only_tiles=" z000_y000_x001,z000_y001_x000 , z000_y000_x001",
        update=True,
        run="/there",
        mask="/m.h5:/data",
    )
    assert result == ["z000_y000_x001", "z000_y001_x000"]
    assert {"--update", "--mask=/m.h5:/data"} <= set(command)
    assert command[-1] == "/there"


def test_plan_refuses_unknown_values(plan):
    from tbseg_airflow.outcome import StepRefused

    with pytest.raises(
        StepRefused, match=r"expected: any of dataset, volume, (.|\n)*found: tiel, x"
    ):
        plan(conf=["x", "volume", "tiel"])


@pytest.mark.parametrize(
    ("given", "title"),
    [({"volume": "/mine"}, "Volume"), ({"mask": "/m.h5"}, "Mask"), ({"run": "/r"}, "Run folder")],
)
def test_plan_refuses_a_dataset_and_what_it_has_of_its_own(plan, given, title):
    from tbseg_airflow.outcome import StepRefused

    with pytest.raises(StepRefused, match=f"found: dataset brain, and {title}\n"):
        plan(dataset="brain", **given)
    _, (command,), _ = plan(dataset="brain", backend="local")  # by what means is no part of it
    assert "--dataset=brain" in command


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"volume": None}, "no dataset, and no Volume"),
        ({"volume": "", "classifier": None}, "no dataset, and no Volume and no Classifier"),
        ({"volume": "relative/path"}, "relative/path"),
        ({"volume": "--help"}, "--help"),
        ({"classifier": "../c.ilp"}, "../c.ilp"),
        ({"run": "-rf"}, "-rf"),
        ({"mask": "mask.h5"}, "mask.h5"),
        ({"channels_from": ["/a", "b"]}, "b"),
        ({"dataset": "../x"}, "../x"),
        ({"box": "1:2"}, "1:2"),
        ({"tile": "64,64"}, "64,64"),
        ({"tile": "0x40,1,1"}, "0x40,1,1"),
        ({"tile": "64,64,64,64"}, "64,64,64,64"),
        ({"tile": "64,64,64; rm"}, "64,64,64; rm"),
        ({"tile": "1000000,1,1"}, "1000000,1,1"),
        ({"only_tiles": "z0_y0_x0"}, "z0_y0_x0"),
        ({"only_tiles": "z000_y000_x000 z000_y000_x001"}, "z000_y000_x000 z000_y000_x001"),
        ({"only_tiles": "z000_y000_x000,--batch"}, "--batch"),
    ],
)
def test_plan_refuses_in_words_what_is_mistyped(plan, given, found):
    from tbseg_airflow.outcome import StepRefused

    with pytest.raises(StepRefused) as caught:
        plan(**given)
    text = str(caught.value)
    assert f"found: {found}\n" in text
    assert "mend: " in text
    assert "expected: " in text
    assert not set("^$\\") & set(text)  # no pattern


def test_plan_refuses_more_tiles_than_the_scheduler_carries(plan):
    from airflow.configuration import conf
    from tbseg_airflow.operators.plan import MOST_INSTANCES
    from tbseg_airflow.outcome import StepRefused

    names = [f"z{i:03d}_y000_x000" for i in range(MOST_INSTANCES + 1)]
    with pytest.raises(StepRefused, match="found: 1001"):
        plan(only_tiles=",".join(names))
    assert plan(only_tiles=",".join(names[1:]))[0] == names[1:]
    assert conf.getint("core", "max_map_length") == MOST_INSTANCES


@pytest.mark.parametrize(
    ("volume", "runs", "expected"),
    [
        ("/data/brain7", None, "/data/brain7-c"),
        ("/data/brain7/", None, "/data/brain7-c"),
        ("/data/brain7/ch1_*.tif", None, "/data/brain7-c"),
        ("/data/brain7.tif", None, "/data/brain7-c"),
        ("/data/brain7.h5:/data", None, "/data/brain7-c"),
        ("/data/a.b.hdf5:/x/y", None, "/data/a.b-c"),
        ("/home/tests/volume.h5:/data", None, "/home/.demo/volume-c"),
        ("/data/brain7", "/runs", "/runs/brain7-c"),
        ("/home/tests/volume.h5:/data", "/runs", "/runs/volume-c"),
    ],
)
def test_default_run(volume, runs, expected):
    from tbseg_airflow.operators.plan import default_run

    assert default_run(volume, "/models/c.ilp", runs, Path("/home")) == expected


def test_default_run_of_a_folder_with_a_dot(tmp_path):
    from tbseg_airflow.operators.plan import default_run

    (tmp_path / "brain.7").mkdir()
    found = default_run(str(tmp_path / "brain.7"), "/models/c.ilp", None, Path("/home"))
    assert found == str(tmp_path / "brain.7-c")


def test_the_runs_variable_is_used(plan):
    plan.variables["tbseg_runs"] = "/scratch"
    _, (command,), _ = plan()
    assert command[-1] == "/scratch/v-c"
