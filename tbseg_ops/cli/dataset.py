"""tbseg dataset: the registry of what is segmented again and again."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tbseg_ops import datasets
from tbseg_ops.classifier import read_passport
from tbseg_ops.cli.begin import user
from tbseg_ops.cli.common import Json, emit, lines
from tbseg_ops.cli.dataset_rows import CheckRow, claim_row, dataset_row
from tbseg_ops.cli.options import Given, with_options
from tbseg_ops.datasets import Dataset, Retention, Runs
from tbseg_ops.errors import ConfigError, TbsegError, printable
from tbseg_ops.reference import Reference
from tbseg_ops.run import RunFolder, RunSpec
from tbseg_ops.volume.opening import existing

dataset = typer.Typer(
    no_args_is_help=True,
    help="Datasets that are segmented again and again.",
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the dataset.")]


@dataset.command()
@with_options
def add(
    name: Name,
    spec: RunSpec,
    entry: Given[Dataset],
    retention: Retention,
    replace: Annotated[bool, typer.Option("--replace", help="Change a dataset.")] = False,
) -> None:
    """Register a dataset, or change it with --replace."""
    existing(spec.volume)
    read_passport(spec.classifier)
    beside = Reference.of(spec.volume).folder / f"{name}-runs"
    made = entry.made(owner=user(), runs=str(beside), spec=spec, retention=retention)
    print(datasets.add(name, made, replace=replace))


@dataset.command("list")
def list_(as_json: Json = False) -> None:
    """Show all datasets, their newest runs, and who works on them."""
    rows = [dataset_row(name) for name in datasets.names()]
    if as_json:
        found = [row.model_dump(mode="json") for row in rows]
        emit({"folder": str(datasets.registry_folder()), "datasets": found})
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("name", "volume", "classifier", "schedule", "newest run", "state"):
        table.add_column(title, overflow="fold")
    for row in rows:
        cells = [row.name, "", "", "", row.newest.run if row.newest else "", row.state]
        if row.dataset is not None:
            spec, schedule = row.dataset.spec, "on" if row.dataset.schedule else "off"
            cells[1:4] = spec.volume, spec.classifier, schedule
        table.add_row(*map(printable, cells))
    Console(markup=False, highlight=False).print(table)


@dataset.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Datasets; all if none.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell which datasets need a run, and why. Reads every slice of them.

    The exit code is that of the first dataset that cannot be checked.
    """
    first: TbsegError | None = None
    rows: list[dict[str, object]] = []
    for name in names or datasets.names():
        try:
            found = datasets.changes(name=name, progress=lines(f"check {printable(name)}"))
            held = datasets.claim_of(Runs(Path(datasets.get(name).runs), name))
        except TbsegError as error:
            first = first or error
            print(f"{printable(name)}: error: {error}", file=sys.stderr, flush=True)
            rows.append({"dataset": name, "error": str(error), "exit_code": error.exit_code})
            continue
        row = CheckRow(**found.model_dump(), claim=claim_row(held))
        rows.append(row.model_dump(mode="json"))
        if not as_json:
            print(f"{name}: {'needs a run' if row.needed else 'needs no run'}")
            for line in (*row.reasons, *([str(row.claim)] if row.claim is not None else [])):
                print(f"  {printable(line)}")
    if as_json:
        emit({"datasets": rows})
    if first is not None:
        raise typer.Exit(first.exit_code)


@dataset.command()
def remove(name: Name) -> None:
    """Take a dataset off the registry. Its runs stay."""
    datasets.remove(name)


@dataset.command()
def release(name: Name) -> None:
    """Give up the claim of a dead run, so that another one may begin.

    Be sure that none of its steps runs on: tbseg cancel RUN_DIR ends them.
    """
    runs = Runs(Path(datasets.get(name).runs), name)
    held = datasets.claim_of(runs)
    if held is None:
        print(f"{name}: nobody has a claim")
        return
    if held.process is not None and not held.process.is_elsewhere and not held.is_dead:
        raise ConfigError(
            "the holder of the claim is alive",
            file=runs.claim_file,
            found=f"run {held.run}, held by {held.holder}",
            mend="wait for its end, or end it: "
            f"tbseg cancel {RunFolder(runs.path / held.run).quoted}",
        )
    datasets.release(runs, held.token)
    print(f"{name}: released; run {held.run} was held by {printable(held.holder)}")
