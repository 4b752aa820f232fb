"""The command line starts at once: a command is loaded when it is used, and is what help says."""

import subprocess
import sys

import pytest
import typer

from tbseg_ops.cli.commands import COMMANDS
from tbseg_ops.cli.main import app

LINES = {
    where.partition(".")[2]: line
    for commands in COMMANDS.values()
    for where, line in commands.items()
}


@pytest.mark.parametrize("word", ["--version", "--help"])
def test_help_and_version_load_nothing_heavy(word):
    code = (
        "import sys, tbseg_ops.cli.main as main\n"
        f"sys.argv = ['tbseg', {word!r}]\n"
        "try: main.main()\n"
        "finally: print([name for name in "
        "('numpy', 'h5py', 'numba', 'pydantic', 'psutil', 'tifffile', 'rich.progress')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", LINES)
def test_each_command_is_there_and_begins_as_its_line_in_the_help(name):
    command = typer.main.get_command(app).load(name)
    assert command.help.replace("\n", " ").startswith(LINES[name].rstrip("."))
