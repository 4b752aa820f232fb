"""An option is one field of a model, declared once with all that people are told of it.

The command line, Airflow's form, the registry, a run's crate and the tables of the documentation
are made from the fields. Nothing heavy is imported: the form is made anew whenever a DAG is read.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from pydantic import Field, ValidationError

from tbseg_ops.errors import ConfigError, printable
from tbseg_ops.stored import Stored

_BOUNDS = ("type", "minimum", "maximum", "minLength", "maxLength", "pattern", "enum")


@dataclass(frozen=True, slots=True)
class Text:
    """How people write a value that JSON has no word for, in a shell and in a form alike.

    ``parse`` raises ValueError, saying what it expected. ``schema``: JSON schema of the text.
    ``one``: it is the text of a whole list, which is not given a value at a time.
    """

    parse: Callable[[str], object]
    show: Callable[[Any], str] = str
    schema: Mapping[str, object] = field(default_factory=dict)
    one: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What people are told of a field; its first sentence is the ``summary``.

    ``section``: of the form. ``metavar``: what stands for the value; of an ``argument`` its name.
    ``spelling``: on the command line, if not --NAME. ``choices``: what each value means. ``empty``:
    what happens without a value. ``decides``: another value is another result. The last four are
    the field's own: ``schema`` is that of its value as people write it, and ``default``, too.
    """

    title: str = ""
    description: str = ""
    examples: tuple[str, ...] = ()
    section: str = ""
    metavar: str | None = None
    argument: bool = False
    spelling: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)
    empty: str = ""
    decides: bool = False
    text: Text | None = None
    in_form: bool = True
    name: str = ""
    default: Any = None
    nullable: bool = False
    schema: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_list(self) -> bool:
        """Given several times, a value each time."""
        return self.schema.get("type") == "array"

    @property
    def flag(self) -> str:
        return self.spelling or "--" + self.name.replace("_", "-")

    @property
    def typed(self) -> str:
        """What a user types for it: ``--tile``, or in the place of an argument ``VOLUME``."""
        return self.metavar if self.argument and self.metavar else self.flag.partition("/")[0]

    @property
    def summary(self) -> str:
        return self.description.partition(". ")[0].removesuffix(".")

    @property
    def required(self) -> bool:
        return self.default is None and not self.nullable

    def written(self, value: Any) -> Any:
        """A value as people write it."""
        if self.text is None or value is None:
            return value
        return list(map(self.text.show, value)) if self.is_list else self.text.show(value)

    def parsed(self, text: Any) -> Any:
        """The value of what was written; ValueError says what was expected."""
        if self.text is None or text is None:
            return text
        if self.is_list:
            return tuple(map(self.text.parse, text))
        return None if self.nullable and not text else self.text.parse(text)


def option(default: Any, title: str = "", description: str = "", **more: Any) -> Any:
    """A field of ``Options`` that is an option; ``default`` is ... if it is required."""
    made = Field(default, title=title or None, description=description)
    made.metadata.append(Option(title=title, description=description, **more))
    return made


class Options(Stored):
    """A model with fields that are options."""

    @classmethod
    def options(cls) -> Iterator[Option]:
        """The fields that are options, in their order."""
        schemas = cls.model_json_schema()["properties"]
        for name, info in cls.model_fields.items():
            declared = next((part for part in info.metadata if isinstance(part, Option)), None)
            if declared is None:
                continue
            kinds = schemas[name].get("anyOf", [schemas[name]])
            values = [kind for kind in kinds if kind.get("type") != "null"]
            schema = {key: values[0][key] for key in _BOUNDS if key in values[0]}
            if declared.text is not None:
                schema = {"type": "string", **declared.text.schema}
                is_list = "items" in values[0] and "prefixItems" not in values[0]
                if is_list and not declared.text.one:
                    schema = {"type": "array", "items": schema}
            made = replace(declared, name=name, nullable=len(values) < len(kinds), schema=schema)
            default = None if info.is_required() else made.written(info.default)
            yield replace(made, default=default)

    @classmethod
    def of(cls, names: Mapping[str, str] | None = None, /, **values: object) -> Self:
        """A model of outside values; ConfigError has a sentence for each wrong one.

        ``names``: of the fields as the user wrote them; by default a field's path.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(
                "these options are wrong:\n" + explained(error, names),
                mend="correct what is named",
            ) from None


def explained(error: ValidationError, names: Mapping[str, str] | None = None) -> str:
    """One line for each wrong field, by its name or else its path, without its value's full text.

    Of several objections to a field with a name, the last: that to the most general of its types.
    """
    told = {}
    for e in error.errors(include_url=False):
        place = [str(part) for part in e["loc"]]
        name = (names or {}).get(place[0] if place else "", ".".join(place))
        told[name] = f"{e['msg']} (found {printable(repr(e['input']))[:200]})"
    return "\n".join(f"  {name}: {what}" for name, what in told.items())
