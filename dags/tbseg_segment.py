"""
Classify a whole volume with a classifier that was trained in **ilastik** (pixel classification).

### What it needs
Either the name of a registered **dataset**, or

- **Volume**: a folder of TIFF slices, a multi-page TIFF, or a dataset in an HDF5 file.
- **Classifier**: the project file (.ilp) in which you drew labels and trained.

Paths are those of the machine on which Airflow runs. Press **Trigger** (top right), fill in the two
and press **Trigger** again. Everything else has a sensible value. What is wrong with a value stands
in the log of the first task, **plan**.

### What you get
In the run folder: **segmentation.h5**, one array per class, named as in ilastik, and
**report.html**. The result is the same, voxel by voxel, whatever the size of the tiles.

### What it does
1. **plan** checks volume and classifier, cuts the volume into tiles, checks the disk.
2. **doctor** checks each machine that is to do the work: shared folder, versions, disk, memory.
3. **ingest** reads the slices into one 3D HDF5 volume.
4. **split** cuts out each tile, with as much around it as the classifier's features see.
5. **calibrate** classifies a few tiles, from which **forecast** tells how long the rest will take
   and how much disk and memory it needs; **approve** asks a person, if the form says so.
6. **classify** runs the classifier on each tile: one array per class.
7. **merge** puts the tiles together.
8. **verify** checks that nothing is missing or stale, and that no seam can be seen.
9. **export** writes OME-Zarr or TIFF for other programs, if the form says so.
10. **publish** writes the report.

### When something goes wrong
Click the red task, then **Logs**: the last lines say what was found, what was expected and what
mends it. Wrong input is not tried again; a full disk or a lost machine is, twice. Finished tiles
are kept: after the cause is gone, **Clear** the failed tasks (or trigger again with the same run
folder), and only what is missing is done.

### Do a tile again
**Clear** its instance of **classify**, with *Downstream*: that tile is computed again, and the
result is put together and checked anew. Or trigger with the same values and the tile's name under
**Redo**.
"""

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, AssetAlias, Param
from tbseg_airflow.form import SECTIONS, params
from tbseg_airflow.names import registered
from tbseg_airflow.operators.approval import TbsegApproval
from tbseg_airflow.operators.doctor import TbsegDoctor
from tbseg_airflow.operators.export import TbsegExport
from tbseg_airflow.operators.forecast import TbsegCalibrate, TbsegForecast
from tbseg_airflow.operators.plan import TbsegPlan
from tbseg_airflow.operators.step import TbsegStep
from tbseg_airflow.timetable import WhenAsked

from tbseg_ops.options import Effort, RunSpec, Target

HOME = Path(__file__).resolve().parent.parent

PARAMS = params(
    *(RunSpec, Target, Effort),
    first="dataset",
    examples={"dataset": registered()},
    more={
        "only_tiles": Param(
            None,
            type=["null", "string"],
            maxLength=100_000,
            section=SECTIONS["Redo"],
            title="Only these tiles, computed anew",
            description_md="Names of tiles of a run that was finished before, such as"
            " **z000_y001_x002, z003_y000_x001**. Empty: all that is missing.",
        ),
        "calibration": Param(
            3,
            type="integer",
            minimum=0,
            maximum=100,
            section=SECTIONS["Resources"],
            title="Tiles to measure before the forecast",
            description_md="On each host. They are tiles of the run, done first. 0: none; then the"
            " forecast rests on what was measured before, or is a guess.",
        ),
    },
)

TOGETHER = "{{ '--workers=%d' % params.workers if params.workers else '' }}"
PER_TILE = "--workers=1"
THREADS = "--threads={{ params.threads }}"
AGAIN = "{{ '--tiles=%s' % params.only_tiles if params.only_tiles else '' }}"
ELSEWHERE = "{{ params.backend }}"

with DAG(
    dag_id="tbseg_segment",
    description="Classify a whole volume with an ilastik classifier",
    doc_md=__doc__,
    schedule=WhenAsked(),
    params=PARAMS,
    is_paused_upon_creation=False,
    max_active_runs=4,
    tags=["tbseg"],
    default_args={
        "owner": "tbseg",
        "retries": 2,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": 3,
        "max_retry_delay": timedelta(minutes=5),
    },
) as dag:
    plan = TbsegPlan(task_id="plan", home=str(HOME))
    doctor = TbsegDoctor(task_id="doctor", backend=ELSEWHERE)
    ingest = TbsegStep(task_id="ingest", step="ingest", options=[TOGETHER], backend=ELSEWHERE)
    split = TbsegStep(task_id="split", step="split", options=[TOGETHER, AGAIN], backend=ELSEWHERE)
    calibrate = TbsegCalibrate.partial(
        task_id="calibrate",
        options=[THREADS],
        backend=ELSEWHERE,
        map_index_template="{{ task.title }}",
    ).expand(what=doctor.output)
    forecast = TbsegForecast(task_id="forecast", options=[THREADS, AGAIN])
    approve = TbsegApproval(
        task_id="approve",
        most_hours="{{ '' if params.approval_hours is none else params.approval_hours }}",
        if_unfit="{{ 'yes' if params.approval_if_unfit else '' }}",
    )
    # Over batches of tiles, or over the tiles that the form names.
    classify = TbsegStep.partial(
        task_id="classify",
        step="classify",
        options=[PER_TILE, THREADS],
        backend=ELSEWHERE,
        map_index_template="{{ task.title }}",
    ).expand(what=plan.output)
    merge = TbsegStep(task_id="merge", step="merge", options=[TOGETHER], backend=ELSEWHERE)
    verify = TbsegStep(task_id="verify", step="verify", options=[TOGETHER])
    export = TbsegExport(task_id="export", options=[TOGETHER], backend=ELSEWHERE)
    # The last task, and only if all went well: the state of the run is the state of this task.
    publish = TbsegStep(task_id="publish", step="publish", outlets=[AssetAlias("tbseg")])

    plan >> doctor >> ingest >> split >> calibrate >> forecast >> approve
    approve >> classify >> merge >> verify >> export >> publish
