"""Where a user keeps what can be made again, and how it is known for which sources it was made."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path


def cache_home() -> Path | None:
    """The user's cache folder, which need not exist; None for a user without a home."""
    with suppress(RuntimeError):
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return None


def sources_digest(*packages: Path) -> "hashlib._Hash":
    """SHA-256 of all Python sources of some packages: another one after each change of them."""
    digest = hashlib.sha256()
    for package in packages:
        for source in sorted(package.rglob("*.py")):
            digest.update(source.read_bytes())
    return digest
