"""vigra in a process of its own: found, or the reason why its column is missing."""

import subprocess
from pathlib import Path

_SCRIPT = Path(__file__).with_name("vigra_side.py")
_PYTHON = "/usr/bin/python3"
HOW = "apt-get install python3-vigra (Debian, Ubuntu)"


def missing() -> str | None:
    """Why there is no baseline, or None if there is one."""
    found = subprocess.run([_PYTHON, "-c", "import vigra"], capture_output=True, check=False)
    return None if found.returncode == 0 else f"vigra is not installed: {HOW}"


def vigra(*arguments: object) -> str:
    """What vigra_side.py prints."""
    done = subprocess.run(
        [_PYTHON, str(_SCRIPT), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return done.stdout
