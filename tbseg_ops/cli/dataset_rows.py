"""What ``tbseg dataset list`` and ``check`` tell of a dataset."""

from pathlib import Path

from tbseg_ops import datasets
from tbseg_ops.datasets import Changes, Claim, Dataset, Runs, RunState
from tbseg_ops.errors import TbsegError
from tbseg_ops.stored import Stored


class ClaimRow(Stored):
    """Who has the claim of a dataset; ``dead``: the holder is known to have ended."""

    run: str
    holder: str
    token: str
    dead: bool

    def __str__(self) -> str:
        return f"run {self.run} is held by {self.holder}" + (", which is dead" if self.dead else "")


class DatasetRow(Stored):
    """A dataset, its newest run and its claim; ``error`` where something of it cannot be used."""

    name: str
    dataset: Dataset | None = None
    newest: RunState | None = None
    claim: ClaimRow | None = None
    error: str | None = None

    @property
    def state(self) -> str:
        """In a few words, for people."""
        if self.error is not None:
            return self.error.replace("\n", "; ")
        found = "no run yet"
        if self.newest is not None:
            lacks = self.newest.incomplete
            found = "verified" if lacks is None else f"incomplete: {lacks}"
        return found if self.claim is None else f"{found}; {self.claim}"


class CheckRow(Changes):
    """``Changes`` and the claim of the dataset."""

    claim: ClaimRow | None


def dataset_row(name: str) -> DatasetRow:
    """What the registry and the folder of runs say; nothing of the volume is read."""
    dataset: Dataset | None = None
    try:
        dataset = datasets.get(name)
        runs = Runs(Path(dataset.runs), name)
        newest = runs.newest()
        return DatasetRow(
            name=name,
            dataset=dataset,
            newest=datasets.run_state(newest) if newest is not None else None,
            claim=claim_row(datasets.claim_of(runs)),
        )
    except TbsegError as error:
        return DatasetRow(name=name, dataset=dataset, error=str(error))


def claim_row(held: Claim | None) -> ClaimRow | None:
    if held is None:
        return None
    return ClaimRow(run=held.run, holder=held.holder, token=held.token, dead=held.is_dead)
