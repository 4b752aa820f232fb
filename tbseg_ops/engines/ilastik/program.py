"""Where ilastik is installed, and which version of it.

The version is part of the key of every result, so it is taken from what determines the result most
closely: the packages of the installation, before what the program says of itself.
"""

import hashlib
import os
import re
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tbseg_ops.engines.contract import NATIVE_TOO
from tbseg_ops.errors import ConfigError
from tbseg_ops.processes.bounded import bounded
from tbseg_ops.settings import ILASTIK

_ON_PATH = ("run_ilastik.sh", "ilastik")
# What computes probabilities: the program, its filters, its forest.
_PACKAGES = ("ilastik", "ilastik-core", "ilastik-meta", "lazyflow", "fastfilters", "vigra")
_VERSION = re.compile(r"(?:ilastik\W{1,3})?v?(\d+\.\d+[\w.+-]*)", re.IGNORECASE)
_ASK_SECONDS = 300.0  # a first start from a slow network disk takes minutes
_ASK_MEMORY = 16 << 30
_READ_BYTES = 1 << 20
# As platformdirs (1.4.2 and later) and appdirs (before) name it.
_SESSION_LOGS = (".local/state/ilastik/log", ".cache/ilastik/log")


@dataclass(frozen=True, slots=True)
class Program:
    """An ilastik that can be started: the words to put before its options, and its version."""

    argv: tuple[str, ...]
    version: str


def find_ilastik() -> Program:
    """The ilastik of ``TBSEG_ILASTIK``, or else ``run_ilastik.sh`` or ``ilastik`` on the PATH.

    The variable holds the path of the executable, or of the installation's folder, or a command
    as a shell would split it, without shell syntax (``podman run ... ilastik``).
    ConfigError if there is none. The version is looked up once per process.
    """
    argv = _command(ILASTIK.value or "")
    return Program(argv, _version(argv))


def base_environment(folder: Path) -> dict[str, str]:
    """All that ilastik sees of our environment: PATH; home and temporary files are ``folder``.

    ilastik logs each session below its home and does not start where the folder for it is missing.
    """
    for logs in _SESSION_LOGS:
        (folder / logs).mkdir(parents=True, exist_ok=True)
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
    }


def _command(setting: str) -> tuple[str, ...]:
    if not setting:
        for name in _ON_PATH:
            if found := shutil.which(name):
                return (str(Path(found).absolute()),)
        raise _missing("none on the PATH")
    if Path(setting).is_dir():
        for candidate in ("run_ilastik.sh", "bin/ilastik"):
            if (Path(setting) / candidate).is_file():
                setting = str(Path(setting) / candidate)
                break
    try:
        words = [setting] if Path(setting).is_file() else shlex.split(setting)
    except ValueError as error:
        raise _missing(f"{setting!r} ({error})") from error
    found = shutil.which(words[0])
    if found is None:
        raise _missing(f"{words[0]!r}: no executable file")
    return (str(Path(found).absolute()), *words[1:])


def _missing(found: str) -> ConfigError:
    return ConfigError(
        "the program ilastik was not found",
        expected=f"{ILASTIK.name}=/path/to/run_ilastik.sh, or {ILASTIK.unset}",
        found=found,
        mend=f"install ilastik (https://www.ilastik.org) and set {ILASTIK.name}{NATIVE_TOO}",
    )


@cache
def _version(argv: tuple[str, ...]) -> str:
    program = Path(argv[0])
    for place in dict.fromkeys((program, program.resolve())):
        for root in (place.parent, place.parent.parent):
            for source in (_conda, _distributions, _module):
                if version := source(root):
                    return version
    return _said(argv) or _digest(argv)


def _conda(root: Path) -> str | None:
    """From the names of conda's records, NAME-VERSION-BUILD.json: exact to the build."""
    found = {}
    for record in root.glob("conda-meta/*.json"):
        name, _, rest = record.stem.rpartition("-")
        name, _, version = name.rpartition("-")
        found[name] = f"{version}-{rest}"
    return _joined(found)


def _distributions(root: Path) -> str | None:
    """From the names of installed distributions, NAME-VERSION.dist-info or .egg-info."""
    found = {}
    for pattern in ("*.dist-info", "*.egg-info"):
        for record in root.glob(f"lib/python*/site-packages/{pattern}"):
            name, _, version = record.stem.partition("-")
            found[name.lower().replace("_", "-")] = version
    return _joined(found)


def _joined(found: dict[str, str]) -> str | None:
    """ "1.4.0-py_0 fastfilters-0.3-...", or None if ilastik itself is not among them."""
    packages = [(name, found[name]) for name in _PACKAGES if found.get(name)]
    if not any(name.startswith("ilastik") for name, _ in packages):
        return None
    (_, version), *others = packages
    return " ".join([version, *(f"{name}-{version}" for name, version in others)])


def _module(root: Path) -> str | None:
    """From ilastik/__init__.py, where releases before 1.4 keep it."""
    for folder in ("ilastik-meta/ilastik", "lib/python*/site-packages", ""):
        for module in root.glob(f"{folder}/ilastik/__init__.py".lstrip("/")):
            text = _text(module)
            if match := re.search(r"^__version__\s*=\s*[\"']([\w.+-]+)[\"']", text, re.MULTILINE):
                return match[1]
            if match := re.search(r"^__version_info__\s*=\s*\(([^)]*)\)", text, re.MULTILINE):
                return ".".join(re.findall(r"\w+", match[1]))
    return None


def _said(argv: tuple[str, ...]) -> str | None:
    """From ``ilastik --version``, which 1.4 knows."""
    with tempfile.TemporaryDirectory(prefix="tbseg-ilastik-") as name:
        folder = Path(name)
        log = folder / "version.log"
        with bounded(
            [*argv, "--version"],
            folder=folder,
            log=log,
            environment=base_environment(folder),
            seconds=_ASK_SECONDS,
            memory_bytes=_ASK_MEMORY,
        ) as program:
            outcome = program.wait()
        if outcome.timed_out or outcome.code != 0:
            return None
        lines = _text(log).splitlines()
    return next((match[1] for line in lines if (match := _VERSION.fullmatch(line.strip()))), None)


def _digest(argv: tuple[str, ...]) -> str:
    """From the files named in the command, if nothing tells a version."""
    digest = hashlib.sha256()
    for word in argv:
        if Path(word).is_file():  # its content, not its place, which differs between hosts
            with Path(word).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        else:
            digest.update(hashlib.sha256(word.encode()).digest())
    return f"unknown-{digest.hexdigest()[:16]}"


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_READ_BYTES).decode("utf-8", "replace")
