"""Is a component alive? ``python health.py scheduler``; asked of the API server, which knows.

A tenth of a second; ``airflow jobs check`` takes five, every time.
"""

import json
import os
import sys
import urllib.request


def status(component: str, url: str) -> str:
    """What the API server says of ``metadatabase``, ``scheduler``, ``dag_processor``, ..."""
    with urllib.request.urlopen(f"{url}/api/v2/monitor/health", timeout=10) as answer:  # noqa: S310
        return str((json.load(answer).get(component) or {}).get("status"))


if __name__ == "__main__":
    found = status(sys.argv[1], os.environ.get("TBSEG_API", "http://127.0.0.1:8080"))
    print(found)
    raise SystemExit(found != "healthy")
