"""Files that can be made again, sealed by a digest: a damaged one is as good as none."""

import hashlib
from contextlib import suppress
from pathlib import Path

from tbseg_ops.storage.commit import commit_over, sweep

_SEAL = hashlib.sha256().digest_size


def put_sealed(path: Path, data: bytes) -> None:
    """In the place of what was there; what earlier writers left half done in the folder goes.

    OSError or TbsegError if it cannot be written.
    """
    sweep(path.parent)
    commit_over(path, hashlib.sha256(data).digest() + data)


def get_sealed(path: Path) -> bytes | None:
    """What was put; None where it is not there, cannot be read, or is not whole."""
    with suppress(OSError):
        content = path.read_bytes()
        seal, data = content[:_SEAL], content[_SEAL:]
        if hashlib.sha256(data).digest() == seal:
            return data
    return None
