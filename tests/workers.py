"""Work functions for pools: they must be importable in a spawned process."""

import os
import time


def slow_first(piece: int) -> tuple[int, int]:
    """Piece 0 takes far longer than all others together; returns (piece, process id)."""
    time.sleep(3.0 if piece == 0 else 0.02)
    return piece, os.getpid()


def die(piece: int) -> int:
    """Piece 3 kills its process, as the system does when memory runs out."""
    if piece == 3:
        os.kill(os.getpid(), 9)
    return piece


def fail(piece: int) -> int:
    if piece == 3:
        raise ValueError("piece 3")
    return piece
