"""Looking at a pickle without loading it.

ilastik stores a few of its settings as pickles and loads them when it opens a project; until 1.4.1
without looking. Loading a pickle runs what it names. So a project goes to ilastik only if its
pickles are what ilastik itself writes: protocol 0, primitive values, and the names of ilastik's own
classifiers. Anything else is refused, harmless or not.
"""

import pickletools
from collections.abc import Iterator
from contextlib import suppress

from tbseg_ops.errors import InputError

LIMIT_BYTES = 1 << 16
_DAMAGED = (ValueError, IndexError, OverflowError)

# Protocol 0 without INST, PERSID and stack acrobatics: values, memo, names, construction.
_VALUES = {"MARK", "STOP", "INT", "LONG", "FLOAT", "STRING", "UNICODE", "NONE", "PUT", "GET"}
_CONTAINERS = {"DICT", "LIST", "TUPLE", "APPEND", "SETITEM"}
_OPCODES = _VALUES | _CONTAINERS | {"GLOBAL", "REDUCE", "BUILD"}
_MODULES = {
    "parallelVigraRfLazyflowClassifier": "ParallelVigraRfLazyflowClassifier",
    "vigraRfLazyflowClassifier": "VigraRfLazyflowClassifier",
    "vigraRfPixelwiseClassifier": "VigraRfPixelwiseClassifier",
}
# pickletools gives the two words of a GLOBAL joined by a space.
_GLOBALS = frozenset(
    {
        "copy_reg _reconstructor",
        "copyreg _reconstructor",
        "__builtin__ object",
        "builtins object",
    }
    | {
        f"lazyflow.classifiers.{module} {name}{suffix}"
        for module, name in _MODULES.items()
        for suffix in ("", "Factory")
    }
)


def check_pickle(data: bytes, *, file: str, path: str) -> None:
    """InputError unless ``data`` is a pickle as ilastik writes it. Nothing is loaded.

    ``file`` and ``path`` (inside the file) are for the message, which gives the first name that
    does not belong there, or else the first such operation.
    """
    if len(data) > LIMIT_BYTES:
        raise _refusal(file, path, f"{len(data)} bytes", f"at most {LIMIT_BYTES} bytes")
    if foreign := next(_foreign(data), None) or _damage(data):
        raise _refusal(file, path, foreign)


def _foreign(data: bytes) -> Iterator[str]:
    """What does not belong into ilastik's pickles: names first, then operations."""
    operations = []
    texts: list[str] = []
    for name, argument in _operations(data):
        if name == "GLOBAL" and argument not in _GLOBALS:
            yield str(argument).replace(" ", ".")
        elif name == "STACK_GLOBAL":
            # Refused in any case, so a guess will do for its name: the last two texts.
            yield ".".join(texts[-2:])
        elif name not in _OPCODES:
            operations.append(f"the operation {name}")
        if isinstance(argument, str):
            texts.append(argument)
    yield from operations


def _operations(data: bytes) -> Iterator[tuple[str, object]]:
    """Name and argument of each operation, up to the first that cannot be read."""
    with suppress(*_DAMAGED):
        for opcode, argument, _ in pickletools.genops(data):
            yield opcode.name, argument


def _damage(data: bytes) -> str | None:
    # Loading runs a pickle as far as it can be read: a damaged one is not a harmless one.
    try:
        for _ in pickletools.genops(data):
            pass
    except _DAMAGED as error:
        return f"not a whole pickle: {error}"
    return None


def _refusal(
    file: str, path: str, found: str, expected: str = "only the names of ilastik's own classifiers"
) -> InputError:
    return InputError(
        f"the project holds a pickle that ilastik would run: {path}",
        file=file,
        expected=expected,
        found=found,
        mend="use a project of known origin, or train it again in ilastik; "
        "engine native never loads pickles",
    )
