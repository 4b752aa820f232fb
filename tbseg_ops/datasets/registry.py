"""The registry: one TOML file per dataset, NAME.toml, in the registry's folder.

The files may be written by hand; each is checked whenever it is read.
"""

import tomllib
from pathlib import Path

import tomli_w
from pydantic import ValidationError

from tbseg_ops import settings
from tbseg_ops.datasets.claims import claim_of
from tbseg_ops.datasets.dataset import Dataset
from tbseg_ops.datasets.runs import Runs
from tbseg_ops.errors import ConfigError
from tbseg_ops.fields import explained
from tbseg_ops.settings import DATASET_NAME, check_inside, registry_folder
from tbseg_ops.storage.commit import commit_new, commit_over, storage_errors
from tbseg_ops.storage.locks import locked
from tbseg_ops.storage.small_files import read_small


def names() -> tuple[str, ...]:
    """The names of all datasets, sorted, whether their files are right or not."""
    with storage_errors(registry_folder()):
        return settings.dataset_names()


def get(name: str) -> Dataset:
    """The dataset of that name.

    ConfigError if there is none, its file is damaged or wrong, or one of its paths lies outside of
    ``TBSEG_ROOTS``.
    """
    path = _file(name)
    data = read_small(path)
    if data is None:
        raise _unknown(path)
    try:
        dataset = Dataset.model_validate(tomllib.loads(data.decode()))
    except ValidationError as error:
        raise _wrong(path, "the dataset is wrong:\n" + explained(error)) from None
    except (ValueError, RecursionError) as error:  # neither UTF-8 nor TOML, or far too deep
        raise _wrong(path, "the file of the dataset is damaged", str(error)) from None
    _check_paths(dataset)
    return dataset


def add(name: str, dataset: Dataset, *, replace: bool = False) -> Path:
    """Register a dataset; its file. With ``replace`` in the place of what was there.

    ConfigError if the name is taken or impossible, a path lies outside of ``TBSEG_ROOTS``, another
    dataset has the same folder of runs, or a run is going on in the folder that is given up.
    """
    path = _file(name)
    _check_paths(dataset)
    values = dataset.model_dump(mode="json", exclude_none=True)
    data = tomli_w.dumps(values).encode()
    with locked(path.parent, needed=False):  # of two that want one folder of runs, the second sees
        _check_runs(name, dataset)
        if replace:
            _check_idle(name, dataset)
            commit_over(path, data)
        elif not commit_new(path, data):
            raise ConfigError(
                "there is a dataset of that name",
                file=path,
                found=name,
                mend="choose another name, or give --replace to change that dataset",
            )
    return path


def remove(name: str) -> None:
    """Take a dataset off the registry, right or wrong; its runs stay. ConfigError if none is."""
    path = _file(name)
    with storage_errors(path):
        try:
            path.unlink()
        except FileNotFoundError:
            raise _unknown(path) from None


def _file(name: str) -> Path:
    """Where a dataset is, or would be; the name is looked at before it becomes part of a path."""
    if not DATASET_NAME.fullmatch(name):
        raise ConfigError(
            "this is no name for a dataset",
            expected="1 to 100 letters, digits, '.', '_' and '-', the first a letter or digit",
            found=ascii(name[:120]),
            mend="choose another name",
        )
    return registry_folder() / f"{name}.toml"


def _check_paths(dataset: Dataset) -> None:
    spec = dataset.spec
    for path in (spec.volume, *spec.channels_from, spec.classifier, spec.mask, dataset.runs):
        if path is not None:
            check_inside(path)


def _check_runs(name: str, dataset: Dataset) -> None:
    """Two datasets in one folder would take each other's runs for their own."""
    ours = Path(dataset.runs).resolve()
    for other in names():
        if other != name and _runs_of(other) == ours:
            raise ConfigError(
                "the folder of runs belongs to another dataset",
                file=dataset.runs,
                found=f"the folder of dataset {other}",
                mend="choose another folder: --runs",
            )


def _runs_of(name: str) -> Path | None:
    try:
        return Path(get(name).runs).resolve()
    except ConfigError:
        return None  # a wrong file has no runs


def _check_idle(name: str, dataset: Dataset) -> None:
    try:
        old = get(name)
    except ConfigError:
        return
    held = claim_of(Runs(Path(old.runs), name)) if old.runs != dataset.runs else None
    if held is not None and not held.is_dead:
        raise ConfigError(
            "the folder of runs cannot be changed while a run is going on",
            file=old.runs,
            found=f"run {held.run}, held by {held.holder}",
            mend=f"wait for its end; if it is dead: tbseg dataset release {name}",
        )


def _unknown(path: Path) -> ConfigError:
    return ConfigError(
        "there is no such dataset",
        file=path,
        expected="any of " + (", ".join(names()) or "none: the registry is empty"),
        found=path.stem,
        mend="see tbseg dataset list, or add it: tbseg dataset add",
    )


def _wrong(path: Path, what: str, found: str | None = None) -> ConfigError:
    return ConfigError(
        what,
        file=path,
        expected="a TOML file as tbseg dataset add writes it, schema_version 1",
        found=found,
        mend="correct the file, or register the dataset again: tbseg dataset add --replace",
    )
