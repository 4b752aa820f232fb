"""The page "Before the run", served on loopback."""

import threading
from contextlib import contextmanager

from tbseg_ops.look.site import LookSite
from tbseg_ops.view.server import ViewServer


@contextmanager
def looked(roots, given=None):
    """The server, answering."""
    server = ViewServer(LookSite(lambda: roots, given))
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(10)
