"""The few calls of Airflow's REST API that the scripts need, on this machine, without proxies."""

import time
from typing import Any

import httpx

PATIENCE_SECONDS = 60.0


class ApiError(Exception):
    """The API answered with an error; ``status`` is its HTTP code."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(f"Airflow's API answered {status}: {text}")


class Api:
    """A log-in at ``url`` (http://127.0.0.1:PORT).

    Each call gives the JSON of its answer. ApiError for an answer that is an error,
    httpx.TransportError if there is none.
    """

    def __init__(self, url: str, user: str, password: str, patience: float = PATIENCE_SECONDS):
        # No connection is kept: the server at its other end may be started again.
        limits = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=30, limits=limits)
        self._patience = patience
        login = {"username": user, "password": password}
        token = self._call("POST", "/auth/token", json=login)["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, **query: Any) -> Any:
        """GET below /api/v2/; lists in ``query`` become repeated parameters.

        An API server that is being started again is waited for.
        """
        end = time.monotonic() + self._patience
        while True:
            try:
                return self._call("GET", f"/api/v2/{path}", params=query)
            except httpx.TransportError:
                if time.monotonic() > end:
                    raise
            time.sleep(0.5)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._call("POST", f"/api/v2/{path}", json=body)

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        return self._call("PATCH", f"/api/v2/{path}", json=body)

    def _call(self, method: str, path: str, **content: Any) -> Any:
        answer = self._client.request(method, path, **content)
        if answer.is_success:
            return answer.json()
        try:
            text = str(answer.json()["detail"])
        except (ValueError, KeyError, TypeError):
            text = answer.text[:500]
        raise ApiError(answer.status_code, text)
