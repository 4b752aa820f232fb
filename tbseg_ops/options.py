"""What a user may choose: of the result (the content of ``spec.json``), the folder, the effort."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import AfterValidator, Field, StringConstraints

from tbseg_ops.errors import InputError
from tbseg_ops.fields import Option, Options, Text, option
from tbseg_ops.geometry import Box, Index
from tbseg_ops.selection import PATH, PATH_SCHEMA, AbsolutePath, Selection
from tbseg_ops.settings import DATASET_NAME

EngineName = Literal["native", "ilastik"]
Format = Literal["ome-zarr", "tiff", "tiff-slices"]

_LONGEST_SIDE = 65_536
Side = Annotated[int, Field(ge=1, le=_LONGEST_SIDE)]
_NUMBER = rf"\s*\d{{1,{len(str(_LONGEST_SIDE))}}}"

Label = Annotated[str, StringConstraints(max_length=1024)]


def _three(text: str) -> tuple[int, ...]:
    """Three integers "z,y,x", or one for all axes."""
    parts = text.replace(" ", "").split(",")
    if len(parts) not in (1, 3) or not all(re.fullmatch("[0-9]{1,9}", part) for part in parts):
        raise ValueError(f"expected Z,Y,X (three integers), found {text!r}")
    return tuple(map(int, parts * (3 // len(parts))))


_RANGE = r"\s*\d{0,7}\s*:\s*\d{0,7}\s*"


def _box(text: str) -> str:
    if not re.fullmatch(rf"{_RANGE},{_RANGE},{_RANGE}", text, re.ASCII):
        raise ValueError(f"expected Z0:Z1,Y0:Y1,X0:X1 (either end may be left out), found {text!r}")
    return re.sub(r"\s", "", text)


def _labels(text: str) -> str | tuple[str, ...]:
    if text in ("none", "all"):
        return text
    return tuple(unquote(part.strip()) for part in text.split(",") if part.strip())


def _formats(text: str) -> tuple[str, ...]:
    words = (part.strip() for part in text.split(","))
    return tuple(dict.fromkeys(word for word in words if word not in ("", "none")))


def _joined(value: str | tuple[object, ...]) -> str:
    return value if isinstance(value, str) else ",".join(map(str, value))


class RunSpec(Selection):
    """One run: input, classifier and the parameters that decide about the result, or its way.

    ``tile`` is the wanted core of a tile (z, y, x) in voxels; the plan balances it.
    ``probabilities`` lists the classes whose maps are wanted, or is "none" or "all".
    """

    schema_version: Literal[1] = 1
    volume: AbsolutePath = option(
        ...,
        "Volume",
        "A folder of TIFF slices, a list of them (.txt), some files of a folder, a TIFF file with"
        " many pages, or a dataset in an HDF5 file.",
        examples=(
            *("/data/brain7/slices", "/data/brain7/ch1_*.tif"),
            *("/data/brain7.tif", "/data/brain7.h5:/data"),
        ),
        argument=True,
        metavar="VOLUME",
        text=PATH,
    )
    classifier: AbsolutePath = option(
        ...,
        "Classifier",
        "The project file (.ilp) of a pixel classification or an autocontext, trained in ilastik.",
        argument=True,
        metavar="CLASSIFIER",
        text=PATH,
    )
    mask: AbsolutePath | None = option(
        None,
        "Mask",
        "A volume of the same shape, or coarser, or one plane: nothing is done where it is 0.",
        section="Tiles",
        metavar="VOLUME",
        text=PATH,
        empty="everywhere",
    )
    tile: tuple[Side, Side, Side] = option(
        (256, 256, 256),
        "Tile size: z,y,x",
        "Wanted size of a tile in voxels: z, y, x. It is balanced over the volume, and does not"
        " count the surroundings (halo) that are added. Smaller tiles need less memory; much"
        " smaller ones waste time on the surroundings.",
        section="Tiles",
        metavar="Z,Y,X",
        text=Text(
            _three,
            _joined,
            {"pattern": rf"^{_NUMBER}(\s*,{_NUMBER}\s*,{_NUMBER})?\s*$", "maxLength": 100},
        ),
        decides=True,
    )
    box: Annotated[str, AfterValidator(_box)] | None = option(
        None,
        "Part of the volume: z0:z1,y0:y1,x0:x1",
        "Only this part is classified, in voxels from 0, the second number not included. What lies"
        " around it counts as it does for the whole volume: the result is the same as there.",
        examples=("100:200,0:512,:",),
        section="Volume",
        metavar="Z0:Z1,Y0:Y1,X0:X1",
        text=Text(_box, schema={"pattern": rf"^{_RANGE},{_RANGE},{_RANGE}$", "maxLength": 100}),
        empty="all of it",
        decides=True,
    )
    engine: EngineName = option(
        "native",
        "Engine",
        "What computes the classes. If a classifier uses what **native** lacks, the run says so at"
        " once.",
        section="Engine",
        choices={
            "native": "built in, fast, the same result",
            "ilastik": "the original program (it must be installed)",
        },
        decides=True,
    )
    output: Literal["mask", "intensity"] = option(
        "mask",
        "Arrays of the classes",
        "What the array of a class holds.",
        section="Output",
        choices={
            "mask": "1 inside of the class, 0 outside",
            "intensity": "the volume's own values inside of the class, 0 outside",
        },
        decides=True,
    )
    probabilities: Literal["none", "all"] | tuple[Label, ...] = option(
        "none",
        "Probability maps",
        "Classes whose probability maps are kept. **none**, **all**, or names of classes:"
        " **vessel,axon** (a comma in a name is written %2C). They need much space.",
        section="Output",
        metavar="none|all|LABEL,...",
        text=Text(_labels, _joined, {"minLength": 1, "maxLength": 10_000}),
        decides=True,
    )
    probability_dtype: Literal["uint8", "float32"] = option(
        "float32",
        "Type of the probability maps",
        "Type of the probability maps.",
        section="Output",
        choices={
            "uint8": "whole percents, a quarter of the space, if that loses nothing",
            "float32": "0 to 1, as ilastik gives them",
        },
        decides=True,
    )
    split: Literal["virtual", "copy"] = option(
        "virtual",
        "Tile files",
        "How the sub-volumes of the tiles are stored.",
        section="Tiles",
        choices={
            "virtual": "each tile refers to the volume, no disk space",
            "copy": "each tile holds its voxels, and can be taken elsewhere",
        },
    )
    ingest: Literal["auto", "refer", "copy"] = option(
        "auto",
        "Slices",
        "How the voxels of the volume come into the run.",
        section="Volume",
        choices={
            "auto": "by reference where the slices allow it",
            "refer": "by reference, no disk space; the slices must stay where they are",
            "copy": "the run holds them, and stands alone",
        },
    )
    publish: tuple[Format, ...] = option(
        (),
        "Files for other programs",
        "In what formats the verified result is exported into the run, too. **ome-zarr** (raw,"
        " labels and all probability maps), **tiff** (the labels, one file), **tiff-slices** (the"
        " labels, a file a slice), several with commas between; or **none**.",
        examples=("ome-zarr", "ome-zarr,tiff"),
        section="Output",
        metavar="none|FORMAT,...",
        text=Text(_formats, lambda value: _joined(value) or "none", {"maxLength": 100}, one=True),
    )
    max_batches: Annotated[int, Field(ge=1, le=1000)] = option(
        500, "Batches", "Most batches that the tiles are put into.", in_form=False
    )

    def part(self, shape: Index) -> Box:
        """What of a volume of ``shape`` (z, y, x) is classified: ``box``, or all of it."""
        if self.box is None:
            return Box((0, 0, 0), shape)
        ends = [[int(end) if end else None for end in r.split(":")] for r in self.box.split(",")]
        lo = tuple(low or 0 for low, _ in ends)
        hi = tuple(n if high is None else high for (_, high), n in zip(ends, shape, strict=True))
        if not all(low < high <= n for low, high, n in zip(lo, hi, shape, strict=True)):
            raise InputError(
                "the part does not lie in the volume",
                file=self.volume,
                expected=f"--box within {','.join(f'0:{n}' for n in shape)}",
                found=f"--box {self.box}",
                mend="voxels are counted from 0: z, y, x; the second number is not included",
            )
        return Box((lo[0], lo[1], lo[2]), (hi[0], hi[1], hi[2]))

    def wanted_probabilities(self, labels: tuple[str, ...]) -> tuple[int, ...]:
        """Indices into ``labels`` of the classes whose probability maps are wanted."""
        if self.probabilities == "none":
            return ()
        if self.probabilities == "all":
            return tuple(range(len(labels)))
        unknown = [name for name in self.probabilities if name not in labels]
        if unknown:
            raise InputError(
                f"the classifier has no class {unknown[0]!r}",
                file=self.classifier,
                expected="any of " + ", ".join(repr(name) for name in labels),
                found=unknown[0],
                mend="correct --probabilities",
            )
        return tuple(i for i, name in enumerate(labels) if name in self.probabilities)


class Target(Options):
    """Which run: of a registered dataset, or in a folder, and what it may start from."""

    dataset: str | None = option(
        None,
        "Dataset",
        "The name of a registered dataset (**tbseg dataset add**). It stands for volume,"
        " classifier, run folder, and all about tiles, engine and output. Each run has a new"
        " folder, and takes over from earlier ones what is the same.",
        metavar="NAME",
        text=Text(str, schema={"pattern": f"^{DATASET_NAME.pattern}$"}),
        empty="what is given one by one",
    )
    run: Path | None = option(
        None,
        "Run folder",
        "Where results and everything in between are kept. Give the folder of an earlier run to"
        " continue it: what is finished is kept.",
        argument=True,
        metavar="RUN_DIR",
        text=Text(Path, schema=PATH_SCHEMA),
        empty="a folder beside the volume, named after volume and classifier",
    )
    update: bool = option(
        False,
        "Replace the plan",
        "Replace the plan where volume, classifier or settings differ from those that the run"
        " folder was made for. What is still right is kept. Without it such a difference is an"
        " error.",
        section="Redo",
    )
    earlier: tuple[Path, ...] = option(
        (),
        "Earlier runs",
        "An earlier run: what is the same is taken over from it. Can be given several times.",
        metavar="DIR",
        in_form=False,
    )


class Effort(Options):
    """With what means a run is done; nothing of it changes the result."""

    backend: Literal["local", "ssh", "kubernetes"] = option(
        "local",
        "Where the work is done",
        "Who does the work of a run in Airflow. *plan*, *verify* and *publish* run on Airflow's"
        " machine in any case, which must see the run folder, too.",
        section="Resources",
        choices={
            "local": "the machine on which Airflow runs",
            "ssh": "the hosts of the Variable tbseg_ssh",
            "kubernetes": "pods, by the Variable tbseg_kubernetes",
        },
    )
    threads: Annotated[int, Field(ge=1, le=256)] = option(
        1,
        "Threads for each tile",
        "Threads of the engine, in each worker. Where several tiles are worked on side by side, one"
        " each is best.",
        section="Resources",
    )
    workers: Annotated[int, Field(ge=1, le=1024)] | None = option(
        None,
        "Processes for ingest, merge, verify and export",
        "Processes that work side by side, on each host. In Airflow: those of ingest, merge, verify"
        " and export, which run alone.",
        section="Resources",
        empty="all cores",
    )
    task_seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] = option(
        45.0,
        "Seconds of work for a task",
        "Tiles are put together until a task of *classify* in Airflow has so much work, as far as"
        " is known before; but there are never fewer tasks than places to run them. 0: a task for"
        " each tile.",
        section="Resources",
    )
    approval_hours: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] | None = option(
        None,
        "Ask before more than so many hours",
        "If the rest of a run in Airflow is expected to take longer, the task *approve* waits until"
        " somebody approves or rejects it under *Required Actions*.",
        section="Resources",
        empty="never ask",
    )
    approval_if_unfit: bool = option(
        False,
        "Ask if the volume does not seem to fit the classifier",
        "If there are warnings of the plan or of the tiles that were measured, the task *approve*"
        " of a run in Airflow waits, however short the rest is.",
        section="Resources",
    )


def decisive(spec: type[Options]) -> tuple[str, ...]:
    """The fields of a spec of which another value is another result; paths count by content."""
    return tuple(its.name for its in spec.options() if its.decides)


def parameters(spec: Options) -> list[tuple[Option, Any]]:
    """The options of a spec that have a value, as people write it; without the files it names."""
    found = [its for its in spec.options() if its.text is not PATH]
    pairs = [(its, its.written(getattr(spec, its.name))) for its in found]
    return [(its, value) for its, value in pairs if value is not None]
