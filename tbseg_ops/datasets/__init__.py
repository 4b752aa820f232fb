"""Datasets: what is to be segmented again and again, their runs, and who works on one."""

from tbseg_ops.datasets.changes import Changes, changes
from tbseg_ops.datasets.choice import Choice, RunState, choose, claim_next, run_state
from tbseg_ops.datasets.claims import Claim, claim, claim_of, release, release_finished
from tbseg_ops.datasets.dataset import Dataset, Retention
from tbseg_ops.datasets.gc import Freed, gc
from tbseg_ops.datasets.registry import add, get, names, remove
from tbseg_ops.datasets.runs import Runs
from tbseg_ops.settings import registry_folder

__all__ = [
    "Changes",
    "Choice",
    "Claim",
    "Dataset",
    "Freed",
    "Retention",
    "RunState",
    "Runs",
    "add",
    "changes",
    "choose",
    "claim",
    "claim_next",
    "claim_of",
    "gc",
    "get",
    "names",
    "registry_folder",
    "release",
    "release_finished",
    "remove",
    "run_state",
]
