"""The claim of a dataset: at most one run of it at a time.

``claim.json`` in the folder of runs names the run and who holds it. Where that is a process of this
host, the kernel is asked whether it lives; of other holders (Airflow, another host) whoever knows
that one is dead passes on its token, or gives the claim up by hand.
"""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, StringConstraints, ValidationError

from tbseg_ops.datasets.runs import Runs
from tbseg_ops.errors import ConfigError
from tbseg_ops.fields import explained
from tbseg_ops.processes.identity import Process
from tbseg_ops.storage.commit import commit_new, commit_over, pause, storage_errors
from tbseg_ops.storage.small_files import read_small
from tbseg_ops.stored import Stored


def _run(text: str) -> str:
    if not Runs.is_name(text):
        raise ValueError("a run has a number as its name, such as 0001")
    return text


RunName = Annotated[str, AfterValidator(_run)]


class Claim(Stored):
    """Who works on which run, and the earlier runs that it may take finished pieces from."""

    schema_version: Literal[1] = 1
    token: Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")]
    run: RunName
    earlier: tuple[RunName, ...] = ()
    holder: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    process: Process | None = None

    @property
    def is_dead(self) -> bool:
        """Whether the holder is known to be dead; never of one that is no process of this host."""
        return self.process is not None and self.process.is_dead


Choose = Callable[[], tuple[RunName, tuple[RunName, ...]]]


def claim(
    runs: Runs,
    choose: Choose,
    *,
    holder: str,
    process: Process | None = None,
    supersede: str | None = None,
) -> Claim:
    """Claim the dataset for the run that ``choose`` names with the earlier ones that it may use.

    ``choose`` is called while the lock of the runs is held. ``process``: the claim is worth nothing
    once that process has ended. Without it, a holder of the same name has its own claim back, as it
    was. ``supersede``: token of a claim that is known to be dead.

    ConfigError that names the holder if another one has the claim. Of several callers at once,
    exactly one gets it.
    """
    if not holder.isprintable() or not 0 < len(holder) <= 1000:
        raise ConfigError(
            "this is no name for the holder of a claim",
            expected="1 to 1000 printable characters",
            found=ascii(holder[:100]),
        )
    with runs.locked():
        held = claim_of(runs)
        if held is not None and process is None and held.process is None and held.holder == holder:
            return held
        if held is not None and not _may_go(held, supersede):
            raise _held(runs, held)
        run, earlier = choose()
        made = Claim(
            token=secrets.token_hex(16), run=run, earlier=earlier, holder=holder, process=process
        )
        pause("claiming", runs.path)
        if held is not None:
            commit_over(runs.claim_file, made.to_bytes())
        elif not commit_new(runs.claim_file, made.to_bytes()):
            # Where locks do not reach (some network file systems), the link still has one winner.
            raise _held(runs, claim_of(runs))
        return made


def claim_of(runs: Runs) -> Claim | None:
    """The claim of a dataset, if there is one, be its holder alive or dead."""
    data = read_small(runs.claim_file)
    if data is None:
        return None
    try:
        return Claim.model_validate_json(data)
    except ValidationError as error:
        raise ConfigError(
            "the claim of the dataset is damaged:\n" + explained(error),
            file=runs.claim_file,
            expected="a file that tbseg wrote",
            mend="see that no run is going on, and remove the file",
        ) from None


def release(runs: Runs, token: str) -> bool:
    """Give up the claim of that token; False if it was given up or superseded before."""
    if claim_of(runs) is None:
        return False
    with runs.locked():
        held = claim_of(runs)
        if held is None or held.token != token:
            return False
        with storage_errors(runs.claim_file):
            runs.claim_file.unlink(missing_ok=True)
        return True


def release_finished(run: Path) -> bool:
    """Give up the claim for a run that is finished; False if there is none.

    A claim that goes with a process is left to that process.
    """
    folder = run.absolute()
    if not (Runs.is_name(folder.name) and (folder.parent / "claim.json").exists()):
        return False
    runs = Runs(folder.parent, folder.parent.name)
    held = claim_of(runs)
    if held is None or held.run != folder.name or held.process is not None:
        return False
    return release(runs, held.token)


def _may_go(held: Claim, supersede: str | None) -> bool:
    if held.process is not None and not held.process.is_elsewhere:
        return held.is_dead  # the kernel knows better than whoever calls
    return held.token == supersede


def _held(runs: Runs, held: Claim | None) -> ConfigError:
    return ConfigError(
        f"a run of dataset {runs.name} is going on",
        file=runs.claim_file,
        expected="no claim, or one of a process of this host that has ended",
        found="a claim" if held is None else f"run {held.run}, held by {held.holder}",
        mend="wait for its end; if you know it to be dead, and that none of its steps runs on: "
        f"tbseg dataset release {runs.name}",
    )
