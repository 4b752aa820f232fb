"""What a run was expected to take, before its big step: the content of ``forecast.json``."""

from math import sqrt
from typing import Literal, Self

from pydantic import Field, ValidationError

from tbseg_ops.run.folder import RunFolder
from tbseg_ops.run.records import Step
from tbseg_ops.stored import Stored


class Range(Stored):
    """An expected value and an interval around it that holds nine times out of ten."""

    low: float = Field(ge=0)
    expected: float = Field(ge=0)
    high: float = Field(ge=0)

    @classmethod
    def exactly(cls, value: float) -> Self:
        return cls(low=value, expected=value, high=value)

    @classmethod
    def within(cls, expected: float, factor: float) -> Self:
        """``factor`` times more or less."""
        return cls(low=expected / factor, expected=expected, high=expected * factor)

    def times(self, number: float) -> "Range":
        return Range(
            low=self.low * number, expected=self.expected * number, high=self.high * number
        )

    def plus(self, other: "Range") -> "Range":
        """The sum, if the errors of the two have nothing to do with each other."""
        expected = self.expected + other.expected
        below = sqrt((self.expected - self.low) ** 2 + (other.expected - other.low) ** 2)
        above = sqrt((self.high - self.expected) ** 2 + (other.high - other.expected) ** 2)
        return Range(low=max(0.0, expected - below), expected=expected, high=expected + above)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


class StepForecast(Stored):
    """What is left of one step: pieces, and hours by the clock; ``basis``: from what, in words."""

    step: Step
    pieces: int
    hours: Range
    basis: str


class Forecast(Stored):
    """What is left of a run when it was made, just before the step ``before``.

    ``hours``: of all steps, one after the other. ``workers``: tiles side by side. ``disk``: bytes
    that will be added; ``results``: of class files and merged file when all is done. ``memory``:
    peak bytes of one worker. ``basis``: what the forecast of ``before`` rests on. ``plan``: digest.
    """

    schema_version: Literal[1] = 1
    plan: str
    before: Step
    tiles: int
    workers: int
    steps: tuple[StepForecast, ...]
    hours: Range
    disk: Range
    results: Range
    memory: int
    basis: str

    def of(self, step: Step) -> StepForecast:
        return next(found for found in self.steps if found.step == step)


def stored_forecast(folder: RunFolder) -> Forecast | None:
    """What was forecast under the present plan, if it was, and can be read."""
    try:
        found = Forecast.model_validate_json(folder.forecast_file.read_bytes())
    except (OSError, ValidationError):
        return None
    return found if found.plan == folder.plan.digest else None
