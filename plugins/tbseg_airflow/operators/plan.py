"""The operator of the first step: checks the form and turns it into ``tbseg plan``."""

import contextlib
import re
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from airflow.sdk import Context, Variable

from tbseg_airflow.claims import holder_of, is_dead
from tbseg_airflow.form import by_title, shown
from tbseg_airflow.machines import places_before
from tbseg_airflow.operators.step import TbsegStep
from tbseg_airflow.outcome import StepRefused
from tbseg_ops.geometry import TILE_NAME
from tbseg_ops.options import RunSpec, Target
from tbseg_ops.reference import Reference
from tbseg_ops.selection import PATH_SCHEMA

# Form field -> option of `tbseg plan`.
OPTIONS = {option.name: option.typed for option in shown(RunSpec) if not option.argument}
RUNS_VARIABLE = "tbseg_runs"
MOST_INSTANCES = 1000  # of a mapped task: [core] max_map_length of airflow.cfg


class TbsegPlan(TbsegStep):
    """Runs ``tbseg plan`` with the values of the form.

    Its result is the list that the mapped tasks run over: numbers of batches, or names of tiles
    when the form names some to be done again. The run folder and the counts go to XCom "plan".
    """

    template_fields = ()

    def __init__(self, *, home: str, **kwargs: Any) -> None:
        super().__init__(step="plan", run_dir="", **kwargs)
        self.home = home

    def execute(self, context: Context) -> list[int] | list[str]:
        params = context["params"]
        # The form's own names: Airflow adds whatever else the conf holds to context["params"].
        self._refuse_unknown(context["dag"].params, context["dag_run"].conf or {})
        self._refuse_malformed(params)
        if params["dataset"]:
            self._refuse_both(params, context["dag"].params)
        else:
            self._refuse_nothing(params)
        chosen = self._chosen(params["only_tiles"])
        if params["backend"] == "kubernetes":
            self._check_owner(params)
        try:
            report = self.call(self.command(context))
        except StepRefused as error:
            titled = by_title(str(error), RunSpec, Target)
            if titled == str(error):
                raise
            raise StepRefused(titled) from None
        for text in report.get("warnings", ()):
            self.log.warning("%s", text)
        self.run_dir = report["run"]  # for OpenLineage, which asks the operator afterwards
        clear_number = context["dag_run"].clear_number or 0
        plan = {key: report[key] for key in ("run", "tiles", "batches", "publish")}
        context["ti"].xcom_push("plan", {**plan, "clear_number": clear_number})
        return chosen or list(range(report["batches"]))

    def command(self, context: Context) -> list[str]:
        params = context["params"]
        begin = [
            *("tbseg", "plan", "--json"),
            f"--places={places_before(params['backend'])}",
            f"--task-seconds={params['task_seconds']}",
        ]
        if params["dataset"]:
            return [*begin, *self._of_dataset(params["dataset"], context)]
        options = [
            f"{OPTIONS[field]}={value}"
            for field in params
            if field in OPTIONS
            for value in _values(params[field])
        ]
        if params["update"]:
            options.append("--update")
        named = params["volume"], params["classifier"], self._run_folder(params)
        return [*begin, *options, "--", *named]

    def _run_folder(self, params: Mapping[str, Any]) -> str:
        """The form's, or one named by volume and classifier."""
        runs = Variable.get(RUNS_VARIABLE, default=None)
        named = params["volume"], params["classifier"]
        return params["run"] or default_run(*named, runs, Path(self.home))

    def _check_owner(self, params: Mapping[str, Any]) -> None:
        """Refused in seconds, and not when the first pod has waited for a node."""
        from tbseg_airflow.backends.kubernetes.owner import check_owner
        from tbseg_airflow.backends.kubernetes.settings import settings
        from tbseg_ops import datasets
        from tbseg_ops.errors import TbsegError

        with contextlib.suppress(TbsegError):  # of a dataset: the command says it better
            name = params["dataset"]
            run = Path(datasets.get(name).runs) / "new" if name else Path(self._run_folder(params))
            check_owner(run, settings(), self.log)

    def _of_dataset(self, name: str, context: Context) -> list[str]:
        """The run of a registered dataset, claimed for this run of the DAG.

        A claim of a run of this DAG that has ended without giving it up is superseded.
        """
        from tbseg_ops import datasets
        from tbseg_ops.errors import TbsegError

        ti = context["ti"]
        options = [f"--dataset={name}", f"--holder={holder_of(ti.run_id)}"]
        with contextlib.suppress(TbsegError):  # the command says it better
            held = datasets.claim_of(datasets.Runs(Path(datasets.get(name).runs), name))
            if held is not None and held.holder != holder_of(ti.run_id) and is_dead(held, ti):
                options.append(f"--supersede={held.token}")
        if context["params"]["only_tiles"]:
            options.append("--again")
        return options

    @staticmethod
    def _chosen(text: str | None) -> list[str]:
        names = tile_names(text)
        wrong = [name for name in names if not TILE_NAME.fullmatch(name)]
        if wrong:
            raise StepRefused(
                "what is to be computed anew is not the name of a tile",
                expected="names as the run shows them, with commas between, such as z000_y001_x002",
                found=wrong[0],
                mend="correct Only these tiles, computed anew",
            )
        if len(names) > MOST_INSTANCES:
            raise StepRefused(
                "too many tiles are named",
                expected=f"at most {MOST_INSTANCES}",
                found=len(names),
                mend="name them in several runs, one after the other",
            )
        return names

    @staticmethod
    def _refuse_malformed(params: Mapping[str, Any]) -> None:
        """What the form's own check would refuse with a pattern, in words."""
        for option in chain(shown(RunSpec), shown(Target)):
            schema = option.schema.get("items", option.schema)
            pattern = schema.get("pattern", "")
            for value in _values(params.get(option.name)):
                if not re.search(pattern, str(value)):
                    example = next(iter(option.examples), option.default)
                    named = option.summary if example is None else f"such as {example}"
                    is_path = pattern == PATH_SCHEMA["pattern"]
                    raise StepRefused(
                        f"{option.title} is not written as it must be",
                        expected="a path from the root, such as /data/x" if is_path else named,
                        found=str(value),
                        mend="correct it, and trigger again",
                    )

    @staticmethod
    def _refuse_nothing(params: Mapping[str, Any]) -> None:
        missing = [o.title for o in shown(RunSpec) if o.required and not params.get(o.name)]
        if missing:
            raise StepRefused(
                "it is not said what is to be classified",
                expected="a dataset alone, or a volume and a classifier",
                found=f"no dataset, and no {' and no '.join(missing)}",
                mend=f"fill in {' and '.join(missing)}, or choose a dataset",
            )

    @staticmethod
    def _refuse_both(params: Mapping[str, Any], form: Mapping[str, Any]) -> None:
        """A dataset has a volume and options of its own: what is given beside it has no effect."""
        both = [
            option.title
            for option in chain(shown(RunSpec), shown(Target))
            if option.name != "dataset"
            and _values(params.get(option.name)) != _values(form.get(option.name))
        ]
        if both:
            raise StepRefused(
                "a dataset and what a dataset has of its own are given",
                expected="a dataset alone, or a volume and a classifier",
                found=f"dataset {params['dataset']}, and {', '.join(both)}",
                mend="clear Dataset, or leave the others as the form proposes them",
            )

    @staticmethod
    def _refuse_unknown(known: Iterable[str], conf: Iterable[str]) -> None:
        """Airflow itself accepts any key: a misspelt one would be silently without effect."""
        unknown = sorted(set(conf) - set(known))
        if unknown:
            raise StepRefused(
                "the run has parameters that this DAG does not know",
                expected=f"any of {', '.join(known)}",
                found=", ".join(unknown),
                mend="correct the names in the run's configuration",
            )


def _values(value: Any) -> list[Any]:
    """What is given for an option: one value, those of a list, or none where it is empty."""
    if isinstance(value, list | tuple):
        return list(value)
    return [] if value in (None, "") else [value]


def tile_names(text: str | None) -> list[str]:
    """The names in a comma-separated list, once each, in its order."""
    return list(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))


def default_run(volume: str, classifier: str, runs: str | None, home: Path) -> str:
    """The run folder for a form that names none: VOLUME-CLASSIFIER below a folder for runs.

    That folder is the Airflow Variable ``tbseg_runs``; without it, the one that holds the volume,
    or .demo/ of the deployment for the volume that comes with it.
    """
    reference = Reference.of(volume)
    parent = Path(runs) if runs else reference.folder
    if not runs and reference.fixed.is_relative_to(home):
        parent = home / ".demo"
    return str(parent / f"{reference.name}-{Path(classifier).stem}")
