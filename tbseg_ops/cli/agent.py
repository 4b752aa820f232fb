"""tbseg agent: what the ssh backend talks to on each host; not for people."""

import sys

from tbseg_ops.hosts.agent import serve


def agent() -> None:
    """Answer questions about this host's jobs, one JSON object a line, until input ends."""
    serve(sys.stdin, sys.stdout)
