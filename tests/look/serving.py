"""The page "Before the run", served on loopback."""

from tbseg_ops.look.site import LookSite
from tests.view.serving import answering


def looked(roots, given=None):
    """The server, answering."""
    return answering(LookSite(lambda: roots, given))
