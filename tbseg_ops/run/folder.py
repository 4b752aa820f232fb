"""The run folder: the only truth about a run. Everything else can be rebuilt from it."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from tbseg_ops.errors import ConfigError, IntegrityError
from tbseg_ops.fields import explained
from tbseg_ops.geometry import Tile
from tbseg_ops.options import RunSpec
from tbseg_ops.run import keys
from tbseg_ops.run.piece import WHOLE, Piece
from tbseg_ops.run.plan import Inputs, Plan, Slab
from tbseg_ops.run.records import Record, Records, Step
from tbseg_ops.settings import here, keep_inside
from tbseg_ops.storage.commit import commit_over, remove, storage_errors, sweep
from tbseg_ops.storage.small_files import read_inside
from tbseg_ops.storage.stale import once_more
from tbseg_ops.storage.visibility import looked_again
from tbseg_ops.stored import Stored
from tbseg_ops.volume import Source, open_planned

StoredT = TypeVar("StoredT", bound=Stored)
_PARTS = ("volume", "tiles", "classes")


class RunFolder:
    """Names of the things in a run folder, and its plan. ConfigError outside of ``TBSEG_ROOTS``.

    A folder object reads its plan once: make a new one to see a newer plan.
    """

    def __init__(self, path: Path) -> None:
        keep_inside(path)
        self.path = path.absolute()
        self.spec_file = self.path / "spec.json"
        self.plan_file = self.path / "plan.json"
        self.inputs_file = self.path / "inputs.json"
        self.volume_file = self.path / "volume.h5"
        self.segmentation_file = self.path / "segmentation.h5"
        self.report_file = self.path / "report.html"
        self.crate_file = self.path / "ro-crate-metadata.json"
        self.forecast_file = self.path / "forecast.json"
        self.proof_file = self.path / "prove.json"
        self.called_off_file = self.path / "called-off"
        self.exports = self.path / "export"
        self.pruned_file = self.path / "pruned.json"

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    # The pieces of work of the plan.

    def slab(self, slab: Slab) -> Piece:
        """A z range of the volume, made by ingest."""
        return self._piece(
            "ingest", slab.name, keys.of_slab(self.plan, self.inputs, slab), "volume"
        )

    def sub_volume(self, tile: Tile) -> Piece:
        """The voxels of a tile, halo included, made by split."""
        key = keys.of_sub_volume(self.plan, self.inputs, tile)
        refers = self.plan.spec.split == "virtual"
        return replace(self._piece("split", tile.name, key, "tiles"), refers=refers)

    def classes(self, tile: Tile, content: str) -> Piece:
        """The class file of a tile, made by classify; ``content``: that of its sub-volume."""
        key, predicted = keys.of_classes(self.plan, content, tile, self._shared)
        return self._piece("classify", tile.name, key, "classes", predicted)

    def merged(self, records: Sequence[Record]) -> Piece:
        """The merged file of all tiles; ``records``: of their class files, in grid order."""
        return self._whole("merge", keys.of_merged(self.plan, records))

    def verified(self, merged: Piece) -> Piece:
        """The verification of the merged file."""
        return self._whole("verify", keys.of_verified(merged.key))

    def _piece(self, step: Step, name: str, key: str, part: str, predicted: str = "") -> Piece:
        return Piece(self.path, step, name, key, f"{part}/{name}.{key[:12]}.h5", predicted)

    def _whole(self, step: Step, key: str) -> Piece:
        return Piece(self.path, step, WHOLE, key, self.segmentation_file.name)

    def records(self, step: Step) -> Records:
        return Records(self.path, step)

    def put(self, record: Record) -> Record:
        """Record a committed file, and remove the one that it has replaced.

        ConfigError if the plan has been exchanged in the meantime.
        """
        self._check_plan()
        records = self.records(record.step)
        before = records.get(record.name)
        records.put(record)
        if before is not None and before.file != record.file:
            remove(self.path / before.file)
        return record

    def _check_plan(self) -> None:
        # Asked for every piece: the file is parsed only if its bytes are not this plan's.
        with suppress(OSError):
            if self.plan_file.read_bytes() == self._plan_bytes:
                return
        if RunFolder(self.path).plan != self.plan:
            raise self.plan_changed()

    def plan_changed(self) -> ConfigError:
        """What a late worker of an old plan is told."""
        return ConfigError(
            "the plan of this run was changed while the work was going on",
            file=self.plan_file,
            mend="give the command again: it will follow the new plan",
        )

    @cached_property
    def _shared(self) -> dict[str, Any]:
        return keys.shared(self.plan)

    @cached_property
    def _plan_bytes(self) -> bytes:
        return self.plan.to_bytes()

    @cached_property
    def plan(self) -> Plan:
        """IntegrityError if it was altered; ConfigError if it is none, or of another spec."""
        plan = self._read(self.plan_file, Plan)
        if plan.is_altered:
            raise IntegrityError(
                "the plan was altered after it was made",
                file=self.plan_file,
                expected=f"digest {plan.seal[:16]}",
                found=f"digest {plan.true_seal[:16]}",
                mend=self._plan_again,
            )
        if self.stored_spec() not in (None, plan.spec):
            raise ConfigError(
                "the plan does not belong to the spec of this run: one of them is another run's, or"
                " planning was interrupted",
                file=self.plan_file,
                expected=f"the parameters of {self.spec_file.name}",
                found="other ones",
                mend=self._plan_again,
            )
        return plan

    @cached_property
    def source(self) -> Source:
        """The volume of the plan; it is not audited again."""
        plan = self.plan
        spec = plan.spec.placed(here)
        return open_planned(here(spec.volume), self.inputs.slices, plan.volume, spec)

    @cached_property
    def inputs(self) -> Inputs:
        """IntegrityError if they are damaged; ConfigError if they are not those of the plan."""
        inputs, plan = self._read(self.inputs_file, Inputs), self.plan
        if not plan.is_of(inputs):
            raise ConfigError(
                "the list of inputs does not belong to the plan: it was altered, or is another"
                " run's, or planning was interrupted",
                file=self.inputs_file,
                expected=f"digest {(plan.listing or plan.inputs_digest)[:16]}",
                found=f"digest {(inputs.listing if plan.listing else inputs.digest)[:16]}",
                mend=self._plan_again,
            )
        return inputs

    @cached_property
    def earlier(self) -> list["RunFolder"]:
        """The runs from which this one may take over what is the same, as this machine sees them.

        ConfigError if one lies outside of ``TBSEG_ROOTS``.
        """
        return [RunFolder(Path(here(path))) for path in self.plan.earlier]

    def stored_plan(self) -> Plan | None:
        """The plan that this folder has now, if it can be read and was not altered."""
        plan = readable(self.plan_file, Plan)
        return None if plan is None or plan.is_altered else plan

    def stored_inputs(self) -> Inputs | None:
        """The inputs that this folder has now, if they can be read."""
        return readable(self.inputs_file, Inputs)

    def under(self, plan: Plan, inputs: Inputs) -> "RunFolder":
        """This folder as it will be with a plan that is not stored yet."""
        folder = RunFolder(self.path)
        folder.plan, folder.inputs = plan.sealed(inputs), inputs
        return folder

    def stored_spec(self) -> RunSpec | None:
        """The spec that this folder was made for, if it has one."""
        return self._read(self.spec_file, RunSpec) if self.spec_file.exists() else None

    def store(self, plan: Plan, inputs: Inputs) -> None:
        """Write spec, inputs and plan, the plan last: it is what makes the others count."""
        for path, model in (
            (self.spec_file, plan.spec),
            (self.inputs_file, inputs),
            (self.plan_file, plan.sealed(inputs)),
        ):
            data = model.to_bytes()
            if not path.exists() or path.read_bytes() != data:
                commit_over(path, data)

    def tiles(self, batch: int | None, names: tuple[str, ...] | None) -> list[Tile]:
        """The tiles of a batch, those named, or all."""
        grid, plan = self.plan.grid, self.plan
        if names is not None:
            try:
                return sorted({grid.by_name(name) for name in names}, key=lambda t: t.index)
            except KeyError as error:
                raise ConfigError(
                    "the plan has no tile of that name",
                    file=self.plan_file,
                    expected=f"{grid[0].name} to {grid[len(grid) - 1].name}",
                    found=error.args[0],
                    mend="tiles are counted from 000 on each axis: z, y, x",
                ) from None
        if batch is not None:
            if not 0 <= batch < plan.batches:
                raise ConfigError(
                    "the plan has no batch of that number",
                    file=self.plan_file,
                    expected=f"0 to {plan.batches - 1}",
                    found=batch,
                    mend="correct --batch",
                )
            return plan.batch(batch)
        return list(grid)

    @contextmanager
    def swept(self, is_root: bool) -> Iterator[None]:
        """Remove temporary files that nobody writes any more from the folder.

        Before the work of a step, and after it if it fails; at the root only.
        """
        if is_root:
            self._sweep()
        try:
            yield
        except BaseException:
            if is_root:
                self._sweep()
            raise

    def _sweep(self) -> None:
        for folder in (self.path, *map(self.path.joinpath, _PARTS), *self.path.glob("records/*")):
            sweep(folder)

    @property
    def quoted(self) -> str:
        """The path as a shell takes it, for commands in messages."""
        return shlex.quote(str(self.path))

    @property
    def _plan_first(self) -> str:
        with storage_errors(self.path):
            is_new = not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir()))
        place = self if is_new else RunFolder(self.path / "run")
        first = "make a plan first" if is_new else "give the folder of a run, or make a plan first"
        return f"{first}: tbseg plan VOLUME CLASSIFIER {place.quoted}"

    @property
    def _plan_again(self) -> str:
        return (
            f"tbseg repair {self.quoted} writes it again if the slices are the same; or plan again:"
            f" tbseg plan --update VOLUME CLASSIFIER {self.quoted} (or the task plan); what is"
            " finished is recognised"
        )

    def _read(self, path: Path, model: type[StoredT]) -> StoredT:
        with storage_errors(path):
            there = self.path.is_dir() and looked_again(lambda: path.exists() or None, path)
            data = once_more(read_inside, path) if there else None
        if data is None:
            raise ConfigError(
                "this is not the folder of a planned run",
                file=path,
                expected="a file made by tbseg plan",
                found="no such file",
                mend=self._plan_first,
            )
        try:
            return model.model_validate_json(data)
        except ValidationError as error:
            raise IntegrityError(
                "the file is damaged or of another version of tbseg:\n" + explained(error),
                file=path,
                expected=f"{model.__name__} of schema version 1",
                mend=self._plan_again,
            ) from None


def readable(path: Path, model: type[StoredT]) -> StoredT | None:
    """What is stored in a file of a run; None if it cannot be read as that."""
    try:
        return model.model_validate_json(read_inside(path))
    except (OSError, ValidationError):
        return None
