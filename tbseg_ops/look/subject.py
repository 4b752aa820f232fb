"""What is looked at: a volume as a run would read it, and a classifier if there is one."""

from collections.abc import Mapping
from typing import Any, Self

from tbseg_ops import datasets
from tbseg_ops.errors import ConfigError
from tbseg_ops.fields import Option
from tbseg_ops.options import RunSpec
from tbseg_ops.selection import AbsolutePath, Selection

_FIELDS = ("volume", "classifier", "mask", *Selection.model_fields)


def options() -> list[Option]:
    """Those of a run that decide what is looked at, in the order of the form."""
    return sorted(
        (option for option in RunSpec.options() if option.name in _FIELDS),
        key=lambda option: _FIELDS.index(option.name),
    )


class Subject(Selection):
    """Of a ``RunSpec`` what can be looked at; a run of it would read the same voxels."""

    volume: AbsolutePath
    classifier: AbsolutePath | None = None
    mask: AbsolutePath | None = None

    @classmethod
    def of_dataset(cls, name: str) -> Self:
        """That of a registered dataset. ConfigError if there is none, or it is wrong."""
        spec = datasets.get(name).spec
        return cls(**{field: getattr(spec, field) for field in _FIELDS})

    @classmethod
    def of_texts(cls, texts: Mapping[str, Any]) -> Self:
        """What a person has written, by the names of ``options``; what is empty counts as not
        given. ConfigError has a sentence for each wrong value."""
        named = {option.name: option for option in options()}
        if unknown := sorted(set(texts) - set(named)):
            raise ConfigError(
                "there are no such options",
                expected=", ".join(named),
                found=", ".join(map(ascii, unknown[:5])),
            )
        values, titles = {}, {name: option.title for name, option in named.items()}
        for name, text in texts.items():
            if text in (None, "", []):
                continue
            try:
                values[name] = named[name].parsed(text)
            except (ValueError, TypeError, AttributeError) as error:
                raise ConfigError(
                    f"{titles[name]}: {error}", mend="correct what is named"
                ) from None
        if "volume" not in values:
            raise ConfigError("there is nothing to look at", mend="name a volume, or a dataset")
        return cls.of(titles, **values)
