"""``tbseg doctor`` on every host at once, before any work is given to them."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import TriggerEvent

from tbseg_airflow.backends.ssh.link import AnswerError, Hosts, Link, UnreachableError, hosts_of
from tbseg_airflow.backends.ssh.trigger import SshTrigger
from tbseg_airflow.transcript import Transcript

PATIENCE_SECONDS = 30.0
_ALWAYS = 10_000  # places: a check needs none of those for work


class SshPreflight(SshTrigger):
    """Its event has "hosts": of each its "problem", and whether it "refused", or its end.

    With an end go the "name" that the host has in records, and its "slots".
    """

    async def run(self) -> AsyncIterator[TriggerEvent]:
        async with hosts_of(self.settings.hosts) as hosts:
            checks = [self._checked(link, hosts) for link in hosts.links.values()]
            found = await asyncio.gather(*checks)
            yield TriggerEvent({"hosts": dict(zip(hosts.links, found, strict=True))})

    async def on_kill(self) -> None:
        """The checks end by themselves."""

    async def _checked(self, link: Link, hosts: Hosts) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE_SECONDS
        while not link.ready:
            link.wake()
            if link.refused is not None or time.monotonic() > end:
                return {"problem": link.problem, "refused": link.refused is not None}
            await asyncio.sleep(0.1)
        job = f"{self.job}-{link.conn_id.lower().replace('.', '-')}"[:100]
        try:
            assignment = self._assignment(link)
            await self._start(link, hosts, job, assignment, _ALWAYS)
            ended = await self._followed(link, job, assignment, Transcript(self.title))
        except (AnswerError, UnreachableError) as error:
            return {"problem": str(error), "refused": False}
        if ended is None:
            return {"problem": link.problem, "refused": False}
        return {**ended, "name": link.name, "slots": link.slots}
