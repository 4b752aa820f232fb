"""The commands of ``tbseg`` by name and first line; one is loaded when it is used.

Help and version would otherwise wait for numpy, HDF5 and all else that some command needs.
"""

import gc
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from tbseg_ops import __version__
from tbseg_ops.hdf5.arms_length import begin

# Panel of the help -> module and name below ``tbseg_ops.cli`` -> how the command's help begins.
COMMANDS = {
    "All in one": {
        "run.run": "Do everything: plan, ingest, split, classify, merge, verify, export, publish",
        "sbatch.sbatch": "Queue a planned run in SLURM: jobs that wait for each other",
        "repair.repair": "Make exactly what is damaged of a run anew",
        "cancel.cancel": "End all work on a run within seconds, wherever it is done",
    },
    "Look": {
        "inspect.inspect": "Print what an ilastik classifier holds",
        "audit.audit": "Check a volume's headers, order and completeness",
        "look.look": "Look at a volume before a run, and preview classes of a box of it",
        "status.status": "Show how many pieces of each step are finished",
        "view.view": "Look at a run in the browser: its tiles on the volume, and in 3D",
        "export.export": "Write the result as OME-Zarr or TIFF, for other programs",
        "compare.compare": "Compare the labels of two runs",
        "doctor.doctor": "Check this machine before work starts",
        "forecast.forecast": "Forecast hours, disk and memory of what is left of a run",
        "prove.prove": "Predict random boxes of a result again, without tiles",
    },
    "Single steps": {
        "plan.plan": "Audit the input and write the plan of a run",
        "single.ingest": "Write the slices as one 3D HDF5 dataset",
        "single.split": "Write one HDF5 sub-volume per tile, with the exact halo",
        "forecast.calibrate": "Classify a few tiles of the run, spread over the volume",
        "single.classify": "Classify tiles: K class arrays each",
        "single.merge": "Merge the tiles into K class arrays of the volume",
        "single.verify": "Check that the result is complete, undamaged, current and without seams",
        "single.publish": "Write the report of the run and its RO-Crate",
    },
    "Again and again": {
        "gc.gc": "Show what the runs of datasets hold beyond their retention",
        "dataset.dataset": "Datasets that are segmented again and again",
    },
    "": {"agent.agent": "Answer questions about this host's jobs"},  # not for people
}


_OPENING = {where.partition(".")[2] for where in COMMANDS["Single steps"]} - {"plan"}
"""Commands that open HDF5 files of a run at once."""


class Commands(TyperGroup):
    """The group of all commands: names with a line each, until one is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self._modules: dict[str, str] = {}
        for panel, commands in COMMANDS.items():
            for where, line in commands.items():
                module, _, name = where.partition(".")
                self._modules[name] = module
                self.add_command(TyperCommand(name, help=line, hidden=not panel))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Of click: the commands by what they are for."""
        for panel, commands in COMMANDS.items():
            if panel:
                lines = [(where.partition(".")[2], line) for where, line in commands.items()]
                with formatter.section(panel):
                    formatter.write_dl(lines)

    def load(self, name: str) -> Any:
        """The command itself."""
        found = getattr(import_module(f"tbseg_ops.cli.{self._modules[name]}"), name)
        gc.freeze()
        gc.enable()  # main has disabled it
        if isinstance(found, typer.Typer):
            return typer.main.get_group(found)
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(name)(found)
        return typer.main.get_command(alone)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Of click. Typer makes a flag's value a bool by pydantic: these two need not load it."""
        if args[:1] == ["--version"]:
            print(f"tbseg {__version__}")
            ctx.exit()
        if args[:1] == ["--help"]:
            print(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(self, *arguments: Any) -> Any:
        """Of click: the command that the words call, with the words that are left."""
        name, command, rest = super().resolve_command(*arguments)
        if name in _OPENING and "--help" not in rest:
            begin()
        return name, command and self.load(str(command.name)), rest
