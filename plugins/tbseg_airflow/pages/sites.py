"""The views of the runs that somebody looks at, kept between requests."""

import threading
from collections import OrderedDict

from tbseg_ops.run import RunFolder
from tbseg_ops.view.site import Site

_MOST = 8  # each may keep 256 MB of far views


class Sites:
    """One ``Site`` for each run folder, the longest unused ones forgotten; for any thread."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Site] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, folder: RunFolder) -> Site:
        """ConfigError if the folder has no plan."""
        name = str(folder.path)
        with self._lock:
            site = self._kept.get(name)
            if site is None:
                site = self._kept[name] = Site(folder)
            self._kept.move_to_end(name)
            if len(self._kept) > _MOST:
                self._kept.popitem(last=False)
            return site
