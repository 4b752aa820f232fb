"""The routes: each needs Airflow's log-in, those of a run the right to see runs of its DAG.

None changes anything. What a person can do on the page (compute tiles again, start a run) the page
asks of Airflow's own API, with that person's rights. Who names a path, or has a box computed, must
have the right to start a run, which could read the same.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, get_user, requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from tbseg_airflow.pages.runs import SEGMENT, folder_of, latest
from tbseg_airflow.pages.sites import Sites
from tbseg_ops.errors import TbsegError
from tbseg_ops.look.desk import Job
from tbseg_ops.look.site import ANYBODY, NAMING_PATHS, LookSite
from tbseg_ops.view.run_list import RunList
from tbseg_ops.view.server import LINES
from tbseg_ops.view.site import HEADERS, JSON, Answer, page

_FILES = Path(__file__).parent / "files"
_STREAM_SECONDS = 15.0
RUN = "/runs/{dag_id}/{run_id}/"

_may_see_all = Depends(requires_access_dag("GET", DagAccessEntity.RUN, SEGMENT))
_may_see = Depends(requires_access_dag("GET", DagAccessEntity.RUN))
_may_start = Depends(requires_access_dag("POST", DagAccessEntity.RUN, SEGMENT))
LOOK = "/look/"
_MOST_POSTED = 1 << 16  # bytes


async def _posted(request: Request) -> bytes:
    """What a page of this origin has posted. A page of another one can neither send the cookie
    (SameSite) nor this type of content without asking first, which nobody allows."""
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != JSON or request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise HTTPException(403, "only JSON, and only from a page of this server")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_POSTED:
            raise HTTPException(413, "this is too long")
    return body


Posted = Annotated[bytes, Depends(_posted)]


def make_app() -> FastAPI:
    """The app. Its own documentation pages, which Airflow leaves open to anyone, are off."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(get_user)])
    sites, run_list = Sites(), RunList()

    @app.get("/api/runs", dependencies=[_may_see_all])
    def runs(session: SessionDep) -> list[dict[str, Any]]:
        return latest(session, run_list)

    @app.get(RUN + "host.js", dependencies=[_may_see])
    def host(dag_id: str, run_id: str) -> Response:
        return _response(page("host.js", _FILES))

    @app.get(RUN + "events/{viewer}", dependencies=[_may_see])
    async def events(dag_id: str, run_id: str, viewer: str) -> StreamingResponse:
        return StreamingResponse(_silence(), media_type="text/event-stream")

    @app.post(RUN + "{path:path}", dependencies=[_may_see])
    def told(dag_id: str, run_id: str, path: str) -> dict[str, Any]:
        """Neuroglancer tells its state; nobody listens."""
        return {}

    @app.get(RUN + "{path:path}", dependencies=[_may_see])
    def of_run(
        dag_id: str, run_id: str, path: str, request: Request, session: SessionDep
    ) -> Response:
        if (file := page(path)) is not None:  # there before the run has a plan
            return _response(file)
        try:
            site = sites.of(folder_of(session, dag_id, run_id))
            query = dict(request.query_params)
            # A run of the same DAG: who may see the one may see the other.
            other = sites.of(folder_of(session, dag_id, query["with"])) if "with" in query else None
        except TbsegError as error:
            return _response(Answer(404, JSON, error.to_json().encode()))
        return _response(site.get(path, query, other))

    look = LookSite()

    @app.get(LOOK + "start.js", dependencies=[_may_see_all])
    def start() -> Response:
        return _response(page("start.js", _FILES))

    @app.get(LOOK + "fill.js", dependencies=[_may_see_all])
    def fill() -> Response:
        return _response(page("fill.js", _FILES))

    @app.get(LOOK + "api/folder", dependencies=[_may_start])
    def folder(path: str = "") -> Response:
        return _response(look.get("api/folder", {"path": path}))

    @app.get(LOOK + "api/{what:path}", dependencies=[_may_see_all])
    def asked(what: str) -> Response:
        if what not in ("options", "datasets"):
            raise HTTPException(404, "there is no such page")
        return _response(look.get(f"api/{what}", {}))

    def answered(path: str, rights: Any) -> None:
        @app.post(LOOK + path, dependencies=[rights], name=path)
        def posted(user: GetUserDep, body: Posted) -> Response:
            answer = look.post(path, body, who=str(user.get_id()))
            return _told(answer) if isinstance(answer, Job) else _response(answer)

    for path in ANYBODY:
        answered(path, _may_see_all)
    for path in NAMING_PATHS:
        answered(path, _may_start)

    @app.get(LOOK + "{path:path}", dependencies=[_may_see_all])
    def of_look(path: str) -> Response:
        return _response(look.get(path, {}))

    @app.get("/{path:path}")
    def of_all(path: str) -> Response:
        return _response(page(path or "runs.html", _FILES) or page(path))

    return app


def _response(answer: Answer | None) -> Response:
    if answer is None:
        raise HTTPException(404, "there is no such page")
    return Response(answer.body, answer.status, answer.headers)


def _told(job: Job) -> Response:
    """An answer line by line; the job ends when whoever asked goes away."""

    async def lines() -> AsyncIterator[bytes]:
        told = job.lines()
        try:
            while (line := await run_in_threadpool(next, told, None)) is not None:
                yield line
        finally:
            job.end()

    headers = {**HEADERS, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(lines(), media_type=LINES, headers=headers)


async def _silence() -> AsyncIterator[bytes]:
    """Neuroglancer says "disconnected" unless such a stream is open."""
    while True:
        yield b": still here\n\n"
        await asyncio.sleep(_STREAM_SECONDS)
