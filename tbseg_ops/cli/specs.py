"""The options that make a run's spec, shared by ``plan`` and ``run``."""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

import typer

from tbseg_ops.cli.common import names, triple
from tbseg_ops.engines import EngineName
from tbseg_ops.run.spec import Output, ProbabilityDtype, RunSpec, SplitMode
from tbseg_ops.volume.reference import Reference

_VOLUME = typer.Argument(
    metavar="VOLUME", help="Folder or glob of TIFF slices, a multi-page TIFF, or file.h5:/path."
)
_CLASSIFIER = typer.Argument(metavar="CLASSIFIER", help="A trained ilastik .ilp.")
Volume = Annotated[str, _VOLUME]
Classifier = Annotated[str, _CLASSIFIER]
# These may be left out where a dataset is named.
VolumeOrNone = Annotated[str | None, _VOLUME]
ClassifierOrNone = Annotated[str | None, _CLASSIFIER]
RunDirOrNone = Annotated[Path | None, typer.Argument(metavar="RUN_DIR", help="Folder of the run.")]
TileOption = Annotated[
    str, typer.Option("--tile", metavar="Z,Y,X", help="Wanted core of a tile; it is balanced.")
]
EngineOption = Annotated[
    EngineName, typer.Option(help="native: built in and fast. ilastik: the program itself.")
]
OutputOption = Annotated[
    Output, typer.Option(help="mask: 0/1. intensity: the raw value inside the class.")
]
ProbabilitiesOption = Annotated[
    str,
    typer.Option(
        metavar="none|all|LABEL,...",
        help="Classes whose probability maps are kept. A comma in a name is written %2C.",
    ),
]
ProbabilityDtypeOption = Annotated[
    ProbabilityDtype, typer.Option(help="uint8: whole percents, if that loses nothing.")
]
SplitOption = Annotated[
    SplitMode, typer.Option(help="copy: self-contained tiles. virtual: no voxel is copied.")
]
MaxBatches = Annotated[int, typer.Option(min=1, max=1000, help="At most so many batches of tiles.")]
Mask = Annotated[
    str | None,
    typer.Option(metavar="VOLUME", help="Volume of the same shape; nothing is done where it is 0."),
]
Update = Annotated[bool, typer.Option("--update", help="Change the parameters of an existing run.")]


Earlier = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="DIR",
        help="An earlier run: what is the same is taken over from it. Can be given several times.",
    ),
]


def make_spec(
    volume: str, classifier: str, mask: str | None, probabilities: str, tile: str, **more: Any
) -> RunSpec:
    """The spec of command line arguments: paths made absolute, lists taken apart."""
    wanted: str | tuple[str, ...] = probabilities
    if probabilities not in ("none", "all"):
        wanted = tuple(unquote(name) for name in names(probabilities))
    return RunSpec.of(
        volume=absolute(volume),
        classifier=absolute(classifier),
        mask=absolute(mask) if mask else None,
        probabilities=wanted,
        tile=triple(tile),
        **more,
    )


def absolute(path: str) -> str:
    """``path`` made absolute, its ``..`` resolved by name; an HDF5 dataset behind ":/" is kept."""
    return str(Reference.of(path).absolute())
