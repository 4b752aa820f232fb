"""The steps of a run, each one typed, keyword-only function."""

from tbseg_ops.steps.audit import audit
from tbseg_ops.steps.calibrate import calibrate
from tbseg_ops.steps.classify import classify
from tbseg_ops.steps.doctor import doctor, leave_token, take_token
from tbseg_ops.steps.forecast import Crew, forecast
from tbseg_ops.steps.ingest import ingest
from tbseg_ops.steps.memory import memory_needed
from tbseg_ops.steps.merge import merge
from tbseg_ops.steps.plan import disk_needed, plan
from tbseg_ops.steps.publish import publish
from tbseg_ops.steps.result import Progress, StepResult
from tbseg_ops.steps.split import split
from tbseg_ops.steps.status import status
from tbseg_ops.steps.verify import verify

__all__ = [
    "Crew",
    "Progress",
    "StepResult",
    "audit",
    "calibrate",
    "classify",
    "disk_needed",
    "doctor",
    "forecast",
    "ingest",
    "leave_token",
    "memory_needed",
    "merge",
    "plan",
    "publish",
    "split",
    "status",
    "take_token",
    "verify",
]
