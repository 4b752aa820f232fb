"""An SSH server for tests: ``python -m tests.ssh.server HOST_KEY AUTHORIZED_KEYS PORT``.

Real protocol, real processes, no Debian package. Port 0: any. Prints its port. Commands run by
``sh -c``, as sshd runs them; with a connection its commands get SIGHUP, as they do from sshd.
"""

import asyncio
import os
import signal
import sys

import asyncssh


async def run(process: asyncssh.SSHServerProcess[bytes]) -> None:
    child = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", process.command or "exit 1"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
        process.exit(await child.wait())
    finally:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGHUP)


async def serve(host_key: str, authorized_keys: str, port: str) -> None:
    server = await asyncssh.listen(
        *("127.0.0.1", int(port)),
        server_host_keys=[host_key],
        authorized_client_keys=authorized_keys,
        process_factory=run,
        encoding=None,
    )
    print(server.get_port(), flush=True)
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
