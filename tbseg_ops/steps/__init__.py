"""The steps of a run, each one typed, keyword-only function."""

from tbseg_ops.steps.audit import audit
from tbseg_ops.steps.calibrate import calibrate
from tbseg_ops.steps.classify import classify
from tbseg_ops.steps.export import export
from tbseg_ops.steps.ingest import ingest
from tbseg_ops.steps.merge import merge
from tbseg_ops.steps.plan import draft, plan
from tbseg_ops.steps.prove import prove
from tbseg_ops.steps.publish import publish
from tbseg_ops.steps.repair import repair
from tbseg_ops.steps.split import split
from tbseg_ops.steps.verify import verify

__all__ = [
    "audit",
    "calibrate",
    "classify",
    "draft",
    "export",
    "ingest",
    "merge",
    "plan",
    "prove",
    "publish",
    "repair",
    "split",
    "verify",
]
