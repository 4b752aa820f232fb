"""The runs of a dataset: numbered folders. The highest number is the newest; no clock is asked."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tbseg_ops.errors import ConfigError
from tbseg_ops.settings import keep_inside
from tbseg_ops.storage.commit import storage_errors
from tbseg_ops.storage.locks import locked

_NUMBER = re.compile("[0-9]{4,9}")


class Runs:
    """The folder of the runs of dataset ``name``. ConfigError outside of ``TBSEG_ROOTS``."""

    def __init__(self, path: Path, name: str) -> None:
        keep_inside(path)
        self.path = path.absolute()
        self.name = name

    @property
    def claim_file(self) -> Path:
        return self.path / "claim.json"

    def numbers(self) -> list[int]:
        """The numbers of all runs, the oldest first. A link is not a run."""
        return sorted(
            int(entry.name)
            for entry in self._entries()
            if self.is_name(entry.name) and entry.is_dir(follow_symlinks=False)
        )

    def folder(self, number: int) -> Path:
        return self.path / f"{number:04d}"

    def newest(self) -> Path | None:
        """The folder with the highest number, if there is any."""
        numbers = self.numbers()
        return self.folder(numbers[-1]) if numbers else None

    def next(self) -> Path:
        """The folder for a new run: behind everything that looks like a run, folder or not."""
        taken = [int(e.name) for e in self._entries() if self.is_name(e.name)]
        return self.folder(max(taken, default=0) + 1)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold off others who choose a run here, or remove parts of runs."""
        with locked(self.path):
            yield

    @staticmethod
    def is_name(text: str) -> bool:
        """Whether a run could be called that: at least four digits, no zero too many."""
        return _NUMBER.fullmatch(text) is not None and f"{int(text):04d}" == text

    def _entries(self) -> list["os.DirEntry[str]"]:
        with storage_errors(self.path):
            try:
                with os.scandir(self.path) as entries:
                    return list(entries)
            except FileNotFoundError:
                return []
            except NotADirectoryError:
                raise ConfigError(
                    "the folder of runs is no folder",
                    file=self.path,
                    mend="choose another folder: tbseg dataset add --replace --runs",
                ) from None
