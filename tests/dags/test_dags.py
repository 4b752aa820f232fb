"""The DAGs load as deployed, follow the policies, and refuse wrong values in their forms."""

import ast
import importlib.resources
import itertools
import re
import subprocess
import sys

import pytest
import yaml

from tbseg_ops.pipeline import STEPS, remote

pytestmark = pytest.mark.filterwarnings("ignore")  # of Airflow's own imports


# One dataset that cannot be checked must not keep the others back; the last task says so.
DESPITE_FAILURES = {"tbseg_reprocess.decide", "tbseg_reprocess.summary"}


@pytest.fixture(scope="module")
def bag(home):
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(dag_folder=str(home.path / "dags"))


@pytest.fixture(scope="module")
def dag(bag):
    return bag.dags["tbseg_segment"]


def test_all_dags_load(bag):
    assert bag.import_errors == {}
    assert set(bag.dags) == {"tbseg_segment", "tbseg_reprocess"}


def test_parsing_is_quick(home):
    """Once Airflow is imported: that is what each task process pays again."""
    text = (
        "import airflow.sdk, runpy, sys, time\n"
        f"sys.path.insert(0, {str(home.path / 'plugins')!r})\n"
        "begin = time.process_time()\n"
        f"runpy.run_path({str(home.path / 'dags' / 'tbseg_segment.py')!r})\n"
        "print(time.process_time() - begin)\n"
        "print([name for name in sys.modules if name.partition('.')[0] in "
        "('tbseg_ops', 'numpy', 'numba', 'h5py', 'tifffile')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=120
    )
    seconds, heavy = done.stdout.splitlines()[-2:]
    assert float(seconds) < 1.0
    light = {
        "errors",
        "fields",
        "options",
        "pipeline",
        "reference",
        "selection",
        "settings",
        "stored",
    }
    light |= {"geometry", "processes", "processes.lifetime", "storage", "storage.cache"}
    assert set(ast.literal_eval(heavy)) == {"tbseg_ops", *(f"tbseg_ops.{name}" for name in light)}


def test_policies(bag):
    for dag in bag.dags.values():
        assert dag.doc_md, dag.dag_id
        assert dag.tags, dag.dag_id
        assert not dag.catchup, dag.dag_id
        assert dag.is_paused_upon_creation is False, dag.dag_id
        for task in dag.tasks:
            name = f"{dag.dag_id}.{task.task_id}"
            assert task.retries >= 2, name
            assert 0 < task.retry_delay.total_seconds() <= 60, name
            assert task.retry_exponential_backoff, name
            rule = "all_done" if name in DESPITE_FAILURES else "all_success"
            assert task.trigger_rule == rule, name


def test_the_last_task_decides_about_the_run(dag):
    assert [task.task_id for task in dag.leaves] == ["publish"]
    order = ["plan", "doctor", "ingest", "split", "calibrate", "forecast", "approve"]
    order += ["classify", "merge", "verify", "export", "publish"]
    assert [step.name for step in STEPS] == order
    for above, below in itertools.pairwise(order):
        assert below in dag.get_task(above).downstream_task_ids


def test_dags_import_the_plugins_and_of_the_library_its_ground_alone(home):
    """What a run is asked for and its settings: Airflow parses these files every half minute."""
    ground = {"tbseg_ops.options", "tbseg_ops.settings"}
    for path in (home.path / "dags").glob("*.py"):
        nodes = [*ast.walk(ast.parse(path.read_text()))]
        imports = [alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names]
        imports += [str(n.module) for n in nodes if isinstance(n, ast.ImportFrom)]
        library = {name for name in imports if name.partition(".")[0] == "tbseg_ops"}
        assert library <= ground, path.name


def test_the_tasks_are_the_steps_of_the_pipeline(dag):
    """Those over tiles are mapped; those that work elsewhere take the backend of the form."""
    from airflow.sdk.definitions.mappedoperator import MappedOperator

    assert {task.task_id for task in dag.tasks} == {step.name for step in STEPS}
    tasks = {step.name: dag.get_task(step.name) for step in STEPS}
    mapped = {name for name, task in tasks.items() if isinstance(task, MappedOperator)}
    # Of those that work on tiles. Cutting them is a copy, which one task does with all cores.
    assert mapped == {step.name for step in STEPS if step.unit == "tile"} - {"split"}
    elsewhere = {
        name
        for name, task in tasks.items()
        if "backend" in str(getattr(task, "partial_kwargs", {}).get("backend", ""))
        or "backend" in str(getattr(task, "backend", ""))
    }
    assert elsewhere == set(remote())


def test_dags_are_thin(home):
    """No functions and no loops: documentation, parameters and wiring."""
    for path in (home.path / "dags").glob("*.py"):
        kinds = {type(node) for node in ast.walk(ast.parse(path.read_text()))}
        assert not kinds & {ast.FunctionDef, ast.ClassDef, ast.For, ast.While}, path.name


def test_every_parameter_says_what_it_is(dag):
    for name in dag.params:
        schema = dag.params.get_param(name).schema
        assert schema.get("title"), name
        if "enum" in schema:
            assert set(schema["values_display"]) == set(schema["enum"]), name
        elif schema["type"] != "boolean":
            assert schema.get("description_md"), name
        if schema["type"] == "string" and "enum" not in schema:
            assert "maxLength" in schema, name


def test_the_essential_parameters_are_not_folded_away(dag):
    without = [n for n in dag.params if "section" not in dag.params.get_param(n).schema]
    assert without == ["dataset", "volume", "classifier", "run"]


def test_defaults_are_valid(dag):
    dag.params.validate()


def test_the_form_proposes_no_data(dag):
    """A volume that comes with tbseg would be classified by whoever presses Trigger twice."""
    assert [dag.params[n] for n in ("dataset", "volume", "classifier", "run")] == [None] * 4


def test_no_pattern_is_shown_to_people(dag):
    """Airflow refuses with the pattern itself; the task plan refuses in words."""
    for name in dag.params:
        assert "pattern" not in str(dag.params.get_param(name).schema), name


def test_sections_say_what_they_hold(dag):
    sections = {dag.params.get_param(n).schema.get("section") for n in dag.params} - {None}
    assert all(re.fullmatch(r"[A-Z][a-z]+: .{20,}", section) for section in sections), sections


TILES = "z000_y001_x002, z1000_y000_x000"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("volume", "/data/brain 7/img_*.tif"),
        ("volume", "/data/\N{GREEK SMALL LETTER MU}.h5:/data"),
        ("run", None),
        ("run", "/data/run"),
        ("mask", None),
        ("mask", "/data/mask.h5:/data"),
        ("tile", "128"),
        ("tile", " 64, 128,128 "),
        ("probabilities", "vessel,nerve fibre"),
        ("only_tiles", None),
        ("only_tiles", ""),
        ("only_tiles", TILES),
        ("workers", None),
        ("workers", 1024),
        ("threads", 256),
        ("update", True),
    ],
)
def test_values_that_are_taken(dag, name, value):
    assert dag.params.get_param(name).resolve(value) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("volume", "/" + "x" * 5000),
        ("tile", "64," * 100),
        ("split", "link"),
        ("engine", "other"),
        ("output", ""),
        ("probabilities", ""),
        ("probability_dtype", "float64"),
        ("threads", 0),
        ("threads", 1.5),
        ("workers", 0),
        ("workers", "2"),
        ("update", "yes"),
    ],
)
def test_values_that_are_refused(dag, name, value):
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        dag.params.get_param(name).resolve(value)


def test_every_option_of_the_plan_command_has_a_field(dag):
    """Except for what Airflow and the dataset decide, and what is for people at a terminal."""
    from tbseg_airflow.operators.plan import OPTIONS
    from typer.main import get_command

    from tbseg_ops.cli.main import app

    plan = get_command(app).load("plan")
    offered = {name for option in plan.params for name in option.opts if name.startswith("--")}
    ours = {*OPTIONS.values(), "--update"}
    decided = {"--json", "--max-batches", "--places", "--task-seconds"}
    decided |= {"--dataset", "--earlier", "--holder", "--supersede", "--again"}
    assert offered - decided - {"--explain", "--help"} == ours
    assert set(OPTIONS) <= set(dag.params)


def test_documentation_names_every_task(dag):
    missing = [task.task_id for task in dag.tasks if f"**{task.task_id}**" not in dag.doc_md]
    assert missing == []


def test_airflow_cfg_has_no_unknown_or_deprecated_key(home):
    """Against the lists of options that come with the installed Airflow and its provider."""
    from airflow.providers.openlineage.get_provider_info import get_provider_info

    text = importlib.resources.files("airflow.config_templates").joinpath("config.yml").read_text()
    known = yaml.safe_load(text) | get_provider_info()["config"]
    section = ""
    for line in (home.path / "airflow.cfg").read_text().splitlines():
        if found := re.fullmatch(r"\[(.+)\]", line):
            section = found[1]
        elif found := re.match(r"(\w+) =", line):
            name = found[1].removesuffix("_cmd")
            assert name in known[section]["options"], f"[{section}] {name}"
    lint = subprocess.run(
        [sys.executable, "-m", "airflow", "config", "lint"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found = [line for line in lint.stdout.splitlines() if line.lstrip().startswith("- ")]
    # Airflow's lint has a word for each executor but LocalExecutor; ours is one.
    assert [line for line in found if "`executor` in `core`" not in line] == []
    assert len(found) == 1, lint.stdout


def test_state_stays_below_the_state_folder(home):
    from airflow.configuration import conf

    for section, name in [
        ("database", "sql_alchemy_conn"),
        ("logging", "base_log_folder"),
        ("logging", "dag_processor_child_process_log_directory"),
        ("core", "simple_auth_manager_passwords_file"),
        ("api_auth", "jwt_private_key_path"),
    ]:
        assert str(home.state) in conf.get(section, name), name
    assert conf.get("api", "host") == "127.0.0.1"


def test_keys_are_read_from_files_that_only_the_owner_can_read(home):
    from airflow.configuration import conf

    for section, name, file in [
        ("core", "fernet_key", "fernet.key"),
        ("api", "secret_key", "session.key"),
    ]:
        assert conf.get(section, name) == (home.state / file).read_text()
    for name in ("fernet.key", "session.key", "jwt.pem", "passwords.json"):
        assert oct((home.state / name).stat().st_mode & 0o777) == "0o600", name
    assert oct(home.state.stat().st_mode & 0o777) == "0o700"


def test_keys_are_made_once(home):
    before = (home.state / "jwt.pem").read_bytes()
    home.prepare()
    assert (home.state / "jwt.pem").read_bytes() == before
