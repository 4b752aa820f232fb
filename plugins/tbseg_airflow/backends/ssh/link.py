"""The connection to the agent of one host: one channel for all jobs there, opened when needed.

Links belong to the process and its event loop and are shared by all triggers. A host that is down
or hangs costs nobody time but those whose jobs are there: connecting goes on in the background.
"""

import asyncio
import contextlib
import json
import logging
import shlex
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncssh
from airflow.sdk.bases.hook import BaseHook

from tbseg_airflow.backends.ssh.settings import (
    HostOptions,
    HostRefusedError,
    arguments_of,
    options_of,
)

CONNECT_SECONDS = 15.0
ANSWER_SECONDS = 30.0
_RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0)  # between attempts to connect; the last one for ever
_KEEPALIVE = {"keepalive_interval": 5, "keepalive_count_max": 3}
_NOT_FOUND = 127

logging.getLogger("asyncssh").setLevel(logging.WARNING)  # else a line for each step of each channel


class UnreachableError(Exception):
    """There was no answer. ``asked``: the question may have arrived all the same."""

    def __init__(self, text: str, *, asked: bool) -> None:
        super().__init__(text)
        self.asked = asked


class AnswerError(Exception):
    """The agent answered with an error: its message, and the exit code of its class."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Link:
    """See the module. ``problem``: why there is no connection now, for people."""

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id
        self.options = HostOptions()
        self.host = conn_id
        self.address = ""
        self.name = conn_id  # that the host gives itself
        self._clock = 0.0  # of the host, minus ours
        self.slots = 1
        self.jobs = 0  # of this process's triggers
        self.problem = "not connected yet"
        self.refused: HostRefusedError | None = None
        self.users = 0
        self._failures = 0
        self._retry_at = 0.0
        self._opening: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._connection: asyncssh.SSHClientConnection | None = None
        self._agent: asyncssh.SSHClientProcess[str] | None = None
        self._number = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    @property
    def ready(self) -> bool:
        return self._agent is not None

    def latest(self) -> float:
        """By the host's clock, when whoever asks now will have given up."""
        return time.monotonic() + self._clock + ANSWER_SECONDS

    def refuse(self, why: str) -> None:
        """Leave this host out, until it is connected to again."""
        self.refused = HostRefusedError(why)
        self._drop(why)

    def wake(self) -> None:
        """Have the connection made in the background, unless it was tried a moment ago."""
        if self.ready or (self._opening is not None and not self._opening.done()):
            return
        if time.monotonic() >= self._retry_at:
            self._opening = asyncio.create_task(self._open())

    async def ask(self, question: str, **values: Any) -> dict[str, Any]:
        """The agent's answer. UnreachableError, AnswerError."""
        agent = self._agent
        if agent is None:
            self.wake()
            raise UnreachableError(self.problem, asked=False)
        return await self._ask(agent, question, **values)

    async def close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
        self._drop("closed")

    async def _ask(
        self, agent: "asyncssh.SSHClientProcess[str]", question: str, **values: Any
    ) -> dict[str, Any]:
        self._number += 1
        number = self._number
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            agent.stdin.write(json.dumps({"ask": question, **values, "number": number}) + "\n")
            async with asyncio.timeout(ANSWER_SECONDS):  # ``wait_for`` of 3.11 may lose a cancel
                answer = await future
        except (TimeoutError, OSError, asyncssh.Error) as error:
            self._drop(f"no answer: {_text(error)}")
            raise UnreachableError(self.problem, asked=True) from None
        finally:
            self._waiting.pop(number, None)
        if "error" in answer:
            raise AnswerError(answer["error"], int(answer.get("code", 70)))
        return dict(answer)

    async def _open(self) -> None:
        """Connect, start the agent, hear from it. Never raises."""
        connection = None
        self.refused = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                found = await BaseHook.aget_connection(self.conn_id)
                self.options, self.address = options_of(found), found.host or ""
                connection = await asyncssh.connect(**arguments_of(found), **_KEEPALIVE)
                self._connection = connection  # which ``close`` ends, whatever comes
                agent = await connection.create_process(
                    shlex.join([self.options.tbseg, "agent"]), encoding="utf-8"
                )
            self._reading = asyncio.create_task(self._read(agent))
            hello = await self._ask(agent, "hello")
            self._agent = agent
            self._clock = float(hello["clock"]) - time.monotonic()
            self.name = str(hello["host"])
            self.host = f"{self.name} ({self.conn_id})"
            self.slots = self.options.slots or int(hello["cores"])
            self._failures, self.problem = 0, ""
        except HostRefusedError as error:
            self.refused = error
        except asyncssh.HostKeyNotVerifiable as error:
            self.refused = HostRefusedError(f"its key is not the known one: {error}")
        except asyncssh.PermissionDenied as error:
            self.refused = HostRefusedError(f"the log-in was refused: {error}")
        except Exception as error:  # the network's, or Airflow's: no such connection
            self.problem = _text(error)
        if not self.ready:
            if self.refused is not None:
                self.problem = str(self.refused)
            if connection is not None:
                connection.abort()
            self._retry_at = (
                time.monotonic() + _RETRY_SECONDS[min(self._failures, len(_RETRY_SECONDS) - 1)]
            )
            self._failures += 1

    async def _read(self, agent: "asyncssh.SSHClientProcess[str]") -> None:
        """Hand each answer to whoever asked, until the channel ends."""
        with contextlib.suppress(OSError, asyncssh.Error, ValueError):
            async for line in agent.stdout:
                answer = json.loads(line)
                future = self._waiting.get(answer.get("number"))
                if future is not None and not future.done():
                    future.set_result(answer)
        status = agent.exit_status
        words = ""
        with contextlib.suppress(OSError, asyncssh.Error, TimeoutError):
            async with asyncio.timeout(2):
                words = (await agent.stderr.read(2000)).strip()
        if status == _NOT_FOUND:
            words = f"the program {self.options.tbseg} is not there: {words}"
            self.refused = HostRefusedError(words)
        self._reading = None  # which is this very task
        self._drop(words or "the connection ended")

    def _drop(self, problem: str) -> None:
        self.problem, self._agent = problem, None
        if self._reading is not None:
            self._reading.cancel()
        if self._connection is not None:
            self._connection.abort()
            self._connection = None
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionError(problem))


_links: dict[tuple[int, str], Link] = {}
_turns: dict[tuple[int, tuple[str, ...]], asyncio.Lock] = {}


class Hosts:
    """The links to all hosts of a setting."""

    def __init__(self, links: dict[str, Link], turn: asyncio.Lock) -> None:
        self.links = links
        self.turn = turn  # one trigger at a time looks for a free place, the others wait in line

    def by_room(self, conn_ids: Sequence[str]) -> list[Link]:
        """Those of these that are connected, the one with the largest free share first."""
        links = [self.links[conn_id] for conn_id in conn_ids]
        for link in links:
            link.wake()
        ready = [link for link in links if link.ready]
        return sorted(ready, key=lambda link: link.jobs / link.slots)

    def problems(self) -> str:
        """Why hosts cannot be reached, one line each."""
        return "\n".join(
            f"  {link.conn_id}: {link.problem}" for link in self.links.values() if not link.ready
        )


@contextlib.asynccontextmanager
async def hosts_of(conn_ids: Sequence[str]) -> AsyncIterator[Hosts]:
    """The links of these Connections, closed when the last of their users has gone."""
    loop = id(asyncio.get_running_loop())
    links = {c: _links.setdefault((loop, c), Link(c)) for c in conn_ids}
    turn = _turns.setdefault((loop, tuple(conn_ids)), asyncio.Lock())
    for link in links.values():
        link.users += 1
    try:
        yield Hosts(links, turn)
    finally:
        for conn_id, link in links.items():
            link.users -= 1
            if link.users == 0:
                _links.pop((loop, conn_id), None)
                await link.close()


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
