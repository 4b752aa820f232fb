"""Large arrays that are kept between tiles."""

import numpy as np
from numpy.typing import NDArray


class Buffers:
    """Flat float32 arrays by name, grown when a larger one is asked for, zero when new.

    Fresh memory costs a page fault for every 4 KiB, more than most filters do. What an array holds
    from its last use is finite as long as the volumes are.
    """

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray[np.float32]] = {}

    def take(self, name: str, size: int) -> NDArray[np.float32]:
        """An array of exactly ``size`` floats; the one given last under this name is void."""
        if self._arrays.get(name, np.empty(0)).size < size:
            self._arrays[name] = np.zeros(size, np.float32)
        return self._arrays[name][:size]
