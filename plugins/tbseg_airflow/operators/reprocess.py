"""The operators that look at registered datasets and start a run of each that needs one."""

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.sdk import Context

from tbseg_airflow.claims import SEGMENT, holder_of, is_dead
from tbseg_airflow.operators.step import TbsegStep
from tbseg_airflow.outcome import PlainErrors, StepRefused

# tbseg_ops is imported when a task runs: parsing the DAG must stay quick.

SLICES = re.compile(r"tbseg://([A-Za-z0-9][A-Za-z0-9._-]{0,99})/slices")
ROWS = "rows"  # XCom of the task ``decide``: what becomes of each dataset, and why


class TbsegDatasets(PlainErrors):
    """The names of the datasets to look at: those of the form, of the asset events, or all.

    *All* are those with a schedule, and those whose file is wrong: looking at them will say so.
    """

    def execute(self, context: Context) -> list[str]:
        chosen = context["params"].get("datasets") or []
        if not chosen:
            uris = (str(asset.uri) for asset in context["triggering_asset_events"])
            chosen = [match[1] for uri in uris if (match := SLICES.fullmatch(uri))]
        names = sorted(set(chosen)) if chosen else _scheduled()
        self.log.info("datasets to look at: %s", ", ".join(names) or "none")
        return names


def _scheduled() -> list[str]:
    from tbseg_ops import datasets
    from tbseg_ops.errors import TbsegError

    names = []
    for name in datasets.names():
        try:
            if datasets.get(name).schedule:
                names.append(name)
        except TbsegError:
            names.append(name)
    return names


class TbsegCheck(TbsegStep):
    """Runs ``tbseg dataset check NAME``; its result says whether a run is needed, and why."""

    template_fields = ()

    def __init__(self, *, dataset: str, **kwargs: Any) -> None:
        super().__init__(step="dataset check", run_dir="", **kwargs)
        self.dataset = dataset
        self._needed: bool | None = None

    @property
    def title(self) -> str:
        ending = {None: "", False: ": unchanged", True: ": needs a run"}[self._needed]
        return f"{self.dataset}{ending}"

    def execute(self, context: Context) -> dict[str, Any]:
        report = self.call(["tbseg", "dataset", "check", "--json", "--", self.dataset])
        (row,) = report["datasets"]
        self._needed = row["needed"]
        reasons = "; ".join(row["reasons"])
        self.log.info("%s: %s", self.title, reasons)
        return {"dataset": self.dataset, "needed": row["needed"], "reasons": reasons}


class TbsegDecide(PlainErrors):
    """Which runs to start: claims each dataset for its run; the list for the task ``start``.

    At most ``params.most``, those first that have waited longest for a verified result. A dataset
    on which somebody is at work waits.
    """

    def execute(self, context: Context) -> list[dict[str, Any]]:
        rows: list[dict[str, str]] = []
        starts: list[dict[str, Any]] = []
        found = context["ti"].xcom_pull(task_ids=["check"])
        checks = [check for check in found if check is not None]
        for check in sorted(checks, key=lambda check: _last_result(check["dataset"])):
            row = {"dataset": check["dataset"], "reasons": check["reasons"]}
            if not check["needed"]:
                row["decision"] = "no run"
            elif len(starts) >= context["params"]["most"]:
                row["decision"] = "postponed: the most runs that may be started are started"
            else:
                row["decision"] = self._begin(check["dataset"], starts, context)
            rows.append(row)
            self.log.info("%(dataset)s: %(decision)s (%(reasons)s)", row)
        context["ti"].xcom_push(ROWS, rows)
        return starts

    @staticmethod
    def _begin(name: str, starts: list[dict[str, Any]], context: Context) -> str:
        """Claim a dataset and add its run to ``starts``; in words what was decided."""
        from tbseg_ops import datasets
        from tbseg_ops.errors import TbsegError
        from tbseg_ops.options import Effort

        ti = context["ti"]
        run_id = run_id_of(name, ti.run_id, context["dag_run"].run_after)
        try:
            dataset = datasets.get(name)
            runs = datasets.Runs(Path(dataset.runs), name)
            held = datasets.claim_of(runs)
            ours = held is not None and held.holder == holder_of(run_id)
            if held is not None and not ours and not is_dead(held, ti):
                return f"waits: run {held.run} is going on, held by {held.holder}"
            claim = datasets.claim_next(
                runs, holder=holder_of(run_id), supersede=held.token if held is not None else None
            )
        except TbsegError as error:
            return f"cannot begin: {error.what}"
        conf = {"dataset": name} | {field: getattr(dataset, field) for field in Effort.model_fields}
        starts.append({"trigger_run_id": run_id, "conf": conf})
        return f"run {claim.run} is started as {SEGMENT}/{run_id}"


def run_id_of(name: str, ours: str, at: datetime) -> str:
    """Of the run for a dataset: its name and the minute (UTC) at which our own run was due.

    The same for each try of a task, and another one for each of our runs, ``ours``.
    """
    mark = hashlib.sha256(f"{ours} {name}".encode()).hexdigest()[:4]
    return f"{name}-{at.astimezone(UTC):%Y-%m-%dT%H%M}-{mark}"


def _last_result(name: str) -> tuple[float, str]:
    """When the newest result of a dataset was verified, for the order of starting only."""
    from tbseg_ops import datasets
    from tbseg_ops.errors import TbsegError

    try:
        runs = datasets.Runs(Path(datasets.get(name).runs), name)
        records = [runs.folder(n) / "records" / "verify" / "volume.json" for n in runs.numbers()]
        return max((path.stat().st_mtime for path in records if path.exists()), default=0.0), name
    except (TbsegError, OSError):
        return 0.0, name


class TbsegSummary(PlainErrors):
    """What became of each dataset, as a table in the log; fails if one could not be checked."""

    def execute(self, context: Context) -> list[dict[str, str]]:
        ti = context["ti"]
        names = ti.xcom_pull(task_ids="datasets") or []
        rows = ti.xcom_pull(task_ids="decide", key=ROWS) or []
        for row in rows:
            self.log.info("%-24s %s", row["dataset"], row["decision"])
            self.log.info("%-24s %s", "", row["reasons"])
        missing = sorted(set(names) - {row["dataset"] for row in rows})
        stuck = [row for row in rows if row["decision"].startswith("cannot begin")]
        if missing or stuck:
            found = [f"{name}: could not be checked" for name in missing]
            found += [f"{row['dataset']}: {row['decision']}" for row in stuck]
            raise StepRefused(
                "not all datasets could be looked after",
                found="; ".join(found),
                mend="see the log of their instance of the task check",
            )
        return list(rows)
