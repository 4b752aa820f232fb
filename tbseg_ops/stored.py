"""The base of everything that is stored in a run folder or crosses a process."""

import hashlib
import json

from pydantic import BaseModel, ConfigDict


class Stored(BaseModel):
    """Frozen, no unknown fields; its JSON is the same bytes for the same values.

    A model is built when it is first used: a command needs few of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    def to_bytes(self) -> bytes:
        return (self.model_dump_json(indent=1) + "\n").encode()


def digest_of(value: object) -> str:
    """SHA-256 (hex) of the canonical JSON of ``value``: sorted keys, no white space."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
