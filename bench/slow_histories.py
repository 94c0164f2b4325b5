"""The sandbox's histories, each page computed once and then sent a fixed time after the request.

The second client that asks for the same pages costs almost no processor time here, so what is measured is the client.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from portal.sandbox import create_sandbox
from portal.sandbox.faults import Faults
from portal.sandbox.options import SandboxOptions
from portal.sandbox.requestlog import RequestLog
from portal.sandbox.world import World

# Returns the addresses that were asked for since the last time.
TARGETS = "/targets"
# Lets things happen: `/changes/COUNT/PROJECTS`.
CHANGES = "/changes"
# GitLab builds links from the address that it believes it has.
SENT = ("X-Total", "X-Next-Page", "Link")


@dataclass(frozen=True)
class SlowHistories:
    """Where it answers, and a token of its service user."""

    url: str
    token: str

    def targets(self) -> list[str]:
        """Return what was asked for since the last time."""
        with urllib.request.urlopen(self.url + TARGETS) as answer:
            found: list[str] = json.loads(answer.read())
            return found

    def change(self, count: int, projects: int) -> dict[str, int]:
        """Let things happen in the first projects."""
        with urllib.request.urlopen(f"{self.url}{CHANGES}/{count}/{projects}") as answer:
            done: dict[str, int] = json.loads(answer.read())
            return done


@contextmanager
def slow_histories(projects: int, history: float, milliseconds: int) -> Iterator[SlowHistories]:
    """Run one in its own process while the block runs."""
    arguments = [sys.executable, "-m", "bench.slow_histories", str(projects), str(history), str(milliseconds)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdin
        port, token = process.stdout.readline().split()
        yield SlowHistories(f"http://localhost:{port}", token)
        process.stdin.close()
        process.wait(10)


async def _serve(projects: int, history: float, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    options = SandboxOptions(project_count=projects, history=history, with_service_user=True)
    world = World(options)
    world.settings.hide_totals_above = 10_000
    client = create_sandbox(options, world, faults=Faults(), requests=RequestLog()).test_client()
    user = world.user_by_username("gatehouse")
    assert user is not None
    token = world.create_personal_token(user)
    kept: dict[str, tuple[int, dict[str, str], bytes]] = {}
    asked: list[str] = []
    # One at a time: a test client serves no two requests at once.
    computing = ThreadPoolExecutor(1)

    def compute(target: str) -> tuple[int, dict[str, str], bytes]:
        answer = client.get(target, headers={"PRIVATE-TOKEN": token}, base_url=world.settings.external_url)
        headers = {name: answer.headers[name] for name in SENT if name in answer.headers}
        return answer.status_code, headers, zlib.compress(answer.data, 1)

    def answer_of_its_own(target: str) -> Any:
        if target == TARGETS:
            told = list(asked)
            asked.clear()
            return told
        count, first = map(int, target.removeprefix(CHANGES + "/").split("/"))
        kept.clear()
        return world.histories.change_many(count, [row.id for row in world.projects.rows if not row.empty][:first])

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                due = loop.time() + seconds
                target = head.split(b" ", 2)[1].decode()
                if target.startswith((TARGETS, CHANGES)):
                    status, headers, body = 200, {}, json.dumps(answer_of_its_own(target)).encode()
                else:
                    asked.append(target)
                    if target not in kept:
                        kept[target] = await loop.run_in_executor(computing, compute, target)
                    status, headers, packed = kept[target]
                    body = zlib.decompress(packed)
                told = {**headers, "Content-Type": "application/json", "Content-Length": str(len(body))}
                lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
                await asyncio.sleep(due - loop.time())
                writer.write(f"HTTP/1.1 {status} OK\r\n{lines}\r\n".encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    world.settings.external_url = f"http://localhost:{port}"
    print(port, token, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]) / 1000))
