"""
Classify a whole volume with a classifier that was trained in **ilastik** (pixel classification).

### What it needs
Either the name of a registered **dataset**, or

- **Volume**: a folder of TIFF slices, a multi-page TIFF, or a dataset in an HDF5 file.
- **Classifier**: the project file (.ilp) in which you drew labels and trained.

Paths are those of the machine on which Airflow runs. Press **Trigger** (top right), fill in the two
and press **Trigger** again. Everything else has a sensible value.

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
9. **publish** writes the report.

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
from tbseg_airflow.names import registered
from tbseg_airflow.operators.approval import TbsegApproval
from tbseg_airflow.operators.doctor import TbsegDoctor
from tbseg_airflow.operators.forecast import TbsegCalibrate, TbsegForecast
from tbseg_airflow.operators.plan import TbsegPlan
from tbseg_airflow.operators.step import TbsegStep

HOME = Path(__file__).resolve().parent.parent
TILE = r"z\d{3,9}_y\d{3,9}_x\d{3,9}"

PARAMS = {
    "dataset": Param(
        None,
        type=["null", "string"],
        pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        examples=registered(),
        title="Dataset",
        description_md="The name of a registered dataset (**tbseg dataset add**), in place of"
        " volume, classifier, run folder, and all about tiles, engine and output: those are the"
        " dataset's own. Each run has a new folder, and takes over from earlier ones what is the"
        " same. Empty: what is named below.",
    ),
    "volume": Param(
        f"{HOME}/tests/reference/nuclei/volume.h5:/data",
        type="string",
        pattern="^/.",
        maxLength=4096,
        title="Volume",
        description_md="One of:\n"
        "- a folder of TIFF slices: **/data/brain7/slices**\n"
        "- some files of a folder: **/data/brain7/ch1_\\*.tif**\n"
        "- a TIFF file with many pages: **/data/brain7.tif**\n"
        "- a dataset in an HDF5 file: **/data/brain7.h5:/data**",
    ),
    "classifier": Param(
        f"{HOME}/tests/reference/nuclei/classifier.ilp",
        type="string",
        pattern="^/.",
        maxLength=4096,
        title="Classifier",
        description_md="The project file (.ilp) of a pixel classification, trained in ilastik.",
    ),
    "run": Param(
        None,
        type=["null", "string"],
        pattern="^/.",
        maxLength=4096,
        title="Run folder",
        description_md="Where results and everything in between are kept. Empty: a folder beside"
        " the volume, named after volume and classifier. Give the folder of an earlier run to"
        " continue it: what is finished is kept.",
    ),
    "tile": Param(
        "256,256,256",
        type="string",
        pattern=r"^\s*\d{1,5}(\s*,\s*\d{1,5}\s*,\s*\d{1,5})?\s*$",
        maxLength=100,
        section="Tiles",
        title="Tile size: z,y,x",
        description_md="In voxels, without the surroundings (halo) that are added. Smaller tiles"
        " need less memory; much smaller ones waste time on the surroundings.",
    ),
    "split": Param(
        "copy",
        type="string",
        enum=["copy", "virtual"],
        values_display={
            "copy": "copy: each tile is a file of its own, which ilastik can open",
            "virtual": "virtual: each tile refers to the volume, no disk space",
        },
        section="Tiles",
        title="Tile files",
    ),
    "mask": Param(
        None,
        type=["null", "string"],
        pattern="^/.",
        maxLength=4096,
        section="Tiles",
        title="Mask",
        description_md="A volume of the same shape, given like the volume: nothing is done where"
        " it is 0. Empty: everywhere.",
    ),
    "engine": Param(
        "native",
        type="string",
        enum=["native", "ilastik"],
        values_display={
            "native": "native: built in, fast, the same result",
            "ilastik": "ilastik: the original program (it must be installed)",
        },
        section="Engine",
        title="Engine",
        description_md="If a classifier uses what *native* lacks, the run says so at once.",
    ),
    "output": Param(
        "mask",
        type="string",
        enum=["mask", "intensity"],
        values_display={
            "mask": "mask: 1 inside of the class, 0 outside",
            "intensity": "intensity: the volume's own values inside of the class, 0 outside",
        },
        section="Output",
        title="Arrays of the classes",
    ),
    "probabilities": Param(
        "none",
        type="string",
        minLength=1,
        maxLength=10_000,
        section="Output",
        title="Probability maps",
        description_md="**none**, **all**, or names of classes: **vessel,axon** (a comma in a name"
        " is written %2C). They need much space.",
    ),
    "probability_dtype": Param(
        "float32",
        type="string",
        enum=["float32", "uint8"],
        values_display={
            "float32": "float32: 0 to 1, as ilastik gives them",
            "uint8": "uint8: whole percents, a quarter of the space",
        },
        section="Output",
        title="Type of the probability maps",
    ),
    "only_tiles": Param(
        None,
        type=["null", "string"],
        pattern=rf"^(\s*{TILE}\s*(,\s*{TILE}\s*)*)?$",
        maxLength=100_000,
        section="Redo",
        title="Only these tiles, computed anew",
        description_md="Names of tiles of a run that was finished before, such as"
        " **z000_y001_x002, z003_y000_x001**. Empty: all that is missing.",
    ),
    "update": Param(
        False,
        type="boolean",
        section="Redo",
        title="Replace the plan",
        description_md="When volume, classifier or settings differ from those that the run folder"
        " was made for. What is still right is kept. Off: such a difference is an error.",
    ),
    "backend": Param(
        "local",
        type="string",
        enum=["local", "ssh", "kubernetes"],
        values_display={
            "local": "local: the machine on which Airflow runs",
            "ssh": "ssh: the hosts of the Variable tbseg_ssh",
            "kubernetes": "kubernetes: pods, by the Variable tbseg_kubernetes",
        },
        section="Resources",
        title="Where the work is done",
        description_md="*plan*, *verify* and *publish* run on Airflow's machine in any case, which"
        " must see the run folder, too.",
    ),
    "threads": Param(
        1,
        type="integer",
        minimum=1,
        maximum=256,
        section="Resources",
        title="Threads for each tile",
        description_md="Airflow works on several tiles side by side: one thread each is best,"
        " unless tiles are few.",
    ),
    "workers": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        maximum=1024,
        section="Resources",
        title="Processes for ingest, merge and verify",
        description_md="They run alone. Empty: as many as there are cores.",
    ),
    "approval_hours": Param(
        None,
        type=["null", "number"],
        minimum=0,
        maximum=100_000,
        section="Resources",
        title="Ask before more than so many hours",
        description_md="If the rest of the run is expected to take longer, the task *approve* waits"
        " until somebody approves or rejects it under *Required Actions*. Empty: never ask.",
    ),
    "calibration": Param(
        3,
        type="integer",
        minimum=0,
        maximum=100,
        section="Resources",
        title="Tiles to measure before the forecast",
        description_md="On each host. They are tiles of the run, done first. 0: none; then the"
        " forecast rests on what was measured before, or is a guess.",
    ),
}

TOGETHER = "{{ '--workers=%d' % params.workers if params.workers else '' }}"
PER_TILE = "--workers=1"
THREADS = "--threads={{ params.threads }}"
AGAIN = "{{ '--tiles=%s' % params.only_tiles if params.only_tiles else '' }}"
ELSEWHERE = "{{ params.backend }}"

with DAG(
    dag_id="tbseg_segment",
    description="Classify a whole volume with an ilastik classifier",
    doc_md=__doc__,
    schedule=None,
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
    # Over batches of tiles, or over the tiles that the form names.
    split = TbsegStep.partial(
        task_id="split",
        step="split",
        options=[PER_TILE],
        backend=ELSEWHERE,
        map_index_template="{{ task.title }}",
    ).expand(what=plan.output)
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
    )
    classify = TbsegStep.partial(
        task_id="classify",
        step="classify",
        options=[PER_TILE, THREADS],
        backend=ELSEWHERE,
        map_index_template="{{ task.title }}",
    ).expand(what=plan.output)
    merge = TbsegStep(task_id="merge", step="merge", options=[TOGETHER], backend=ELSEWHERE)
    verify = TbsegStep(task_id="verify", step="verify", options=[TOGETHER])
    # The last task, and only if all went well: the state of the run is the state of this task.
    publish = TbsegStep(task_id="publish", step="publish", outlets=[AssetAlias("tbseg")])

    plan >> doctor >> ingest >> split >> calibrate >> forecast >> approve
    approve >> classify >> merge >> verify >> publish
