"""Pages served to the browsers of this machine, to who knows the address: it has a token."""

import re
import secrets
import threading
from collections.abc import Generator, Mapping
from contextlib import closing
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from tbseg_ops.view.site import HEADERS, Answer

_LOOPBACK = "127.0.0.1"
_STREAM_SECONDS = 15.0  # between signs of life in the stream that Neuroglancer listens to
_IDLE_SECONDS = 60.0
_MOST_POSTED = 1 << 20  # bytes

LINES = "application/x-ndjson"
"""Of an answer that comes line by line."""


class Told(Protocol):
    """An answer that takes a while: it says line by line how it is doing."""

    def lines(self) -> Generator[bytes, None, None]:
        """Until it is complete; who goes away earlier closes the generator."""
        ...


class Served(Protocol):
    """What is served: functions of a path without a first "/"."""

    def get(self, path: str, query: Mapping[str, str]) -> Answer: ...

    def post(self, path: str, body: bytes) -> Answer | Told: ...


class ViewServer:
    """Serves a site on loopback, each request in a thread of its own; ``port`` 0: a free one.

    Any user of this machine can reach the port: without the token there is nothing to be had, and
    a page of another origin that guesses the port is refused by the Host that its browser names.
    """

    def __init__(self, site: Served, port: int = 0) -> None:
        self._token = secrets.token_urlsafe(24)
        self._closing = threading.Event()
        handler = partial(_Handler, site, self._token, self._closing)
        self._server = _Server((_LOOPBACK, port), handler)

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{_LOOPBACK}:{self._server.server_port}/{self._token}/"

    def serve(self) -> None:
        """Answer until ``close`` is called from another thread or a signal raises."""
        try:
            self._server.serve_forever(poll_interval=0.2)
        finally:
            self._closing.set()
            self._server.server_close()

    def close(self) -> None:
        """End ``serve``."""
        self._closing.set()
        self._server.shutdown()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that goes away in the middle of an answer is none of our business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "tbseg"
    sys_version = ""
    timeout = _IDLE_SECONDS

    def __init__(
        self, site: Served, token: str, closing: threading.Event, request: object, *more: object
    ) -> None:
        self._site, self._token, self._closing = site, token, closing
        super().__init__(request, *more)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        path = self._allowed()
        if path is None:
            self._send(Answer(403, "text/plain; charset=utf-8", b"not allowed\n"))
        elif path.startswith("events/"):
            self._stream()
        else:
            query = dict(parse_qsl(urlsplit(self.path).query, max_num_fields=20))
            self._send(self._site.get(path, query))

    def do_POST(self) -> None:
        self.close_connection = True  # whatever the request says further is not read
        path, length = self._allowed(), self.headers.get("Content-Length", "0")
        if path is None:
            self._send(Answer(403, "application/json", b"{}"))
        elif not re.fullmatch("[0-9]{1,9}", length) or int(length) > _MOST_POSTED:
            self._send(Answer(413, "application/json", b"{}"))
        else:
            answer = self._site.post(path, self.rfile.read(int(length)))
            if isinstance(answer, Answer):
                self._send(answer)
            else:
                self._tell(answer)

    def _allowed(self) -> str | None:
        """The path below the token, decoded; None if the request does not know it."""
        port = self.connection.getsockname()[1]
        if self.headers.get("Host", "") not in (f"{_LOOPBACK}:{port}", f"localhost:{port}"):
            return None
        token, slash, path = urlsplit(self.path).path.lstrip("/").partition("/")
        if not slash or not secrets.compare_digest(token.encode(), self._token.encode()):
            return None
        return unquote(path)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def _tell(self, answer: Told) -> None:
        self.send_response(200)
        for name, value in {**HEADERS, "Content-Type": LINES, "Cache-Control": "no-store"}.items():
            self.send_header(name, value)
        self.end_headers()
        with closing(answer.lines()) as lines:
            for line in lines:  # to a browser that is gone: an error, which ends the answer, too
                self.wfile.write(line)
                self.wfile.flush()

    def _stream(self) -> None:
        """Neuroglancer says "disconnected" unless such a stream is open; ours is silent."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        while not self._closing.wait(_STREAM_SECONDS):
            self.wfile.write(b": still here\n\n")

    def log_message(self, *message: object) -> None:
        """Addresses hold the token: they are not logged."""
