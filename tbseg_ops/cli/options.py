"""Commands that take models: each field that is an option becomes an option of the command."""

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args, get_origin

import typer

from tbseg_ops.fields import Option, Options

M = TypeVar("M", bound=Options)
_KINDS = {"string": str, "integer": int, "number": float, "boolean": bool, "array": list[str]}


class Given(Generic[M]):
    """What a command line holds of a model's fields: ``values`` by field, without defaults."""

    def __init__(self, model: type[M], values: dict[str, Any]) -> None:
        self._model = model
        self._typed = {option.name: option.typed for option in model.options()}
        self.values = values

    @property
    def typed(self) -> list[str]:
        """The options as they were typed."""
        return [self._typed[name] for name in self.values]

    def made(self, **more: object) -> M:
        """The model; ``more``: other fields, and what holds where nothing was given.

        ConfigError names each wrong option as it was typed.
        """
        return self._model.of(self._typed, **more | self.values)


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command for typer: of its parameters those that are models become their options.

    A parameter of the type ``M`` is built, and what ``M`` requires is required. ``Given[M]`` is
    for fields that may all be left out. ``Annotated[..., "a", "b"]``: these fields only.
    """
    parameters = [_parameter("context", typer.Context)]
    models: dict[str, tuple[type[Options], bool, list[Option]]] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        its = parameter.annotation
        kind, *fields = get_args(its) if get_origin(its) is Annotated else [its]
        lazily = get_origin(kind) is Given
        model = get_args(kind)[0] if lazily else kind
        if isinstance(model, type) and issubclass(model, Options):
            options = [option for option in model.options() if not fields or option.name in fields]
            models[parameter.name] = model, lazily, options
            parameters += [_declared(option, option.required and not lazily) for option in options]
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def call(context: typer.Context, **values: Any) -> None:
        for name, (model, lazily, options) in models.items():
            texts = [(option, values.pop(option.name)) for option in options]
            given = Given(
                model, {o.name: _parsed(o, text) for o, text in texts if _is_given(context, o)}
            )
            values[name] = given if lazily else given.made()
        command(**values)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return call


def declared(model: type[Options], name: str) -> Any:
    """What typer is told of one field: for ``Annotated`` in a command that takes no model."""
    (option,) = (option for option in model.options() if option.name == name)
    return _info(option)


def table(options: Iterable[Option]) -> str:
    """Rows of a Markdown table: options (no arguments) with their values, meaning and default."""
    rows = (" | ".join(_cells(option)) for option in options if not option.argument)
    return "".join(f"| {row} |\n" for row in rows)


def _cells(option: Option) -> list[str]:
    kind = "" if option.schema["type"] == "boolean" else "N"
    value = option.metavar or " or ".join(option.schema.get("enum", ())) or kind
    typed = f"`{option.typed} {value}".rstrip() + "`"
    what = "; ".join([option.summary, *_choices(option)])
    cells = [typed, what, _default(option)]
    return [cell.replace("|", r"\|") for cell in cells]


def _default(option: Option) -> str:
    if option.default in (None, [], ()) or isinstance(option.default, bool):
        return option.empty
    return str(option.default)


def _choices(option: Option) -> list[str]:
    return [f"{value}: {what}" for value, what in option.choices.items()]


def _info(option: Option) -> Any:
    """What typer is told of an option; descriptions are Markdown, which terminals do not show."""
    such_as = [f"Such as {', '.join(option.examples)}"] if option.examples else []
    sentences = [f"{text}." for text in (*_choices(option), *such_as)]
    text = " ".join([option.description.replace("*", ""), *sentences])
    if option.argument:
        return typer.Argument(metavar=option.metavar, help=text)
    return typer.Option(
        option.flag,
        metavar=option.metavar,
        help=text,
        min=option.schema.get("minimum"),
        max=option.schema.get("maximum"),
        show_default=option.empty or True,
    )


def _declared(option: Option, is_required: bool) -> inspect.Parameter:
    """The option as a parameter of a command: with its type, default and bounds."""
    kind: Any = _KINDS[option.schema["type"]]
    if "enum" in option.schema:
        kind = Literal[tuple(option.schema["enum"])]
    default = None if option.is_list else option.default
    if is_required:
        default = inspect.Parameter.empty
    elif default is None:
        kind = kind | None
    return _parameter(option.name, Annotated[kind, _info(option)], default)


def _parameter(name: str, kind: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    only = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, only, annotation=kind, default=default)


def _is_given(context: typer.Context, option: Option) -> bool:
    source = context.get_parameter_source(option.name)
    return source is not None and source.name == "COMMANDLINE"


def _parsed(option: Option, text: Any) -> Any:
    try:
        return option.parsed(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option.typed) from None
