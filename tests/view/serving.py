"""A run served on loopback, and requests to it."""

import http.client
import json
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

from tbseg_ops.run import RunFolder
from tbseg_ops.view.server import ViewServer
from tbseg_ops.view.site import Site


def served(run, other=None):
    """The server of a run, maybe beside another one, answering."""
    beside = None if other is None else Site(RunFolder(other))
    return answering(Site(RunFolder(run), beside))


@contextmanager
def answering(site):
    """The server of a site, answering."""
    server = ViewServer(site)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(10)


def ask(url, path="", method="GET", **headers):
    """Status, headers and body of a request that no client has made harmless."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=20)
    try:
        whole = path if path.startswith("/") else where.path + path
        connection.request(method, whole, headers=headers, encode_chunked=False)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def told(url, path):
    """The JSON of an answer that is none of an error."""
    status, _, body = ask(url, path)
    assert status == 200, body
    return json.loads(body)
