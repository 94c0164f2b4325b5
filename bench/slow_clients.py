"""Everyone else's pages while there are slow clients: the portal's server compared with gunicorn's threads."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from rich.table import Table

from bench.figures import console
from bench.portal_setup import fresh_runtime
from portal.operation.serving import web_arguments
from portal.settings import Settings

ROOT = Path(__file__).parent.parent
DRIP_SECONDS = 0.5
# Between two pages of one visitor; there are three of them, and a person reads.
PAUSE_SECONDS = 0.1
VISITORS = 3
WAITED_TOO_LONG = 10.0
HEAD = "Host: 127.0.0.1:{port}\r\nUser-Agent: slow\r\n"
# The peer: gunicorn's worker with threads, which the portal used before.
THREADS = ["--worker-class=gthread", "--threads=8"]
Slow = Callable[[int], Awaitable[None]]


async def silent(port: int) -> None:
    """Connect and say nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.read()
    writer.close()


async def dripping_head(port: int) -> None:
    """Send the head of a request byte by byte."""
    await _drip(port, b"", ("GET /sign-in HTTP/1.1\r\n" + HEAD.format(port=port) + "X-Long: " + "x" * 4000).encode())


async def dripping_body(port: int) -> None:
    """Send a whole head, and the body of a form byte by byte."""
    head = f"POST /sign-in HTTP/1.1\r\n{HEAD.format(port=port)}Content-Type: application/x-www-form-urlencoded\r\n"
    await _drip(port, f"{head}Content-Length: 4000\r\n\r\n".encode(), b"x" * 4000)


async def slow_reader(port: int) -> None:
    """Request the largest file again and again, with a small buffer, and read the response in small pieces."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, ("127.0.0.1", port))
        request = f"GET /static/vendor/tabler-1.6.1.min.css HTTP/1.1\r\n{HEAD.format(port=port)}\r\n"
        await loop.sock_sendall(connection, request.encode() * 4)
        while await loop.sock_recv(connection, 512):
            await asyncio.sleep(DRIP_SECONDS)


async def idle_keep_alive(port: int) -> None:
    """Ask for a page, read it, and keep the connection open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /sign-in HTTP/1.1\r\n{HEAD.format(port=port)}\r\n".encode())
    await reader.read()
    writer.close()


KINDS: dict[str, Slow] = {
    "connects and says nothing": silent,
    "head byte by byte": dripping_head,
    "body byte by byte": dripping_body,
    "reads in sips": slow_reader,
    "idle after a page": idle_keep_alive,
}


async def _drip(port: int, at_once: bytes, slowly: bytes) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(at_once)
    for byte in slowly:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(DRIP_SECONDS)
    writer.close()


async def again_and_again(port: int, client: Slow) -> None:
    """Be slow; if cut off, start again."""
    while True:
        with contextlib.suppress(OSError):
            await client(port)
        await asyncio.sleep(DRIP_SECONDS)


async def visit(port: int, seconds: list[float], until: float) -> None:
    """Open one page after the other, each over its own connection, and record how long each took."""
    while time.monotonic() < until:
        started = time.monotonic()
        took = WAITED_TOO_LONG
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(WAITED_TOO_LONG):
                await _page(port)
                took = time.monotonic() - started
        seconds.append(took)
        await asyncio.sleep(PAUSE_SECONDS)


async def _page(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET /sign-in HTTP/1.1\r\n{HEAD.format(port=port)}Connection: close\r\n\r\n".encode())
        answer = await reader.read()
    finally:
        writer.close()
    if b" 200 " not in answer[:20]:
        raise ConnectionError


async def _measure(port: int, kinds: list[Slow], clients: int, lasting: float) -> list[float]:
    slow = [asyncio.create_task(again_and_again(port, kind)) for kind in kinds for _ in range(clients)]
    await asyncio.sleep(2)  # All of them are busy.
    seconds: list[float] = []
    until = time.monotonic() + lasting
    await asyncio.gather(*(visit(port, seconds, until) for _ in range(VISITORS)))
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    return sorted(seconds)


def run(clients: int, seconds: float) -> None:
    """Measure and print."""
    table = Table(title=f"Pages of others while {clients} clients of a kind are slow", title_justify="left")
    for heading in ("server", "slow clients", "pages", "p50 ms", "max ms", "not within 10 s"):
        table.add_column(heading, justify="left" if heading in ("server", "slow clients") else "right")
    kinds = {"none": [], **{name: [kind] for name, kind in KINDS.items()}, "all of them": list(KINDS.values())}
    cases = [("Gatehouse", [], name) for name in kinds]
    cases += [("gunicorn gthread, 8 threads", THREADS, name) for name in ("none", "all of them")]
    for server, more, name in cases:
        with fresh_runtime() as runtime, serving(runtime.settings, more) as port:
            found = asyncio.run(_measure(port, kinds[name], clients, seconds))
        failed = sum(one >= WAITED_TOO_LONG for one in found)
        middle, worst = found[len(found) // 2] * 1000, found[-1] * 1000
        table.add_row(server, name, str(len(found)), f"{middle:.0f}", f"{worst:.0f}", str(failed))
    console.print(table)


@contextlib.contextmanager
def serving(settings: Settings, more: list[str]) -> Iterator[int]:
    """Run the web server on a free port of loopback until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    environment = {
        **os.environ,
        "GATEHOUSE_DATA_DIR": str(settings.data_dir),
        "GATEHOUSE_BASE_URL": f"http://127.0.0.1:{port}",
    }
    command = [sys.executable, *web_arguments(settings, f"127.0.0.1:{port}", 1), *more]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, cwd=ROOT, start_new_session=True, **quiet) as process:
        try:
            while not _answers(port):
                time.sleep(0.02)
            yield port
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _answers(port: int) -> bool:
    try:
        asyncio.run(_page(port))
    except OSError:
        return False
    return True
