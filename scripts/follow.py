"""Follow a run of the DAG: a line for each task, and what a failed one wrote last."""

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from scripts.api import Api

FINISHED = {"success", "failed", "upstream_failed", "skipped", "removed"}
POLL_SECONDS = 1.0


@dataclass
class Follower:
    """Prints what is new about a run each time it looks."""

    api: Api
    dag: str
    run: str
    order: tuple[str, ...]
    begin: float = field(default_factory=time.monotonic)
    printed: set[str] = field(default_factory=set)

    def until_end(self, seconds: float) -> str:
        """The final state of the run; TimeoutError if it has none after ``seconds``."""
        while time.monotonic() - self.begin < seconds:
            state = str(self.api.get(f"dags/{self.dag}/dagRuns/{self.run}")["state"])
            instances = self.instances()
            self._tell(instances)
            if state in ("success", "failed"):
                self._transient("")
                return state
            time.sleep(POLL_SECONDS)
        raise TimeoutError(f"the run {self.run} goes on after {seconds:.0f} s")

    def instances(self) -> list[dict[str, Any]]:
        """All task instances of the run."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.api.get(
                f"dags/{self.dag}/dagRuns/{self.run}/taskInstances", limit=100, offset=len(found)
            )
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found

    def log(self, instance: dict[str, Any], lines: int = 25) -> list[str]:
        """The end of what an instance wrote in its last try."""
        path = f"{instance['task_id']}/logs/{max(1, instance['try_number'])}"
        answer = self.api.get(
            f"dags/{self.dag}/dagRuns/{self.run}/taskInstances/{path}",
            map_index=instance["map_index"],
            full_content=True,
        )
        events = [line.get("event", "") for line in answer["content"] if isinstance(line, dict)]
        return [text for text in events if text and not text.startswith("::")][-lines:]

    def _tell(self, instances: list[dict[str, Any]]) -> None:
        for task in self.order:
            own = [i for i in instances if i["task_id"] == task]
            if task in self.printed or not own:
                continue
            states = Counter(i["state"] for i in own)
            done = sum(states[state] for state in FINISHED)
            if done == len(own):
                self.printed.add(task)
                self._transient("")
                print(f"  {task:<10}{_summary(own, states)}", flush=True)
            elif states.keys() - {None}:
                self._transient(f"  {task:<10}{done} of {len(own)}")

    @staticmethod
    def _transient(text: str) -> None:
        """A line that the next one replaces, on a terminal only."""
        if sys.stdout.isatty():
            print(f"\r\033[K{text}", end="", flush=True)


def _summary(own: list[dict[str, Any]], states: Counter[str | None]) -> str:
    seconds = sum(i["duration"] or 0 for i in own)
    count = f"{len(own)} tiles, " if len(own) > 1 else ""
    if set(states) == {"success"}:
        return f"done   {count}{seconds:.1f} s"
    return ", ".join(f"{number} {state}" for state, number in states.items())
