"""Just enough of the Dockerfile language to check ours: instructions, stages, copied files."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    name: str
    """In capitals."""
    value: str
    """Continuation lines joined, comments left out."""
    line: int


def instructions(path: Path) -> list[Instruction]:
    """All instructions of a Dockerfile; ValueError for a line that is none."""
    found: list[Instruction] = []
    pending, start = "", 0
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        start = start or number
        pending += line.strip().removesuffix("\\")
        if line.rstrip().endswith("\\"):
            continue
        match = re.fullmatch(r"([A-Za-z]+)\s+(.+)", pending)
        if match is None:
            raise ValueError(f"{path.name}:{start}: {pending!r}")
        found.append(Instruction(match[1].upper(), match[2], start))
        pending, start = "", 0
    if pending:
        raise ValueError(f"{path.name}:{start}: the file ends within an instruction")
    return found


def base(instruction: Instruction) -> tuple[str, str | None]:
    """Image and stage name of a FROM."""
    words = [word for word in instruction.value.split() if not word.startswith("--")]
    return words[0], words[2] if len(words) == 3 and words[1].upper() == "AS" else None


def copied(instruction: Instruction) -> list[str]:
    """What a COPY takes from the build context; nothing if it copies from a stage."""
    words = shlex.split(instruction.value)
    if any(word.startswith("--from=") for word in words):
        return []
    return [word for word in words if not word.startswith("--")][:-1]


def commands(instruction: Instruction) -> list[str]:
    """The commands of a RUN that are joined by &&."""
    return [command.strip() for command in instruction.value.split("&&")]
