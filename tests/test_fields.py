"""An option is declared once: a field that a copy of the spec has more is found in every place.

That the form has it is shown by tests/plugins/test_form.py.
"""

import json
import re
from pathlib import Path
from typing import Literal

import pytest
import typer
from pydantic import create_model
from typer.testing import CliRunner

from tbseg_ops import datasets, steps
from tbseg_ops.cli.options import Given, table, with_options
from tbseg_ops.datasets import Dataset, registry
from tbseg_ops.errors import ConfigError
from tbseg_ops.fields import option
from tbseg_ops.options import Effort, Target
from tbseg_ops.run import RunFolder, RunSpec
from tests.runs import copied

FIELD = option(
    "off",
    "Smoothing",
    "Whether classes are smoothed. It takes time.",
    section="Output",
    choices={"off": "as they are", "on": "rounded"},
    decides=True,
)
Wider = create_model("Wider", __base__=RunSpec, smoothing=(Literal["off", "on"], FIELD))
WiderDataset = create_model("WiderDataset", __base__=Dataset, spec=(Wider, ...))
GOOD = ("/data/slices", "/data/c.ilp")
README = Path(__file__).parents[1] / "README.md"


def called(command, *words):
    app = typer.Typer()
    app.command()(with_options(command))
    return CliRunner().invoke(app, words, env={"COLUMNS": "200"})


def shown(spec: Wider):
    print(spec.to_bytes().decode())


def given(spec: Given[Wider]):
    print(json.dumps(spec.values), spec.typed)


def test_the_command_line_has_it():
    text = called(shown, "--help").stdout
    assert re.search(r"--smoothing +<off\|on> +Whether classes are smoothed\. It takes", text)
    assert json.loads(called(shown, *GOOD).stdout)["smoothing"] == "off"
    assert json.loads(called(shown, *GOOD, "--smoothing=on").stdout)["smoothing"] == "on"
    assert called(shown, *GOOD, "--smoothing=much").exit_code == 2
    assert called(given, "--smoothing=on").stdout == '{"smoothing": "on"} [\'--smoothing\']\n'


def test_registry_crate_and_the_decision_about_a_rerun_have_it(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("TBSEG_DATASETS", str(tmp_path / "registry"))
    monkeypatch.setattr(registry, "Dataset", WiderDataset)
    run = copied(finished, tmp_path / "runs").rename(tmp_path / "runs" / "0001")
    plan = RunFolder(run).plan
    before = plan.spec.model_dump()
    old, new = (Wider.of(**before, smoothing=value) for value in ("off", "on"))
    monkeypatch.setattr(RunFolder, "plan", plan.model_copy(update={"spec": old}))

    added = WiderDataset.of(owner="me", runs=str(tmp_path / "runs"), spec=new)
    datasets.add("brain", added)
    assert 'smoothing = "on"' in (tmp_path / "registry" / "brain.toml").read_text()
    assert datasets.get("brain") == added
    assert "the parameter smoothing has changed: from off to on" in (
        datasets.changes(name="brain").reasons
    )

    steps.publish(run=run)
    crate = json.loads((run / "ro-crate-metadata.json").read_text())["@graph"]
    (formal,) = (entity for entity in crate if entity["@id"] == "#parameter-smoothing")
    assert formal["description"] == "whether classes are smoothed"
    (value,) = (entity for entity in crate if entity["@id"] == "#smoothing")
    assert value["value"] == "off"


def test_the_table_of_the_documentation_has_it():
    row = "| `--smoothing off or on` | Whether classes are smoothed; off: as they are; on: rounded"
    assert f"{row} | off |\n" in table(Wider.options())


def test_the_table_in_readme_is_that_of_the_models():
    effort = (made for made in Effort.options() if made.name in ("threads", "workers"))
    rows = table([*RunSpec.options(), *Target.options(), *effort])
    head = "| option of `tbseg run` | | default |\n| --- | --- | --- |\n"
    assert f"\n\n{head}{rows}\n" in README.read_text()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--tile=0,0,70000"], ["--tile"]),
        (["--tile=0", f"--probabilities={'x' * 2000}"], ["--tile", "--probabilities"]),
        (["--mask=/a\n"], ["--mask"]),
    ],
)
def test_an_error_has_one_sentence_for_each_wrong_option_as_it_was_typed(options, named):
    error = called(shown, *GOOD, *options).exception
    assert isinstance(error, ConfigError)
    lines = error.what.splitlines()[1:]
    assert sorted(line.partition(":")[0].strip() for line in lines) == sorted(named)
    assert all(line.count(" (found ") == 1 for line in lines)


@pytest.mark.parametrize("text", ["64", " 64, 64,64", "64,64,64"])
def test_the_spellings_of_a_tile(text):
    assert json.loads(called(shown, *GOOD, "--tile", text).stdout)["tile"] == [64, 64, 64]


def test_what_is_no_tile_is_wrong_usage():
    result = called(shown, *GOOD, "--tile=64,64")
    assert result.exit_code == 2
    assert "--tile" in result.stderr
    assert "expected Z,Y,X" in result.stderr


def test_an_option_may_be_given_several_times_each_time_a_path():
    spec = json.loads(called(shown, *GOOD, "--channels-from=/a", "--channels-from=/b/../c").stdout)
    assert spec["channels_from"] == ["/a", "/c"]


def test_a_default_of_zero_is_shown():
    rows = {row.split("`")[1]: row for row in table(RunSpec.options()).splitlines()}
    assert rows["--scale N"].endswith("| 0 |")
