"""What a user asks for: the content of ``spec.json``."""

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from tbseg_ops.engines import EngineName
from tbseg_ops.errors import ConfigError, InputError, printable
from tbseg_ops.stored import Stored

Output = Literal["mask", "intensity"]
ProbabilityDtype = Literal["uint8", "float32"]
SplitMode = Literal["copy", "virtual"]
Side = Annotated[int, Field(ge=1, le=65_536)]


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
Label = Annotated[str, StringConstraints(max_length=1024)]


class RunSpec(Stored):
    """One run: input, classifier and the parameters that a user may choose.

    ``tile`` is the wanted core of a tile (z, y, x) in voxels; the plan balances it.
    ``probabilities`` lists the classes whose maps are wanted, or is "none" or "all". ``mask`` is a
    volume of the same shape: where it is 0, nothing is computed and no class is given.
    """

    schema_version: Literal[1] = 1
    volume: AbsolutePath
    classifier: AbsolutePath
    mask: AbsolutePath | None = None
    tile: tuple[Side, Side, Side] = (256, 256, 256)
    engine: EngineName = "native"
    output: Output = "mask"
    probabilities: Literal["none", "all"] | tuple[Label, ...] = "none"
    probability_dtype: ProbabilityDtype = "float32"
    split: SplitMode = "copy"
    max_batches: Annotated[int, Field(ge=1, le=1000)] = 500

    @classmethod
    def of(cls, **values: object) -> Self:
        """A spec from a form or a command line; ConfigError names each wrong field."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(
                "the parameters of the run are wrong:\n" + explained(error),
                mend="correct the named fields",
            ) from None

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


def explained(error: ValidationError) -> str:
    """One line per wrong field, without the values' full text."""
    return "\n".join(
        f"  {'.'.join(str(part) for part in e['loc'])}: {e['msg']}"
        f" (found {printable(repr(e['input']))[:200]})"
        for e in error.errors(include_url=False)
    )
