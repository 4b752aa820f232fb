"""Everything that can be asked of a run over HTTP, as a function of a path: who serves it decides
who may ask.

All of it is read only. Paths name things of the run, never files of the machine.
"""

import json
import mimetypes
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from time import monotonic
from typing import Any

from tbseg_ops.errors import ConfigError, TbsegError
from tbseg_ops.run.folder import RunFolder
from tbseg_ops.storage.small_files import read_small
from tbseg_ops.view import scene
from tbseg_ops.view.comparison import Comparison
from tbseg_ops.view.picture import Picture, Pictures
from tbseg_ops.view.standing import standing
from tbseg_ops.view.summary import summary
from tbseg_ops.view.tiles import RunView
from tbseg_ops.view.zarr import RunZarr

JSON = "application/json"
# What Neuroglancer needs beyond a plain page: WebAssembly, workers out of blobs, its own styles.
POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:;"
    " style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self' blob: data:;"
    " object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PAGE = {"": "index.html", "volume": "volume.html"}
_CLIENT = "v/3d/"
_MOST = 64  # answers that are kept
_MOST_OF_A_REPORT = 256 << 20  # bytes
_OLDEST = 1.5  # seconds, since a file can be lost without a commit; tiles are seen within 3
_SHARE = 20


@dataclass(frozen=True)
class Answer:
    """Of HTTP. ``lasting``: the content under this address never changes. ``revision``: the one of
    the run that it tells of; by it a page knows that it has to ask again."""

    status: int
    kind: str
    body: bytes
    lasting: bool = False
    revision: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """All but the length."""
        age = "private, max-age=604800, immutable" if self.lasting else "no-store"
        more = {} if self.revision is None else {"X-Revision": self.revision}
        return {**HEADERS, "Content-Type": self.kind, "Cache-Control": age, **more}


@dataclass
class _Kept:
    """The last answer to a question, when it was found, and in how many seconds."""

    answer: Answer | None = None
    time: float = 0.0
    cost: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fresh(self, revision: str) -> Answer | None:
        """The answer, if it need not be found anew."""
        if self.answer is None:
            return None
        most = _OLDEST if self.answer.revision == revision else min(_SHARE * self.cost, _OLDEST)
        return self.answer if monotonic() - self.time < most else None


class Site:
    """The pages and data of one run. ConfigError if it has no plan.

    ``other``: the site of a run that it is compared with where a request names one by ``with``.
    """

    def __init__(self, run: RunFolder, other: "Site | None" = None) -> None:
        self.view = RunView(run)
        self._other = other
        self._pictures = Pictures(self.view)
        self._comparison: tuple[object, Comparison] | None = None  # the last one
        self._comparing = threading.Lock()
        self._zarr = RunZarr(self.view)
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: str, query: Mapping[str, str], other: "Site | None" = None) -> Answer:
        """The answer to GET ``path``, relative to where the run is served, without a first "/".

        ``other``: the run that the query names by ``with``, which whoever serves it looked up.
        """
        try:
            found = self._get(path, query, other or self._other)
        except TbsegError as error:
            return refusal(error)
        return found or _missing()

    def post(self, path: str, body: bytes) -> Answer:
        """Neuroglancer tells its state; nobody listens, and nothing can be changed."""
        return Answer(200, JSON, b"{}")

    def _get(self, path: str, query: Mapping[str, str], other: "Site | None") -> Answer | None:
        if path.startswith("data/"):
            return self._data(path.removeprefix("data/"))
        if path.startswith("api/"):
            return self._remembered(path.removeprefix("api/"), query, other)
        if path.startswith(_CLIENT):
            return _client(path.removeprefix(_CLIENT) or "index.html")
        return self._report() if path == "report" else page(path)

    def _report(self) -> Answer | None:
        file = self.view.folder.report_file
        data = read_small(file, _MOST_OF_A_REPORT)
        return None if data is None else Answer(200, _kind(file.name), data)

    def _data(self, path: str) -> Answer | None:
        if path == "names/info":
            return as_json(scene.names(self.view))
        found = self._zarr.get(path)
        return None if found is None else Answer(200, *found)

    def _remembered(
        self, what: str, query: Mapping[str, str], other: "Site | None"
    ) -> Answer | None:
        """What was answered lately, to several viewers once.

        As long as nothing was committed; and ``_SHARE`` times as long as it took to find out, so
        that looking at a large run costs a known part of a processor.
        """
        if what == "revision":
            return self._api(what, query, other)
        key, revision = json.dumps([what, sorted(query.items())]), self.view.revision
        with self._lock:
            kept = self._kept.setdefault(key, _Kept())
            self._kept.move_to_end(key)
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        with kept.lock:  # who asks the same at this moment waits for the one answer
            if (answer := kept.fresh(revision)) is not None:
                return answer
            begin = monotonic()
            answer = self._api(what, query, other)
            if answer is not None and answer.status == 200:
                answer = kept.answer = replace(answer, revision=revision)
                kept.time, kept.cost = monotonic(), monotonic() - begin
            return answer

    def _against(self, other: "Site | None") -> Comparison:
        """How this run differs from another one; begun anew when a result was."""
        if other is None:
            raise ConfigError(
                "there is no other run to compare with", mend="tbseg view RUN --compare OTHER"
            )
        key = (other.view.folder.path, self.view.result, other.view.result)
        with self._comparing:
            if self._comparison is None or self._comparison[0] != key:
                self._comparison = (key, Comparison(self.view, other.view))
            return self._comparison[1]

    def _api(self, what: str, query: Mapping[str, str], other: "Site | None") -> Answer | None:
        view, axis = self.view, _number(query, "axis") % 3
        beside = None if other is None else other._pictures
        match what:
            case "run":
                told = summary(view)
                told["client"] = scene.client_folder() is not None
                told["other"] = self._other and str(self._other.view.folder.path)
                return as_json(told)
            case "revision":
                return as_json({"revision": view.revision, "raw": view.raw_revision})
            case "progress":
                return as_json(view.progress(axis))
            case "standing":
                return as_json(standing(view).model_dump())
            case "layer":
                return as_json(view.layer(_number(query, "number"), axis))
            case "tile":
                return as_json(view.one(query.get("name", "")))
            case "plane":
                kind, at = query.get("kind", ""), _number(query, "at")
                return _picture(self._pictures.plane(kind, axis, at, beside))
            case "tile-plane":
                kind, name = query.get("kind", ""), query.get("name", "")
                return _picture(self._pictures.tile(kind, name, axis, beside))
            case "comparison":
                return as_json(self._against(other).told())
            case "differs":
                return as_json(self._against(other).shares(axis, _number(query, "number")))
            case "scene":
                return as_json(scene.scene(view, self._pictures.bounds(), self._zarr.names()))
        return None


def page(path: str, folder: Traversable | None = None) -> Answer | None:
    """A file of the page, by default tbseg's own; the heads of all pages begin with head.html."""
    name = _PAGE.get(path, path)
    if not re.fullmatch(r"[a-z]+\.(html|css|js)", name, re.ASCII):
        return None
    own = files("tbseg_ops.view").joinpath("page")
    file = (folder or own).joinpath(name)
    if not file.is_file():
        return None
    body = file.read_bytes()
    if name.endswith(".html"):
        body = body.replace(b"<head>\n", b"<head>\n" + own.joinpath("head.html").read_bytes(), 1)
    return Answer(200, _kind(name), body)


def _client(name: str) -> Answer | None:
    """A file of Neuroglancer's built program."""
    folder = scene.client_folder()
    if folder is None or not re.fullmatch(r"[0-9A-Za-z.]+\.(html|js|css|wasm)", name, re.ASCII):
        return None
    file = folder / name
    if not file.is_file():
        return None
    # All but the first page are named by what they hold.
    return Answer(200, _kind(name), file.read_bytes(), lasting=name != "index.html")


def _kind(name: str) -> str:
    kinds = {".js": "text/javascript", ".wasm": "application/wasm"}
    suffix = name[name.rindex(".") :]
    kind = kinds.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def _number(query: Mapping[str, str], name: str) -> int:
    text = query.get(name, "0")
    return int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else 0


def _picture(picture: Picture) -> Answer:
    return Answer(200 if picture.complete else 206, "image/png", picture.png)


def refusal(error: TbsegError) -> Answer:
    """The answer that tells it."""
    status = 404 if isinstance(error, ConfigError) else 409
    return Answer(status, JSON, error.to_json().encode())


def as_json(value: Any) -> Answer:
    """The answer that tells a value."""
    # What is in a name need not be UTF-8: lone surrogates are escaped by JSON itself.
    return Answer(200, JSON, json.dumps(value).encode())


def _missing() -> Answer:
    return Answer(404, JSON, b'{"error": {"what": "there is no such thing in this run"}}')
