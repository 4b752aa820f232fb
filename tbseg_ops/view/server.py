"""A run served to the browsers of this machine, to who knows the address: it has a token."""

import secrets
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

from tbseg_ops.view.site import Answer, Site

_LOOPBACK = "127.0.0.1"
_STREAM_SECONDS = 15.0  # between signs of life in the stream that Neuroglancer listens to
_IDLE_SECONDS = 60.0


class ViewServer:
    """Serves a ``Site`` on loopback, each request in a thread of its own; ``port`` 0: a free one.

    Any user of this machine can reach the port: without the token there is nothing to be had, and
    a page of another origin that guesses the port is refused by the Host that its browser names.
    """

    def __init__(self, site: Site, port: int = 0) -> None:
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
        self, site: Site, token: str, closing: threading.Event, request: object, *more: object
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
        """Neuroglancer tells its state; nobody listens, and nothing can be changed."""
        self.close_connection = True  # whatever the request says further is not read
        allowed = self._allowed() is not None
        self._send(Answer(200 if allowed else 403, "application/json", b"{}"))

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
