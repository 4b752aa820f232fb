"""Waits in the triggerer for a job on one of the hosts, and starts it where there is room.

No job runs on two hosts at once: it runs on without being asked for as long as its lease, and is
given to another host only when that has certainly run out.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from tbseg_airflow.backends.contract import Line
from tbseg_airflow.backends.ssh.assignments import Assignment, AssignmentFile
from tbseg_airflow.backends.ssh.link import (
    ANSWER_SECONDS,
    AnswerError,
    Hosts,
    Link,
    UnreachableError,
    hosts_of,
)
from tbseg_airflow.backends.ssh.settings import SshSettings
from tbseg_airflow.transcript import Transcript
from tbseg_ops.errors import TbsegError, class_of
from tbseg_ops.hosts.store import CANCELLED, TOO_LONG

ASK_SECONDS = 2.0  # between two questions for a job's output
_LOOK_SECONDS = 1.0  # between two looks for a free place
_NOTICE_SECONDS = 60.0
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
        super().__init__()  # type: ignore[no-untyped-call]
        self.job, self.arguments, self.run_folder = job, arguments, run
        self.title, self.settings = title, SshSettings.model_validate(settings)
        self._file = AssignmentFile(run, job)
        self._started_by = 0.0  # until then a start that was not answered may still arrive

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
        try:
            async with self._hosts() as hosts:
                event = await self._to_the_end(hosts)
        except TbsegError as error:
            event = {"lost" if error.retried else "refused": str(error)}
        yield TriggerEvent(event)

    async def on_kill(self) -> None:
        """The task was failed or cleared by somebody: end the job, wherever it runs."""
        assignment = await asyncio.to_thread(self._file.read)
        if assignment is None:
            return
        async with self._hosts() as hosts, asyncio.timeout(_CANCEL_SECONDS):
            link = hosts.links[assignment.host]
            while True:
                try:
                    answer = await link.ask("cancel", name=self.job, token=assignment.token)
                    if answer["ended"]:
                        break
                except (UnreachableError, AnswerError):
                    pass
                await asyncio.sleep(0.3)
        await asyncio.to_thread(self._file.drop, assignment.token)
        self.log.info("the job on %s was ended", link.host)

    @contextlib.asynccontextmanager
    async def _hosts(self) -> AsyncIterator[Hosts]:
        """Those of the settings, and the one that has the job, if it was taken out of them."""
        assignment = await asyncio.to_thread(self._file.read)
        more = [] if assignment is None else [assignment.host]
        async with hosts_of(tuple(dict.fromkeys([*self.settings.hosts, *more]))) as hosts:
            yield hosts

    async def _to_the_end(self, hosts: Hosts) -> dict[str, Any]:
        for _ in range(_MOST_MOVES):
            assignment = await asyncio.to_thread(self._file.read)
            earlier = assignment is not None
            if assignment is None:
                found = await self._started(hosts)
                if isinstance(found, str):
                    return {"refused": found}
                assignment = found
            link = hosts.links.get(assignment.host)
            if link is None:  # another triggerer, with other settings, was faster
                return {
                    "lost": f"the job was given to {assignment.host}, which is not a host any more"
                }
            link.jobs += 1
            try:
                transcript = Transcript(self.title, self.log)
                ended = await self._followed(link, self.job, assignment, transcript)
            finally:
                link.jobs -= 1
            with contextlib.suppress(TbsegError):  # one that stays does not cost the result
                await asyncio.to_thread(self._file.drop, assignment.token)
            if ended is not None and self._counts(ended, assignment if earlier else None):
                return ended
        return {"lost": f"{_MOST_MOVES} hosts, one after the other, were lost\n{hosts.problems()}"}

    def _counts(self, ended: dict[str, Any], earlier: Assignment | None) -> bool:
        """Whether an end is the task's, and the job not to be started again.

        A job of an ``earlier`` try may have failed, or been called off, with that try, or may have
        done something else. One that was ended because nobody asked for it, or with its keeper, is
        no fault of its own.
        """
        reason = ended["reason"]
        if reason is not None:
            self.log.warning("the job on %s was ended: %s", ended["host"], reason)
        if earlier is not None:
            same = earlier.arguments == tuple(self.arguments)
            return bool(same and ended["code"] == 0 and reason is None)
        return reason is None or reason.startswith((CANCELLED, TOO_LONG))

    async def _started(self, hosts: Hosts) -> Assignment | str:
        """Where the job was started, or may have been; a text if no host can be used."""
        noticed = time.monotonic()
        async with hosts.turn:
            while True:
                for link in hosts.by_room(self.settings.hosts):
                    assignment = await self._start_on(link, hosts)
                    if assignment is not None:
                        return assignment
                links = [hosts.links[conn_id] for conn_id in self.settings.hosts]
                if all(link.refused is not None for link in links):
                    return f"no host of the backend ssh can be used\n{hosts.problems()}"
                if time.monotonic() - noticed > _NOTICE_SECONDS:
                    noticed = time.monotonic()
                    self.log.info("waiting for a free place\n%s", hosts.problems())
                await asyncio.sleep(_LOOK_SECONDS)

    async def _start_on(self, link: Link, hosts: Hosts) -> Assignment | None:
        """Its assignment, if the job is there now or may be, or if somebody else was faster."""
        assignment = self._assignment(link)
        if not await asyncio.to_thread(self._file.put, assignment):
            return await asyncio.to_thread(self._file.read)
        state = "ending"
        while state == "ending":  # an earlier job of this task was called off there: wait for it
            try:
                state = await self._start(link, hosts, self.job, assignment, link.slots)
            except UnreachableError as error:
                if error.asked:
                    self._started_by = time.monotonic() + ANSWER_SECONDS
                    return assignment
                state = "unreachable"
            except AnswerError as error:
                self.log.warning("%s: %s", link.host, error)
                state = "refused"
                kind = class_of(error.code)
                if kind is not None and not kind.retried:
                    link.refuse(str(error))
            if state == "ending":
                await asyncio.sleep(_LOOK_SECONDS / 2)
        if state in ("started", "known"):
            self.log.info("started on %s: %s", link.host, self.title)
            return assignment
        await asyncio.to_thread(self._file.drop, assignment.token)
        return None

    def _assignment(self, link: Link) -> Assignment:
        return Assignment(
            host=link.conn_id, lease=self.settings.lease, arguments=tuple(self.arguments)
        )

    async def _start(
        self, link: Link, hosts: Hosts, name: str, assignment: Assignment, slots: int
    ) -> str:
        """What became of it: "started", "known", "ending", or the host has no room or no time."""
        answer = await link.ask(
            "start",
            name=name,
            token=assignment.token,
            slots=slots,
            until=link.latest(),
            **self._job(link, hosts),
        )
        return str(answer["state"])

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
        self, link: Link, job: str, assignment: Assignment, transcript: Transcript
    ) -> dict[str, Any] | None:
        """A job's output into the task's log, until it has ended; None if it is not there."""
        out_at = err_at = 0
        heard = asked = time.monotonic()
        silent = False
        while True:
            try:
                new = await link.ask(
                    "output", name=job, token=assignment.token, out_at=out_at, err_at=err_at
                )
            except (UnreachableError, AnswerError) as error:
                # An agent that cannot answer says nothing about the job.
                if not isinstance(error, UnreachableError) or error.asked:
                    asked = time.monotonic()
                if not silent and time.monotonic() - heard > _SILENT_SECONDS:
                    self.log.warning("%s does not answer: %s", link.host, error)
                    silent = True
                if time.monotonic() - heard > max(assignment.lease, self.settings.lease):
                    break
            else:
                if silent:
                    self.log.info("%s answers again", link.host)
                heard = asked = time.monotonic()
                silent = False
                if new.get("gone"):
                    if time.monotonic() > self._started_by:
                        return None
                    await asyncio.sleep(_LOOK_SECONDS)  # it may still be on its way there
                    continue
                out_at, err_at = new["out_at"], new["err_at"]
                await _add(transcript, new)
                if new["exit"] is not None:
                    return {**new["exit"], "host": link.host, "transcript": transcript.kept()}
                if new["out"] or new["err"]:
                    continue
            await asyncio.sleep(ASK_SECONDS)
        # Each question that arrived began the lease anew, heard of or not: count from the last.
        lease = max(assignment.lease, self.settings.lease)
        rest = asked + lease + _KILL_SECONDS - time.monotonic()
        self.log.warning("%s is lost; its work is given away in %.0f s", link.host, max(0.0, rest))
        await asyncio.sleep(max(0.0, rest))
        return None


async def _add(transcript: Transcript, new: dict[str, Any]) -> None:
    """All new lines into the transcript; other hosts are waited for in between."""
    for stream in ("out", "err"):
        for number, text in enumerate(new[stream]):
            transcript.add(Line(stream, text))
            if number % 200 == 199:
                await asyncio.sleep(0)
