"""
Look at every registered dataset, and segment again those that changed.

Datasets are registered by **tbseg dataset add**; docs/datasets.md says how. Each night, when new
slices are announced, or by **Trigger**:

1. **check** reads the slices of each dataset and compares what they hold with the newest run.
   Dates decide nothing.
2. **decide** starts a run where one is needed, unless somebody is at work on the dataset, and not
   more than a few at a time. The others have their turn the next time.
3. **start** triggers **tbseg_segment**, which takes over from earlier runs what is the same.
4. **summary** says in its log what was decided for each dataset, and why.
"""

from datetime import timedelta

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import (
    DAG,
    Asset,
    AssetAny,
    AssetOrTimeSchedule,
    CronTriggerTimetable,
    Param,
    TriggerRule,
)
from tbseg_airflow.claims import SEGMENT
from tbseg_airflow.names import registered
from tbseg_airflow.operators.reprocess import TbsegCheck, TbsegDatasets, TbsegDecide, TbsegSummary

from tbseg_ops.settings import REPROCESS_SCHEDULE

NAMES = registered()
NIGHTLY = CronTriggerTimetable(REPROCESS_SCHEDULE.value or REPROCESS_SCHEDULE.unset, timezone="UTC")
# Whoever has written new slices says so by an event of the asset tbseg://NAME/slices.
SLICES = [Asset(name=f"{name}/slices", uri=f"tbseg://{name}/slices") for name in NAMES]

PARAMS = {
    "datasets": Param(
        None,
        type=["null", "array"],
        items={"type": "string"},
        examples=NAMES,
        title="Datasets",
        description_md="Empty: all that have a schedule.",
    ),
    "most": Param(
        10,
        type="integer",
        minimum=1,
        maximum=1000,
        title="The most runs to start",
        description_md="Others wait for the next time; who has waited longest comes first.",
    ),
}

with DAG(
    dag_id="tbseg_reprocess",
    description="Segment again what has changed",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(timetable=NIGHTLY, assets=AssetAny(*SLICES))
    if SLICES
    else NIGHTLY,
    catchup=False,
    params=PARAMS,
    is_paused_upon_creation=False,
    max_active_runs=1,
    tags=["tbseg"],
    default_args={
        "owner": "tbseg",
        "retries": 2,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": 3,
    },
) as dag:
    datasets = TbsegDatasets(task_id="datasets")
    check = TbsegCheck.partial(task_id="check", map_index_template="{{ task.title }}").expand(
        dataset=datasets.output
    )
    decide = TbsegDecide(task_id="decide", trigger_rule=TriggerRule.ALL_DONE)
    start = TriggerDagRunOperator.partial(
        task_id="start",
        trigger_dag_id=SEGMENT,
        skip_when_already_exists=True,
        map_index_template="{{ task.conf['dataset'] }}",
    ).expand_kwargs(decide.output)
    summary = TbsegSummary(task_id="summary", trigger_rule=TriggerRule.ALL_DONE)

    datasets >> check >> decide >> start >> summary
