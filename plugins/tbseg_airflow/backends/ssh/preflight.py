"""``tbseg doctor`` on every host at once, before any work is given to them."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import TriggerEvent
from tbseg_airflow.backends.ssh.claims import Claimed
from tbseg_airflow.backends.ssh.link import AnswerError, Hosts, Link, UnreachableError, hosts_of
from tbseg_airflow.backends.ssh.trigger import SshTrigger
from tbseg_airflow.transcript import Transcript

PATIENCE_SECONDS = 30.0
_ALWAYS = 10_000  # places: a check needs none of those for work


class SshPreflight(SshTrigger):
    """Its event has "hosts": of each its "trouble", and whether it "refused", or its end.

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
                return {"trouble": link.trouble, "refused": link.refused is not None}
            await asyncio.sleep(0.1)
        job = f"{self.job}-{link.conn_id.lower().replace('.', '-')}"[:100]
        try:
            claimed = Claimed(
                host=link.conn_id,
                token=secrets.token_hex(16),
                lease=self.settings.lease,
                arguments=tuple(self.arguments),
            )
            await link.ask(
                "start",
                name=job,
                token=claimed.token,
                slots=_ALWAYS,
                until=link.latest(),
                **self._job(link, hosts),
            )
            ended = await self._followed(link, job, claimed, Transcript(self.title))
        except (AnswerError, UnreachableError) as error:
            return {"trouble": str(error), "refused": False}
        if ended is None:
            return {"trouble": link.trouble, "refused": False}
        return {**ended, "name": link.name, "slots": link.slots}
