"""``python -I -m tbseg_ops.look.child``: answers one request, in the folder in which it is started.

Reads ``request.json`` and writes ``answer.json``. Started by ``desk`` within bounds of time and
memory: what it opens are a stranger's files.
"""

import json
import os
from pathlib import Path
from typing import Any

from tbseg_ops.errors import ResourceError, TbsegError
from tbseg_ops.storage.commit import storage_errors

REQUEST, ANSWER = "request.json", "answer.json"
_MOST_THREADS = 4


def answered(request: dict[str, Any]) -> str:
    """One line: ``{"answer": ...}``, or ``{"error": ...}`` as ``TbsegError.to_json`` has it."""
    from tbseg_ops.look.classes import box_of, classes
    from tbseg_ops.look.overview import overview
    from tbseg_ops.look.subject import Subject

    try:
        with storage_errors(Path(request["subject"]["volume"])):
            subject = Subject.model_validate(request["subject"])
            if "box" not in request:
                return json.dumps({"answer": overview(subject)})
            threads = min(_MOST_THREADS, len(os.sched_getaffinity(0)))
            bounds = request.get("bounds")
            found = classes(subject, box_of(request["box"]), bounds, threads)
            return json.dumps({"answer": found})
    except TbsegError as error:
        return error.to_json()
    except MemoryError:
        return too_much().to_json()


def too_much() -> ResourceError:
    """The error of a request that may not have the memory that it needs."""
    return ResourceError(
        "this needs more memory than looking may take",
        mend="choose a smaller box, or a volume with smaller slices",
    )


if __name__ == "__main__":
    Path(ANSWER).write_text(answered(json.loads(Path(REQUEST).read_bytes())))
