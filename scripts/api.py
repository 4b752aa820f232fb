"""The few calls of Airflow's REST API that the scripts need, on this machine, without proxies."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

PATIENCE_SECONDS = 60.0

_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class ApiError(Exception):
    """The API answered with an error; ``status`` is its HTTP code."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(f"Airflow's API answered {status}: {text}")


class Api:
    """A log-in at ``url`` (http://127.0.0.1:PORT)."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self._url = url.rstrip("/")
        body = {"username": user, "password": password}
        self._token = request(f"{self._url}/auth/token", "POST", body)["access_token"]

    def get(self, path: str, **query: object) -> Any:
        """GET below /api/v2/; lists in ``query`` become repeated parameters.

        An API server that is being started again is waited for.
        """
        text = urllib.parse.urlencode(query, doseq=True)
        address = self._address(path) + (f"?{text}" if text else "")
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return request(address, "GET", None, self._token)
            except OSError:
                if time.monotonic() > end:
                    raise
            time.sleep(0.5)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return request(self._address(path), "POST", body, self._token)

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        return request(self._address(path), "PATCH", body, self._token)

    def _address(self, path: str) -> str:
        return f"{self._url}/api/v2/" + urllib.parse.quote(path)


def request(
    url: str, method: str, body: dict[str, Any] | None = None, token: str | None = None
) -> Any:
    """One JSON request; ApiError for an answer that is an error, OSError if there is none."""
    headers = {"Accept": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    content = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        content = json.dumps(body).encode()
    call = urllib.request.Request(url, content, headers, method=method)  # noqa: S310
    try:
        with _open(call, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        try:
            text = str(json.loads(text)["detail"])
        except (ValueError, KeyError, TypeError):
            text = text[:500]
        raise ApiError(error.code, text) from None
