"""When a cleared tile is computed anew, and when only what is missing is done."""

from dataclasses import dataclass, field

import pytest

RETRIES = 2


@dataclass
class FakeInstance:
    """classify[0] of a run; ``others``: state and clear count of its siblings; None: no XCom."""

    others: list[tuple[str | None, int | None]]
    max_tries: int = 3
    above: int = 0
    dag_id: str = "d"
    task_id: str = "classify"
    run_id: str = "r"
    map_index: int | None = 0
    asked: list[str] = field(default_factory=list)

    def get_task_states(self, dag_id, task_ids, run_ids):
        self.asked.append("states")
        states = {f"classify_{i}": state for i, (state, _) in enumerate(self.others, start=1)}
        return {"r": {"classify_0": "running", **states}}

    def xcom_pull(self, task_ids):
        if list(task_ids) == ["split"]:
            return [{"instance": "split_0", "clear_number": self.above}, {"instance": "x"}, None]
        self.asked.append("results")
        return [
            {"instance": f"classify_{i}", "clear_number": ran, "computed": 1}
            for i, (_, ran) in enumerate(self.others, start=1)
            if ran is not None
        ]


CASES = {
    # name: (instance, clear count of the run, expected)
    "first run": (FakeInstance([(None, None)], max_tries=2), 0, False),
    "retry of the first run": (FakeInstance([("success", 0)], max_tries=2), 0, False),
    "another was cleared, this is a retry": (FakeInstance([("success", 0)], max_tries=2), 1, False),
    "alone, all others kept": (FakeInstance([("success", 0)] * 3), 1, True),
    "its retry": (FakeInstance([("success", 0)] * 3, max_tries=4), 1, True),
    "alone, a second time": (FakeInstance([("success", 0)] * 3, max_tries=6), 2, True),
    "after another one": (FakeInstance([("success", 0), ("success", 1)]), 2, True),
    "two of four": (FakeInstance([("running", None), ("success", 0), ("success", 0)]), 1, True),
    "two of four, the other has not begun": (FakeInstance([(None, 0), ("success", 0)]), 1, True),
    "all, none has begun": (FakeInstance([(None, 0), ("scheduled", 0), ("queued", 0)]), 1, False),
    "all, this is the last": (FakeInstance([("success", 1)] * 3), 1, False),
    "all, some done, some failed": (FakeInstance([("success", 1), ("failed", None)]), 1, False),
    "all, for the second time": (FakeInstance([("success", 2), (None, 1)]), 2, False),
    "below a task that ran again": (FakeInstance([("success", 0)], above=1), 1, False),
    "below a task that ran again before": (FakeInstance([("success", 1)], above=1), 2, True),
    "the only tile": (FakeInstance([]), 1, True),
    "the only tile, below a task that ran again": (FakeInstance([], above=1), 1, False),
}


@pytest.mark.parametrize("name", CASES)
def test_chosen_again(name):
    from tbseg_airflow.redo import chosen_again

    instance, clear_number, expected = CASES[name]
    assert chosen_again(instance, RETRIES, clear_number, {"split"}) is expected


def test_a_first_run_asks_nothing():
    from tbseg_airflow.redo import chosen_again

    instance = FakeInstance([("success", 0)], max_tries=2)
    chosen_again(instance, RETRIES, 1, {"split"})
    assert instance.asked == []


def test_states_are_asked_before_results():
    """Otherwise the last one of a run cleared as a whole could see an old result as kept."""
    from tbseg_airflow.redo import chosen_again

    instance = FakeInstance([("success", 0)])
    chosen_again(instance, RETRIES, 1, {"split"})
    assert instance.asked == ["states", "results"]
