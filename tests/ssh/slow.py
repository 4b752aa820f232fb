"""``python -m tests.ssh.slow SECONDS ...``: ``tbseg`` of a host that takes longer for a tile."""

import sys
import time
from typing import Any

from tbseg_ops.cli.main import main
from tbseg_ops.engines.native.engine import NativeEngine


def _slowed(seconds: float) -> None:
    predict = NativeEngine.predict_labels

    def slowly(self: NativeEngine, *arguments: Any) -> Any:
        time.sleep(seconds)
        return predict(self, *arguments)

    NativeEngine.predict_labels = slowly  # type: ignore[method-assign]


if __name__ == "__main__":
    _slowed(float(sys.argv.pop(1)))
    main()
