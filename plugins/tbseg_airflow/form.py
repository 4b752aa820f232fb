"""The form of a DAG: made from the models that declare the options.

Nothing heavy is imported: this is done anew whenever a DAG is read.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from airflow.sdk import Param

from tbseg_ops.fields import Option, Options

# Of the form, by what options call them: what one finds there. Airflow shows nothing but a title.
SECTIONS = {
    "Volume": "Volume: a part of it, other channels, time point or scale",
    "Tiles": "Tiles: where something is done, and in what pieces",
    "Engine": "Engine: what computes the classes",
    "Output": "Output: what the result holds",
    "Resources": "Resources: which machines, how many at a time, when a person is asked",
    "Redo": "Redo: replace the plan, compute tiles anew",
}


def params(
    *models: type[Options],
    first: str,
    examples: Mapping[str, Any],
    more: Mapping[str, Param],
) -> dict[str, Param]:
    """A field for each option of the models; sections follow those without one, each in one piece.

    ``first``: the field that stands at the top. ``more``: fields that only the form has.
    """
    fields = {
        option.name: _param(option, examples.get(option.name))
        for option in chain.from_iterable(map(shown, models))
    } | dict(more)
    sections = list(dict.fromkeys(param.schema.get("section", "") for param in fields.values()))
    sections.sort(key=bool)  # what has no section is not folded away

    def place(name: str) -> tuple[int, bool]:
        return sections.index(fields[name].schema.get("section", "")), name != first

    return {name: fields[name] for name in sorted(fields, key=place)}


def shown(model: type[Options]) -> Iterator[Option]:
    """The options of a model that a form has."""
    return (option for option in model.options() if option.in_form)


def by_title(text: str, *models: type[Options]) -> str:
    """``text`` with the options that it names called as the form calls them."""
    titles = {option.typed: option.title for model in models for option in shown(model)}
    return re.sub(
        r"--[a-z][a-z-]*|\b[A-Z]{2}[A-Z_]+\b",
        lambda word: f"{titles[word[0]]} ({word[0]})" if word[0] in titles else word[0],
        text,
    )


def _plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema without patterns, of what it is a list of, too."""
    found = {key: value for key, value in schema.items() if key != "pattern"}
    return found | {"items": _plain(found["items"])} if "items" in found else found


def _param(option: Option, examples: Any) -> Param:
    """A pattern is not in the field's schema: Airflow would show it to whoever mistypes a value.

    The task *plan* checks it, and says what was expected. What is required may be left empty, too:
    a dataset has it.
    """
    sentences = [option.description]
    if option.examples:
        # Not as code: in Airflow's small print its boxes lie over the lines beside them.
        plain = [re.sub(r"([*_])", r"\\\1", example) for example in option.examples]
        sentences.append(f"Such as {', '.join(plain)}.")
    if option.empty:
        sentences.append(f"Empty: {option.empty}.")
    schema = {**_plain(option.schema), "title": option.title, "description_md": " ".join(sentences)}
    if option.nullable or option.is_list or option.required:
        schema["type"] = ["null", schema["type"]]
    if option.section:
        schema["section"] = SECTIONS[option.section]
    if option.choices:
        schema["values_display"] = {k: f"{k}: {what}" for k, what in option.choices.items()}
    if examples is not None:
        schema["examples"] = examples
    return Param(option.default, **schema)
