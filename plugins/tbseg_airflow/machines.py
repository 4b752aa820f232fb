"""How many tiles the chosen backend works on at once, and where: what ``doctor`` found."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from airflow.sdk import Context
from airflow.sdk.configuration import conf

KEY = "machines"  # of the XCom
PODS = 50  # side by side: a guess, since nobody knows how many nodes there will be
_A_POD = "a pod"  # no host of that name is in any record: a pod is like those before it
_MOST_SHARES = 16  # of a calibration: each is a task instance
_MOST_CORES = 64  # of this machine, that are measured at once


@dataclass(frozen=True)
class Machines:
    """``places``: tiles side by side; ``slots``: of them, by host, or none if all are on this one.

    ``measured``: tiles of a calibration, and ``shares``: task instances that it is spread over, as
    the tiles will be.
    """

    places: int
    slots: dict[str, int] = field(default_factory=dict)
    measured: int = 0
    shares: int = 1

    @classmethod
    def of(cls, backend: str, report: Mapping[str, Any], wanted: int, tiles: int) -> Self:
        """``report``: of ``tbseg doctor``, on this machine or (ssh) on all; ``tiles``: of the run.

        ``wanted``: tiles to measure on each host, if any; each worker of a calibration has one.
        """
        if backend == "ssh":
            slots = dict(report["slots"])
            places = sum(slots.values())
            shares = min(places, _MOST_SHARES, tiles // 2)
            measured = max(wanted * report["fit"], shares)
        elif backend == "kubernetes":
            places, slots = PODS, {_A_POD: PODS}
            shares = measured = min(wanted, tiles // 2)
        else:
            places, slots = places_before("local"), {}
            shares, measured = 1, max(wanted, min(places, _MOST_CORES))
        if not wanted or not shares:
            return cls(places, slots)
        return cls(places, slots, measured, shares)

    def push(self, context: Context) -> None:
        context["ti"].xcom_push(KEY, asdict(self))

    @classmethod
    def pulled(cls, context: Context) -> Self:
        return cls(**context["ti"].xcom_pull(task_ids="doctor", key=KEY))


def places_before(backend: str) -> int:
    """How many tiles a backend works on at once, as far as it is known before anybody is asked."""
    if backend == "kubernetes":
        return PODS
    if backend == "ssh":
        from tbseg_airflow.backends.ssh.settings import most_slots

        return most_slots()
    return conf.getint("core", "parallelism") or len(os.sched_getaffinity(0))
