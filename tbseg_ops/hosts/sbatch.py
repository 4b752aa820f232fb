"""A run as jobs in SLURM's queue, each waiting for the one before it: nothing else stays up.

A job is a command of tbseg on the run folder, as every backend gives it; ``classify`` is an array.
SLURM starts a job only if the one before it has ended well, which one that was killed for its
memory has not, whatever its exit code says; the others are then taken out of the queue.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from tbseg_ops.errors import ConfigError, ResourceError, retried_codes
from tbseg_ops.pipeline import RecordedStep
from tbseg_ops.run import RunFolder
from tbseg_ops.storage.visibility import make_folder

_MOST_TASKS = 1001  # of an array, where SLURM does not say it: its own default
_PROGRAM = Path(sys.executable).with_name("tbseg")

# What may go by itself is tried again, as Airflow does.
_SCRIPT = """\
#!/bin/sh
again() {{
    for pause in 30 120 end; do
        "$@" && return 0
        code=$?
        [ "$pause" = end ] && return "$code"
        case "$code" in {retried}) sleep "$pause" ;; *) return "$code" ;; esac
    done
}}
{work}
"""
_ONE = "again {command}"
_ARRAY = """\
batch=$SLURM_ARRAY_TASK_ID
worst=0
while [ "$batch" -lt {batches} ]; do
    again {command} --batch "$batch" || worst=$?
    batch=$((batch + {tasks}))
done
exit "$worst\""""


@dataclass(frozen=True)
class Job:
    """A job that is queued: its step, its number, and how many tasks its array has (else 1)."""

    step: str
    number: str
    tasks: int


def submit(folder: RunFolder, options: Sequence[str], at_once: int | None = None) -> list[Job]:
    """Queue all steps of a planned run. ``options``: of sbatch, for each job (time, memory, ...).

    ``at_once``: most tasks of the array that run at a time. What is done already is recognised when
    its job runs. ConfigError if there is no sbatch, or it refuses a job; those queued before it are
    taken out again.
    """
    batches = folder.plan.batches
    make_folder(folder.path / "slurm")
    jobs: list[Job] = []
    try:
        steps = [s for s in get_args(RecordedStep) if s != "export" or folder.plan.spec.publish]
        for step in steps:
            tasks = min(batches, _largest_array()) if step == "classify" else 1
            words = [*options, f"--job-name=tbseg-{step}", f"--chdir={folder.path.absolute()}"]
            if step == "classify":
                words += [f"--array=0-{tasks - 1}" + (f"%{at_once}" if at_once else "")]
                words += ["--output=slurm/%x-%A_%a.log"]
            else:
                words += ["--output=slurm/%x-%j.log"]
            if jobs:
                words += [f"--dependency=afterok:{jobs[-1].number}", "--kill-on-invalid-dep=yes"]
            answer = _ask("sbatch", "--parsable", *words, script=_script(folder, step, tasks))
            jobs.append(Job(step, answer.strip().partition(";")[0], tasks))
    except BaseException:
        if jobs:
            _ask("scancel", *(job.number for job in jobs))
        raise
    return jobs


def _script(folder: RunFolder, step: str, tasks: int) -> str:
    words = [str(_PROGRAM), step, "--run", str(folder.path.absolute())]
    command = shlex.join(words)
    if step != "publish":  # which has no workers
        command += ' --workers "${SLURM_CPUS_PER_TASK:-1}"'
    work = _ARRAY if step == "classify" else _ONE
    batches = folder.plan.batches
    return _SCRIPT.format(
        work=work.format(command=command, batches=batches, tasks=tasks),
        retried="|".join(str(code) for code in retried_codes()),
    )


def _largest_array() -> int:
    """Tasks that the site allows an array to have."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"), re.M)
    return max(1, int(found[1])) if found else _MOST_TASKS


def _ask(program: str, *arguments: str, script: str | None = None) -> str:
    try:
        asked = subprocess.run(  # noqa: S603 - a list, no shell
            [program, *arguments],
            input=script,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except FileNotFoundError:
        raise ConfigError(
            "a program of SLURM is not there",
            expected=f"{program} on the PATH",
            mend="give the command on a log-in node of the cluster",
        ) from None
    except subprocess.TimeoutExpired:
        raise ResourceError(
            "SLURM does not answer",
            expected=f"an answer of {program} within 120 s",
            mend="see with squeue whether its controller is up; then give the command again",
        ) from None
    if asked.returncode != 0:
        raise ConfigError(
            "SLURM refuses a job",
            expected=f"that {shlex.join([program, *arguments])} is taken",
            found=asked.stderr.strip()[-500:],
            mend="correct the options behind --, which are given to sbatch as they are",
        )
    return asked.stdout
