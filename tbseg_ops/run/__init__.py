"""The run folder: spec, plan, records and the protocol by which results are committed."""

from tbseg_ops.options import RunSpec
from tbseg_ops.processes.launcher import under_mpi
from tbseg_ops.processes.team import Alone, Pool, Team, team
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.run.plan import Inputs, Plan
from tbseg_ops.run.records import Record, Records

__all__ = [
    "Alone",
    "Inputs",
    "Plan",
    "Pool",
    "Record",
    "Records",
    "RunFolder",
    "RunSpec",
    "Team",
    "team",
    "under_mpi",
]
