"""The run folder: the only truth about a run. Everything else can be rebuilt from it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from tbseg_ops.errors import ConfigError, IntegrityError
from tbseg_ops.geometry import Tile
from tbseg_ops.options import explained
from tbseg_ops.run.plan import Inputs, Plan
from tbseg_ops.run.records import Records, Step
from tbseg_ops.settings import check_inside, here
from tbseg_ops.spec import RunSpec
from tbseg_ops.storage.commit import commit_over, storage_errors, sweep
from tbseg_ops.storage.locks import locked
from tbseg_ops.stored import Stored

StoredT = TypeVar("StoredT", bound=Stored)


class RunFolder:
    """Names of the things in a run folder, and its plan. ConfigError outside of ``TBSEG_ROOTS``.

    A folder object reads its plan once: make a new one to see a newer plan.
    """

    def __init__(self, path: Path) -> None:
        check_inside(path)
        self.path = path.absolute()

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def spec_file(self) -> Path:
        return self.path / "spec.json"

    @property
    def plan_file(self) -> Path:
        return self.path / "plan.json"

    @property
    def inputs_file(self) -> Path:
        return self.path / "inputs.json"

    @property
    def volume_file(self) -> Path:
        return self.path / "volume.h5"

    @property
    def segmentation_file(self) -> Path:
        return self.path / "segmentation.h5"

    @property
    def report_file(self) -> Path:
        return self.path / "report.html"

    @property
    def crate_file(self) -> Path:
        return self.path / "ro-crate-metadata.json"

    @property
    def forecast_file(self) -> Path:
        return self.path / "forecast.json"

    @property
    def called_off_file(self) -> Path:
        return self.path / "called-off"

    @property
    def pruned_file(self) -> Path:
        return self.path / "pruned.json"

    def slab_file(self, name: str, key: str) -> Path:
        return self.path / "volume" / f"{name}.{key[:12]}.h5"

    def tile_file(self, name: str, key: str) -> Path:
        return self.path / "tiles" / f"{name}.{key[:12]}.h5"

    def classes_file(self, name: str, key: str) -> Path:
        return self.path / "classes" / f"{name}.{key[:12]}.h5"

    def relative(self, path: Path) -> str:
        return str(path.relative_to(self.path))

    def records(self, step: Step) -> Records:
        return Records(self.path, step)

    @cached_property
    def plan(self) -> Plan:
        return self._read(self.plan_file, Plan)

    @cached_property
    def inputs(self) -> Inputs:
        inputs = self._read(self.inputs_file, Inputs)
        if inputs.digest != self.plan.inputs_digest:
            raise ConfigError(
                "the list of inputs does not belong to the plan: planning was interrupted",
                file=self.inputs_file,
                expected=f"digest {self.plan.inputs_digest[:16]}",
                found=f"digest {inputs.digest[:16]}",
                mend=self._plan_again,
            )
        return inputs

    @property
    def earlier(self) -> list["RunFolder"]:
        """The runs from which this one may take over what is the same, as this machine sees them.

        ConfigError if one lies outside of ``TBSEG_ROOTS``.
        """
        return [RunFolder(Path(here(path))) for path in self.plan.earlier]

    def stored_plan(self) -> Plan | None:
        """The plan that this folder has now, if it can be read."""
        try:
            return Plan.model_validate_json(self.plan_file.read_bytes())
        except (OSError, ValidationError):
            return None

    def stored_inputs(self) -> Inputs | None:
        """The inputs that this folder has now, if they can be read."""
        try:
            return Inputs.model_validate_json(self.inputs_file.read_bytes())
        except (OSError, ValidationError):
            return None

    def under(self, plan: Plan, inputs: Inputs) -> "RunFolder":
        """This folder as it will be with a plan that is not stored yet."""
        folder = RunFolder(self.path)
        folder.plan, folder.inputs = plan, inputs
        return folder

    def stored_spec(self) -> RunSpec | None:
        """The spec that this folder was made for, if it has one."""
        return self._read(self.spec_file, RunSpec) if self.spec_file.exists() else None

    def store(self, plan: Plan, inputs: Inputs) -> None:
        """Write spec, inputs and plan, the plan last: it is what makes the others count."""
        for path, model in (
            (self.spec_file, plan.spec),
            (self.inputs_file, inputs),
            (self.plan_file, plan),
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

    def sweep(self) -> None:
        """Remove temporary files that dead processes of this host left in the folder."""
        for part in ("", "volume", "tiles", "classes", "records/*"):
            for folder in self.path.glob(part) if part else [self.path]:
                sweep(folder)

    @contextmanager
    def swept(self, is_root: bool) -> Iterator[None]:
        """Sweep before the work of a step, and after it if it fails; at the root only."""
        if is_root:
            self.sweep()
        try:
            yield
        except BaseException:
            if is_root:
                self.sweep()
            raise

    @contextmanager
    def planning(self) -> Iterator[None]:
        """Hold off other planners of this folder while the plan is being exchanged."""
        with locked(self.path):
            yield

    @property
    def _plan_again(self) -> str:
        return (
            f"make the plan again: tbseg plan --update VOLUME CLASSIFIER {self.path} "
            "(or the task plan); what is finished is recognised"
        )

    def _read(self, path: Path, model: type[StoredT]) -> StoredT:
        with storage_errors(path):
            data = path.read_bytes() if path.exists() else None
        if data is None:
            raise ConfigError(
                "this is not the folder of a planned run",
                file=path,
                expected="a file made by tbseg plan",
                found="no such file",
                mend=f"make a plan first: tbseg plan VOLUME CLASSIFIER {self.path}",
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
