"""Waits in the triggerer for a job on one of the hosts, and starts it where there is room.

No tile is computed by two hosts at once: a job runs on without being asked for as long as its
lease, and is given to another host only when that has certainly run out.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from tbseg_airflow.backend import Line
from tbseg_airflow.ssh.claims import Claim
from tbseg_airflow.ssh.link import AnswerError, Hosts, Link, UnreachableError, hosts_of
from tbseg_airflow.ssh.settings import SshSettings
from tbseg_airflow.transcript import Transcript
from tbseg_ops.errors import TbsegError
from tbseg_ops.jobs.store import CALLED_OFF, TOO_LONG

ASK_SECONDS = 2.0  # between two questions for a job's output
_LOOK_SECONDS = 1.0  # between two looks for a free place
_TELL_SECONDS = 60.0
_KILL_SECONDS = 15.0  # a keeper's grace, and some
_CANCEL_SECONDS = 25.0
_SILENT_SECONDS = 5.0  # without an answer, before the log says so
_MOST_MOVES = 5  # to another host, before the task fails


class SshTrigger(BaseTrigger):
    """``job``: its name; ``arguments``: those of tbseg, without the program; ``run``: the folder.

    Its event has either "refused" (a text), "lost" (a text: another try may help), or the exit
    "code" and "reason", the "host" and the "transcript".
    """

    def __init__(
        self, *, job: str, arguments: list[str], run: str, title: str, settings: dict[str, Any]
    ) -> None:
        super().__init__()
        self.job, self.arguments, self.run_folder = job, arguments, run
        self.title, self.settings = title, SshSettings.model_validate(settings)
        self._claim = Claim(run, job)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "job": self.job,
                "arguments": self.arguments,
                "run": self.run_folder,
                "title": self.title,
                "settings": self.settings.model_dump(mode="json"),
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        async with hosts_of(self.settings.hosts) as hosts:
            try:
                yield TriggerEvent(await self._to_the_end(hosts))
            except TbsegError as error:
                yield TriggerEvent({"refused": str(error)})

    async def on_kill(self) -> None:
        """The task was failed or cleared by somebody: end the job, wherever it runs."""
        conn_id = await asyncio.to_thread(self._claim.host)
        if conn_id is None or conn_id not in self.settings.hosts:
            return
        async with hosts_of(self.settings.hosts) as hosts, asyncio.timeout(_CANCEL_SECONDS):
            link = hosts.links[conn_id]
            while True:
                try:
                    if (await link.ask("cancel", name=self.job, seconds=0))["ended"]:
                        break
                except UnreachableError:
                    pass
                await asyncio.sleep(0.3)
        await asyncio.to_thread(self._claim.drop)
        self.log.info("the job on %s was ended", link.host)

    async def _to_the_end(self, hosts: Hosts) -> dict[str, Any]:
        for _ in range(_MOST_MOVES):
            conn_id = await asyncio.to_thread(self._claim.host)
            link = claimed = hosts.links.get(conn_id or "")
            if link is None:
                link = await self._started(hosts)
            if isinstance(link, str):
                return {"refused": link}
            link.jobs += 1
            try:
                ended = await self._followed(link, self.job, Transcript(self.title, self.log))
            finally:
                link.jobs -= 1
            await asyncio.to_thread(self._claim.drop)
            if ended is not None and self._counts(ended, earlier=claimed is not None):
                return ended
        return {"lost": f"{_MOST_MOVES} hosts, one after the other, were lost\n{hosts.trouble()}"}

    def _counts(self, ended: dict[str, Any], *, earlier: bool) -> bool:
        """Whether an end is the task's, and the job not to be started again.

        A job of an ``earlier`` try may have failed, or been called off, with that try. One that
        was ended because nobody asked for it, or with its keeper, is no fault of its own.
        """
        if ended["reason"] is not None:
            self.log.warning("the job on %s was ended: %s", ended["host"], ended["reason"])
        if earlier:
            return bool(ended["code"] == 0)
        return ended["reason"] is None or ended["reason"].startswith((CALLED_OFF, TOO_LONG))

    async def _started(self, hosts: Hosts) -> Link | str:
        """The host on which the job was started, or may have been; a text if none can be used."""
        told = time.monotonic()
        async with hosts.turn:
            while True:
                for link in hosts.by_room():
                    if await self._start_on(link, hosts):
                        return link
                if all(link.refused is not None for link in hosts.links.values()):
                    return f"no host of the backend ssh can be used\n{hosts.trouble()}"
                if time.monotonic() - told > _TELL_SECONDS:
                    told = time.monotonic()
                    self.log.info("waiting for a free place\n%s", hosts.trouble())
                await asyncio.sleep(_LOOK_SECONDS)

    async def _start_on(self, link: Link, hosts: Hosts) -> bool:
        """Whether the job is there now, or may be."""
        await asyncio.to_thread(self._claim.put, link.conn_id)
        try:
            answer = await link.ask(
                "start", name=self.job, slots=link.slots, **self._job(link, hosts)
            )
        except UnreachableError as error:
            if error.asked:
                return True
            answer = {"state": "unreachable"}
        except AnswerError as error:
            self.log.warning("%s: %s", link.host, error)
            answer = {"state": "refused"}
        if answer["state"] in ("started", "running"):
            verb = "started" if answer["state"] == "started" else "found"
            self.log.info("%s on %s: %s", verb, link.host, self.title)
            return True
        await asyncio.to_thread(self._claim.drop)
        return False

    def _job(self, link: Link, hosts: Hosts) -> dict[str, Any]:
        paths = ":".join(f"{here}={there}" for here, there in self.settings.paths.items())
        environment = {"TBSEG_PATHS": paths} if paths else {}
        before, mpi = [*link.options.launcher], self.settings.mpi
        if mpi is not None and self.arguments[0] in mpi.steps:
            ready = [link, *(other for other in hosts.links.values() if other is not link)]
            names = [f"{other.address}:{mpi.ranks}" for other in ready if other.ready]
            before = ["mpiexec", "-launcher", "ssh", "-hosts", ",".join(names), *mpi.options]
            before += ["-n", str(mpi.ranks * len(names))]
            for name, value in {**environment, **mpi.environment}.items():
                before += ["-genv", name, value]
            environment |= mpi.environment
        return {
            "arguments": [*before, link.options.tbseg, *self.arguments],
            "environment": environment,
            "lease": self.settings.lease,
            "seconds": self.settings.seconds,
        }

    async def _followed(
        self, link: Link, job: str, transcript: Transcript
    ) -> dict[str, Any] | None:
        """A job's output into the task's log, until it has ended; None if the host is lost."""
        out_at = err_at = 0
        heard = asked = time.monotonic()
        told = False
        while True:
            try:
                new = await link.ask("output", name=job, out_at=out_at, err_at=err_at)
            except UnreachableError as error:
                if error.asked:
                    asked = time.monotonic()
                if not told and time.monotonic() - heard > _SILENT_SECONDS:
                    self.log.warning("%s cannot be reached: %s", link.host, error)
                    told = True
                if time.monotonic() - heard > self.settings.lease:
                    break
            except AnswerError as error:  # it never arrived there, or the host forgot it
                self.log.warning("%s: %s", link.host, error)
                return None
            else:
                if told:
                    self.log.info("%s is there again", link.host)
                heard = asked = time.monotonic()
                told = False
                out_at, err_at = new["out_at"], new["err_at"]
                for stream in ("out", "err"):
                    for text in new[stream]:
                        transcript.add(Line(stream, text))  # type: ignore[arg-type]
                if new["exit"] is not None:
                    return {**new["exit"], "host": link.host, "transcript": transcript.kept()}
                if new["out"] or new["err"]:
                    continue
            await asyncio.sleep(ASK_SECONDS)
        # Each question that arrived began the lease anew, heard of or not: count from the last.
        rest = asked + self.settings.lease + _KILL_SECONDS - time.monotonic()
        self.log.warning("%s is lost; its work is given away in %.0f s", link.host, max(0.0, rest))
        await asyncio.sleep(max(0.0, rest))
        return None
