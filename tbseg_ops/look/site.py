"""Everything that can be asked of the page "Before the run" over HTTP, as functions of a path: who
serves it decides who may ask what.

    get    pages and files of the page; ``api/options``, ``api/command``
           ``api/datasets``: the names that are registered
           ``api/folder``: what lies below the roots
    post   ``api/dataset``: look at a registered dataset
           ``api/volume``: look at paths that somebody has written
           ``api/classes``: the classes of a box of either

Nothing is changed or stored by any of them. What is posted is answered line by line (``desk``).
"""

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from tbseg_ops.errors import ConfigError, TbsegError, UsageError
from tbseg_ops.fields import Option
from tbseg_ops.look.classes import box_of
from tbseg_ops.look.desk import Desk, Job
from tbseg_ops.look.folders import listing
from tbseg_ops.look.subject import Subject, options
from tbseg_ops.reference import Reference
from tbseg_ops.settings import ROOTS, dataset_names
from tbseg_ops.view.site import JSON, Answer, as_json, page, refusal

ANYBODY, NAMING_PATHS = ("api/dataset",), ("api/volume", "api/classes")
"""What can be posted: where a registered dataset decides what is read, and where the one who posts
it does, or has something computed."""

_PAGE = {"": "look.html"}


class LookSite:
    """The page and what it asks. ``given``: by option, what is in its fields at first.

    ``roots`` tells the folders in which a person may pick; none: nobody may.
    """

    def __init__(
        self,
        roots: Callable[[], Sequence[Path]] = lambda: ROOTS.value or (),
        given: Mapping[str, Any] | None = None,
    ) -> None:
        self._roots, self._given = roots, dict(given or {})
        self._desk = Desk()

    def get(self, path: str, query: Mapping[str, str]) -> Answer:
        """The answer to GET ``path``, relative to where the page is served."""
        try:
            found = self._get(path, query)
        except TbsegError as error:
            return refusal(error)
        return found or Answer(404, JSON, b'{"error": {"what": "there is no such thing"}}')

    def _get(self, path: str, query: Mapping[str, str]) -> Answer | None:
        match path:
            case "api/options":
                fields = [_field(option) for option in options()]
                return as_json({"fields": fields, "given": self._given})
            case "api/datasets":
                return as_json(dataset_names())
            case "api/folder":
                return as_json(self._folder(query.get("path", "")))
            case "api/command":
                return as_json({"command": command(_object(query.get("of", "").encode()))})
        own = files("tbseg_ops.look").joinpath("page")
        return page(_PAGE.get(path, path), own) or page(path)

    def post(self, path: str, body: bytes, who: str = "") -> "Job | Answer":
        """The job that answers POST ``path``, or a refusal. ``who``: has one job at a time."""
        try:
            if path not in (*ANYBODY, *NAMING_PATHS):
                raise ConfigError("there is no such thing")
            asked = _object(body)
            request: dict[str, Any] = {"subject": _subject(path, asked).model_dump(mode="json")}
            if path == "api/classes":
                box_of(asked.get("box"))
                request |= {"box": asked["box"], "bounds": _bounds(asked.get("bounds"))}
            return self._desk.ask(who, request)
        except TbsegError as error:
            return refusal(error)

    def _folder(self, path: str) -> dict[str, Any]:
        roots = self._roots()
        if not roots:
            raise ConfigError(
                f"no folders are shown: {ROOTS.name} is not set where this page is served",
                mend="type or paste the path, or have the folders of volumes named there",
            )
        return listing(path, roots)


def command(values: Mapping[str, Any]) -> str:
    """The command line that runs what is looked at; ``values``: texts by option, or a dataset."""
    if values.get("dataset"):
        return shlex.join(["tbseg", "run", "--dataset", str(values["dataset"])])
    words = ["tbseg", "run"]
    for option in options():
        given = values.get(option.name)
        if not option.argument:
            for value in given if isinstance(given, list) else [given] if given else []:
                words += [option.typed, str(value)]
    volume, classifier = (str(values.get(name) or "") for name in ("volume", "classifier"))
    reference = Reference.of(volume)
    run = reference.folder / f"{reference.name}-{Path(classifier).stem}"
    return shlex.join([*words, volume, classifier, str(run)])


def _subject(path: str, asked: Mapping[str, Any]) -> Subject:
    name = asked.get("dataset")
    if name is not None and path != "api/volume":
        return Subject.of_dataset(str(name))
    texts = asked.get("texts")
    if not isinstance(texts, dict) or path == "api/dataset":
        raise UsageError("there is nothing to look at", mend="name a volume, or a dataset")
    return Subject.of_texts(texts)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UsageError("this is no JSON object")
    return found


def _bounds(value: Any) -> list[float] | None:
    is_pair = isinstance(value, list) and len(value) == 2
    if is_pair and all(type(n) in (int, float) and abs(n) < 1e300 for n in value):
        return [float(n) for n in value]
    return None


def _field(option: Option) -> dict[str, Any]:
    return {
        "name": option.name,
        "title": option.title,
        "help": re.sub(r"[*`]", "", option.description),
        "empty": option.empty,
        "examples": option.examples,
        "type": option.schema["type"],
        "choices": option.choices,
        "more": option.name not in ("volume", "classifier"),
    }
