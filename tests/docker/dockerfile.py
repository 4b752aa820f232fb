"""Just enough of the Dockerfile language to check ours: instructions, stages, copied files."""

import fnmatch
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


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


def context(root: Path) -> set[Path]:
    """The files below ``root``, relative, that .dockerignore lets a build see: last match wins."""
    rules = [
        (line.removeprefix("!").strip("/"), not line.startswith("!"))
        for line in (root / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = set()
    for file in map(Path, filter(None, listed.split("\0"))):
        left_out = False
        for pattern, excludes in rules:
            any_of = pattern.removeprefix("**/")
            names = file.parts if any_of != pattern else map(str, [file, *file.parents][:-1])
            if any(fnmatch.fnmatchcase(name, any_of) for name in names):
                left_out = excludes
        if not left_out:
            found.add(file)
    return found


def contents(path: Path, root: Path) -> dict[PurePosixPath, Path]:
    """What the COPY lines of a Dockerfile put where, of the files that a build may see."""
    seen, folder = context(root), PurePosixPath("/")
    held: dict[PurePosixPath, Path] = {}
    for instruction in instructions(path):
        if instruction.name == "WORKDIR":
            folder /= instruction.value
        sources = copied(instruction) if instruction.name == "COPY" else []
        into = instruction.value.split()[-1]
        to_folder = into.endswith("/") or into == "."
        for source in sources:
            for file in seen:
                if fnmatch.fnmatchcase(str(file), source):
                    held[folder / into / (file.name if to_folder else "")] = file
                elif file.is_relative_to(source):
                    held[folder / into / file.relative_to(source)] = file
    return held


def commands(instruction: Instruction) -> list[str]:
    """The commands of a RUN that are joined by &&."""
    return [command.strip() for command in instruction.value.split("&&")]
