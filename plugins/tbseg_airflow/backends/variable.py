"""The settings of a backend: an Airflow Variable that holds one JSON object."""

from typing import TypeVar

from airflow.sdk import Variable
from pydantic import BaseModel, ValidationError

from tbseg_airflow.outcome import StepRefused

SettingsT = TypeVar("SettingsT", bound=BaseModel)


def read(variable: str, kind: type[SettingsT], example: str) -> SettingsT:
    """The settings of this deployment; StepRefused if they are missing or wrong."""
    text = Variable.get(variable, default=None)
    if not text:
        raise StepRefused(
            f"the Airflow Variable {variable} is not set",
            expected="a JSON object",
            found="none",
            mend=f"set it to a JSON object such as {example}, under Admin, Variables;"
            f" see {_page(variable)}",
        )
    return parsed(variable, kind, text)


def parsed(variable: str, kind: type[SettingsT], text: str) -> SettingsT:
    """The settings that the Variable's text holds; StepRefused, naming each fault, if it is wrong.

    No value is repeated: settings may be copied from anywhere.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        faults = [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors()]
        raise StepRefused(
            f"the Airflow Variable {variable} is wrong",
            expected=f"any of {', '.join(kind.model_fields)}",
            found="; ".join(f"{where}: {what}" if where else what for where, what in faults),
            mend=f"correct it under Admin, Variables; see {_page(variable)}",
        ) from None


def _page(variable: str) -> str:
    return f"docs/{variable.removeprefix('tbseg_')}.md"
