"""The pages of runs in Airflow: ``tbseg_ops.view`` behind Airflow's log-in and permissions.

Plugins are loaded by each task, too: the app itself is made at its first request.
"""

from typing import Any

PREFIX = "/tbseg"
TILES = "tbseg-tiles"  # what the tab of a run is called in addresses


class LazyApp:
    """An ASGI app that imports the real one when it is asked something."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._app is None:
            from tbseg_airflow.pages.app import make_app

            self._app = make_app()
        await self._app(scope, receive, send)
