"""The routes: each needs Airflow's log-in, those of a run the right to see runs of its DAG.

None changes anything. What a person can do on the page (compute tiles again) the page asks of
Airflow's own API, with that person's rights.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from tbseg_airflow.pages.runs import SEGMENT, folder_of, latest
from tbseg_airflow.pages.sites import Sites
from tbseg_ops.errors import TbsegError
from tbseg_ops.view.site import JSON, Answer, page

_FILES = Path(__file__).parent / "files"
_STREAM_SECONDS = 15.0
RUN = "/runs/{dag_id}/{run_id}/"

_may_see_all = Depends(requires_access_dag("GET", DagAccessEntity.RUN, SEGMENT))
_may_see = Depends(requires_access_dag("GET", DagAccessEntity.RUN))


def make_app() -> FastAPI:
    """The app. Its own documentation pages, which Airflow leaves open to anyone, are off."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(get_user)])
    sites = Sites()

    @app.get("/api/runs", dependencies=[_may_see_all])
    def runs(session: SessionDep) -> list[dict[str, Any]]:
        return latest(session)

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

    @app.get("/{path:path}")
    def of_all(path: str) -> Response:
        return _response(page(path or "runs.html", _FILES) or page(path))

    return app


def _response(answer: Answer | None) -> Response:
    if answer is None:
        raise HTTPException(404, "there is no such page")
    return Response(answer.body, answer.status, answer.headers)


async def _silence() -> AsyncIterator[bytes]:
    """Neuroglancer says "disconnected" unless such a stream is open."""
    while True:
        yield b": still here\n\n"
        await asyncio.sleep(_STREAM_SECONDS)
