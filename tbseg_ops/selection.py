"""How a volume is looked at: which of its axes, channels and time points, at which scale.

A ``RunSpec`` is a ``Selection``. Paths as people write them are declared here, too.
"""

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints

from tbseg_ops.fields import Options, Text, option
from tbseg_ops.reference import Reference

AXES = "tzyxc"
_MOST_CHANNELS = 999


def _path(text: str) -> str:
    if any(not c.isprintable() for c in text):
        raise ValueError("a path must not hold control characters")
    if not text.startswith("/"):
        raise ValueError("a path must be absolute")
    if ".." in PurePosixPath(text).parts:
        raise ValueError("a path must not hold '..'")
    return text


AbsolutePath = Annotated[
    str, StringConstraints(min_length=2, max_length=4096), AfterValidator(_path)
]
PATH_SCHEMA = {"pattern": "^/.", "maxLength": 4096}
PATH = Text(lambda text: str(Reference.of(text).absolute()), schema=PATH_SCHEMA)


def is_order(text: str) -> bool:
    """Whether these are different letters out of t, z, y, x, c, with y and x."""
    return len(set(text)) == len(text) and set("yx") <= set(text) <= set(AXES)


def _axes(text: str) -> str:
    if not is_order(text):
        raise ValueError("expected different letters out of t, z, y, x, c, with y and x")
    return text


class Selection(Options):
    """What of a volume's file is the volume. By default all of it, as its file describes it.

    ``axes``: the stored order, slowest first. ``channel``, ``time``: counted from 0.
    """

    channels_from: Annotated[tuple[AbsolutePath, ...], Field(max_length=_MOST_CHANNELS)] = option(
        (),
        "Further channels from",
        "A volume whose channels follow those of the first, in the classifier's order. Can be"
        " given several times.",
        section="Volume",
        metavar="VOLUME",
        text=PATH,
        empty="the channels of the volume itself",
        decides=True,
    )
    channel: Annotated[int, Field(ge=0, le=_MOST_CHANNELS)] | None = option(
        None,
        "Channel",
        "Only this channel of the volume, counted from 0. Of grey pictures stored as RGB: 0.",
        section="Volume",
        empty="all",
        decides=True,
    )
    time: Annotated[int, Field(ge=0, le=10**6)] | None = option(
        None,
        "Time point",
        "Only this time point of the volume, counted from 0.",
        section="Volume",
        empty="the only one",
        decides=True,
    )
    axes: (
        Annotated[
            str,
            StringConstraints(pattern=f"^[{AXES}]{{2,5}}$"),
            AfterValidator(_axes),
        ]
        | None
    ) = option(
        None,
        "Order of the axes",
        "What the axes of the stored array are, the slowest first.",
        examples=("zyx", "tzcyx", "xyz"),
        section="Volume",
        metavar="LETTERS",
        empty="as the file says",
        decides=True,
    )
    scale: Annotated[int, Field(ge=0, le=63)] = option(
        0,
        "Scale",
        "Which scale of a volume that is stored in several, 0 for the full resolution.",
        section="Volume",
        decides=True,
    )
    order: Literal["forward", "reversed"] = option(
        "forward",
        "Order of the slices",
        "Which end of the volume is z = 0.",
        section="Volume",
        choices={"forward": "the lowest number first", "reversed": "the highest number first"},
        decides=True,
    )

    def placed(self, place: Callable[[str], str]) -> Self:
        """This selection with its paths as ``place`` gives them."""
        return self.model_copy(update={"channels_from": tuple(map(place, self.channels_from))})


WHOLE = Selection()
