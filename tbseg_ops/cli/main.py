"""The entry point of ``tbseg``: its commands, and how errors become messages and exit codes."""

import contextlib
import gc
import os
import signal
import sys
import traceback
from itertools import takewhile
from pathlib import Path

import typer

from tbseg_ops.cli.commands import Commands
from tbseg_ops.errors import ResourceError, TbsegError, UsageError
from tbseg_ops.processes.launcher import under_mpi

HELP = """Classify terabyte 3D volumes with ilastik's own pixel classifiers, tile by tile.

Exit codes: 0 done, 2 wrong usage, 65 input unusable, 74 something is damaged (give the command
again), 75 disk, memory or a worker failed (give it again), 78 settings wrong, 70 a defect of
tbseg, 130 and 143 interrupted.
"""

_SIGNALLED = 128  # and the number of the signal

app = typer.Typer(
    cls=Commands,
    help=HELP,
    rich_markup_mode=None,  # plain help, which pipes well and is there in half the time
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", help="Print the version."),  # by Commands
) -> None:
    pass


def main() -> None:
    """Run the command line; the class of an error becomes the exit code.

    With ``--json`` the last line of standard output is the error as an object.
    """
    # pydantic would look through all installed packages for plugins of its own.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # Nothing here multiplies matrices: numpy need not start a thread for each core.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.disable()  # until the command is loaded: what is imported stays, looking costs a twentieth
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    try:
        try:
            app()
        except OSError as error:
            from tbseg_ops.storage.commit import storage_errors

            with storage_errors(Path(error.filename or "an unnamed file")):
                raise
    except TbsegError as error:
        _fail(error)
    except MemoryError:
        _fail(
            ResourceError(
                "there is not enough memory",
                mend="give the same command again with fewer --workers or a smaller --tile",
            )
        )
    except SystemExit as error:
        if under_mpi() and isinstance(error.code, int) and error.code >= _SIGNALLED:
            _abort(error.code)  # the other ranks would wait for this one for ever
        wrong = getattr(error.__context__, "format_message", None)  # which typer has shown
        if error.code == UsageError.exit_code and wrong is not None:
            _print_object(UsageError(wrong()))
        raise
    except Exception:
        traceback.print_exc()
        _fail(TbsegError("this is a defect of tbseg", mend="report it with the lines above"))


def _fail(error: TbsegError) -> None:
    with contextlib.suppress(OSError):  # a full disk or a closed pipe: the message counts
        sys.stdout.flush()
    print(f"error: {error}", file=sys.stderr, flush=True)
    _print_object(error)
    if under_mpi():
        _abort(error.exit_code)
    if isinstance(error, ResourceError):
        # The HDF5 library can crash while it cleans up after a full disk: leave at once.
        os._exit(error.exit_code)
    sys.exit(error.exit_code)


def _print_object(error: TbsegError) -> None:
    if "--json" in takewhile(lambda word: word != "--", sys.argv[1:]):
        with contextlib.suppress(OSError):
            # One write for a whole line: mpiexec mixes the output of several ranks.
            sys.stdout.write(error.to_json() + "\n")
            sys.stdout.flush()


def _abort(code: int) -> None:
    from tbseg_ops.processes.mpi import Ranks, can_start

    if can_start():
        Ranks().abort(code)
    os._exit(code)


def _leave(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    main()
