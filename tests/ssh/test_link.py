"""One host's agent: what is asked of it, and what becomes of whoever asks."""

import asyncio
from types import SimpleNamespace

import pytest


def test_who_is_called_off_when_the_answer_comes_is_called_off():
    """A trigger that went on would follow a job that nobody wants any more."""
    from tbseg_airflow.backends.ssh.link import Link

    async def called_off():
        link = Link("host1")
        agent = SimpleNamespace(stdin=SimpleNamespace(write=lambda line: None))
        asking = asyncio.create_task(link._ask(agent, "start"))
        await asyncio.sleep(0)
        (future,) = link._waiting.values()
        future.set_result({"state": "started"})
        asking.cancel()
        await asking

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(called_off())
