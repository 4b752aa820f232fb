"""How much memory the control group of this process leaves: a pod has less than its node."""

import contextlib
from pathlib import Path

_UNLIMITED = 1 << 60  # version 1 writes a number of this size where there is no limit
# Limit, use, and what of that is a cache which the kernel gives up when it needs room.
_FILES = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def memory_left(root: Path = Path("/")) -> int | None:
    """Bytes that this process may still take before the kernel kills; None without a limit.

    Both versions of control groups are read. A limit further up counts too. ``root``: where
    ``proc`` and ``sys`` are.
    """
    left = [one for folder, version in _groups(root) if (one := _left(folder, version)) is not None]
    return min(left, default=None)


def _groups(root: Path) -> list[tuple[Path, int]]:
    """The folders of this process' group and those above it, with the version."""
    mount = root / "sys/fs/cgroup"
    found: list[tuple[Path, int]] = []
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            version = 1 if controllers else 2
            top = mount / "memory" if version == 1 else mount
            # In a container the path may be that of the node, where only the top is mounted.
            parts = [part for part in path.split("/") if part not in ("", "..")]
            found += [(top.joinpath(*parts[:depth]), version) for depth in range(len(parts) + 1)]
    return found


def _left(folder: Path, version: int) -> int | None:
    limit_file, use_file, cache = _FILES[version]
    try:
        limit = int((folder / limit_file).read_text())
        used = int((folder / use_file).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # "max", or not mounted here
        return None
    if limit >= _UNLIMITED:
        return None
    return max(0, limit - used + int(stat.get(cache, 0)))
