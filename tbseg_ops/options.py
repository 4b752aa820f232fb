"""An option is one field of a model, declared once with all that people are told of it.

The command line, Airflow's form, the registry, a run's crate and the tables of the documentation
are made from the fields. Nothing heavy is imported: the form is made anew whenever a DAG is read.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from tbseg_ops.errors import ConfigError, printable
from tbseg_ops.stored import Stored

_BOUNDS = ("minimum", "maximum", "minLength", "maxLength", "pattern", "enum")


@dataclass(frozen=True, slots=True)
class Text:
    """How people write a value that JSON has no word for, in a shell and in a form alike.

    ``parse`` raises ValueError, saying what it expected. ``schema``: JSON schema of the text.
    """

    parse: Callable[[str], object]
    show: Callable[[Any], str] = str
    schema: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Metadata of a field that is an option, beside pydantic's own: title, description, bounds.

    ``section``: of the form. ``metavar``: what stands for the value; of an ``argument`` its name.
    ``spelling``: on the command line, if not --NAME. ``choices``: what each value means. ``empty``:
    what happens without a value. ``decides``: another value is another result.
    """

    section: str = ""
    metavar: str | None = None
    argument: bool = False
    spelling: str | None = None
    choices: Mapping[str, str] = field(default_factory=dict)
    empty: str = ""
    decides: bool = False
    text: Text | None = None
    in_form: bool = True


@dataclass(frozen=True, slots=True)
class Option:
    """A field as an option. ``schema``: JSON schema of its value as people write it."""

    name: str
    field: FieldInfo
    shown: Shown
    schema: Mapping[str, Any]
    nullable: bool

    @property
    def typed(self) -> str:
        """What stands for it on the command line: ``--tile``, or VOLUME for an argument."""
        return (self.shown.metavar if self.shown.argument else self.flag.partition("/")[0]) or ""

    @property
    def flag(self) -> str:
        return self.shown.spelling or "--" + self.name.replace("_", "-")

    @property
    def default(self) -> Any:
        """As people write it; None if there is none."""
        value = self.field.get_default(call_default_factory=True)
        is_none = value is None or self.field.is_required()
        return None if is_none else self.written(value)

    @property
    def summary(self) -> str:
        """The first sentence of the description, without its full stop."""
        return (self.field.description or "").partition(". ")[0].removesuffix(".")

    def written(self, value: Any) -> Any:
        return value if self.shown.text is None else self.shown.text.show(value)

    def parsed(self, text: Any) -> Any:
        """The value of what was written; ValueError says what was expected."""
        if self.shown.text is None or text is None:
            return text
        return None if self.nullable and not text else self.shown.text.parse(text)


class Options(Stored):
    """A model whose fields are options."""

    @classmethod
    def options(cls) -> Iterator[Option]:
        """The fields that are options, in their order."""
        schemas = cls.model_json_schema()["properties"]
        for name, its in cls.model_fields.items():
            shown = next((part for part in its.metadata if isinstance(part, Shown)), None)
            if shown is not None:
                kinds = schemas[name].get("anyOf", [schemas[name]])
                values = [kind for kind in kinds if kind.get("type") != "null"]
                schema = {key: values[0][key] for key in ("type", *_BOUNDS) if key in values[0]}
                if shown.text is not None:
                    schema = {"type": "string", **shown.text.schema}
                yield Option(name, its, shown, schema, len(values) < len(kinds))

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
