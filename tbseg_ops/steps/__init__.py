"""The steps of a run, each one typed, keyword-only function."""

from tbseg_ops.steps.audit import audit
from tbseg_ops.steps.calibrate import calibrate
from tbseg_ops.steps.changes import Changes, changes
from tbseg_ops.steps.classify import classify
from tbseg_ops.steps.dataset_runs import Choice, RunState, choose, claim_next, run_state
from tbseg_ops.steps.doctor import doctor, leave_token, take_token
from tbseg_ops.steps.forecast import Crew, forecast, prospect
from tbseg_ops.steps.gc import Freed, gc
from tbseg_ops.steps.ingest import ingest
from tbseg_ops.steps.memory import memory_needed
from tbseg_ops.steps.merge import merge
from tbseg_ops.steps.plan import disk_missing, disk_needed, draft, plan
from tbseg_ops.steps.publish import publish
from tbseg_ops.steps.result import Progress, StepResult
from tbseg_ops.steps.split import split
from tbseg_ops.steps.status import status
from tbseg_ops.steps.verify import verify
from tbseg_ops.steps.work_left import StepLeft, WorkLeft, work_left

__all__ = [
    "Changes",
    "Choice",
    "Crew",
    "Freed",
    "Progress",
    "RunState",
    "StepLeft",
    "StepResult",
    "WorkLeft",
    "audit",
    "calibrate",
    "changes",
    "choose",
    "claim_next",
    "classify",
    "disk_missing",
    "disk_needed",
    "doctor",
    "draft",
    "forecast",
    "gc",
    "ingest",
    "leave_token",
    "memory_needed",
    "merge",
    "plan",
    "prospect",
    "publish",
    "run_state",
    "split",
    "status",
    "take_token",
    "verify",
    "work_left",
]
