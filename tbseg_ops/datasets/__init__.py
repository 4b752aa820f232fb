"""Datasets: what is to be segmented again and again, their runs, and who works on one."""

from tbseg_ops.datasets.claims import Claim, claim, claim_of, release, release_finished
from tbseg_ops.datasets.model import Backend, Dataset, Retention
from tbseg_ops.datasets.registry import add, get, names, remove
from tbseg_ops.datasets.runs import Runs
from tbseg_ops.registered import registry_folder

__all__ = [
    "Backend",
    "Claim",
    "Dataset",
    "Retention",
    "Runs",
    "add",
    "claim",
    "claim_of",
    "get",
    "names",
    "registry_folder",
    "release",
    "release_finished",
    "remove",
]
