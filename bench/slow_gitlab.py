"""Lists of projects and groups as the sandbox has them, each page prepared and sent a fixed time after the request.

It costs almost no processor time, so what is measured is the client.
"""

from __future__ import annotations

import asyncio
import bisect
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from portal.sandbox.testing import RunningSandbox

PER_PAGE = 100
# Above this, GitLab no longer counts (api/rest, "Pagination response headers").
COUNTED_UP_TO = 10_000
# Says how many requests there have been.
ASKED = "/asked"


@dataclass
class Rows:
    """A list by ascending id; also as GitLab returns it with `simple`."""

    ids: list[int] = field(default_factory=list)
    full: dict[int, bytes] = field(default_factory=dict)
    short: dict[int, bytes] = field(default_factory=dict)


class Prepared:
    """What the sandbox answers, by the role that is asked for."""

    def __init__(self, projects: int) -> None:
        with RunningSandbox(project_count=projects, with_service_user=True) as sandbox:
            self._parts, self._token = urlsplit(sandbox.url), sandbox.token("gatehouse")
            self._http = http.client.HTTPConnection(self._parts.hostname or "", self._parts.port)
            self.metadata = json.dumps(self._get("/api/v4/metadata")).encode()
            full = {row["id"]: row for row in self._pages("membership=true")}
            self.held = {level: {row["id"] for row in self._pages(f"min_access_level={level}")} for level in (20, 40)}
            self.groups = [json.dumps(row).encode() for row in self._group_pages()]
            self._http.close()
        # Enough of what `simple` returns.
        names = ("id", "name", "path_with_namespace", "web_url", "namespace", "last_activity_at", "default_branch")
        self.projects = Rows(
            sorted(full),
            {number: json.dumps(row).encode() for number, row in full.items()},
            {number: json.dumps({name: row.get(name) for name in names}).encode() for number, row in full.items()},
        )

    def answer(self, target: str) -> tuple[bytes, dict[str, str]]:
        """Return body and headers."""
        parts = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if parts.path.endswith("/projects"):
            return self._projects(query, target)
        if parts.path.endswith("/groups"):
            size = int(query.get("per_page", "20"))
            start = (int(query.get("page", "1")) - 1) * size
            return _array(self.groups[start : start + size]), {"X-Total": str(len(self.groups))}
        return self.metadata, {}

    def _projects(self, query: dict[str, str], target: str) -> tuple[bytes, dict[str, str]]:
        ids = self.projects.ids
        after, before = int(query.get("id_after", "0")), int(query.get("id_before", str(2**40)))
        ids = ids[bisect.bisect_right(ids, after) : bisect.bisect_left(ids, before)]
        if level := query.get("min_access_level"):
            ids = [number for number in ids if number in self.held[int(level)]]
        if query.get("sort") == "desc":
            ids = ids[::-1]
        size = int(query.get("per_page", "20"))
        bodies = self.projects.short if "simple" in query else self.projects.full
        headers = {"X-Total": str(len(ids))} if len(ids) <= COUNTED_UP_TO else {}
        if query.get("pagination") == "keyset" and len(ids) > size:
            base = target.partition("&id_after=")[0]
            headers["Link"] = f'<http://{self.authority}{base}&id_after={ids[size - 1]}>; rel="next"'
        return _array([bodies[number] for number in ids[:size]]), headers

    authority = ""

    def _get(self, path: str) -> Any:
        self._http.request("GET", path, headers={"PRIVATE-TOKEN": self._token})
        return json.loads(self._http.getresponse().read())

    def _pages(self, query: str) -> Iterator[dict[str, Any]]:
        after = 0
        while rows := self._get(
            f"/api/v4/projects?{query}&membership=true&per_page={PER_PAGE}&order_by=id&sort=asc&id_after={after}"
        ):
            yield from rows
            after = rows[-1]["id"]

    def _group_pages(self) -> Iterator[dict[str, Any]]:
        page = 1
        while rows := self._get(f"/api/v4/groups?per_page={PER_PAGE}&order_by=id&all_available=false&page={page}"):
            yield from rows
            page += 1


def _array(rows: list[bytes]) -> bytes:
    return b"[" + b",".join(rows) + b"]"


@dataclass(frozen=True)
class SlowGitLab:
    """Where it answers, and what it has."""

    url: str
    ids: list[int]
    groups: int


@contextmanager
def slow_gitlab(projects: int, milliseconds: int) -> Iterator[SlowGitLab]:
    """Run one in its own process while the block runs."""
    arguments = [sys.executable, "-m", "bench.slow_gitlab", str(projects), str(milliseconds)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdin
        port, groups, *ids = map(int, process.stdout.readline().split())
        yield SlowGitLab(f"http://localhost:{port}", ids, groups)
        process.stdin.close()
        process.wait(10)


async def _serve(prepared: Prepared, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    asked = 0

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                due = loop.time() + seconds
                target = head.split(b" ", 2)[1].decode()
                if target == ASKED:
                    body, headers, due = str(asked).encode(), {}, 0.0
                else:
                    asked += 1
                    body, headers = prepared.answer(target)
                told = {**headers, "Content-Type": "application/json", "Content-Length": str(len(body))}
                lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
                await asyncio.sleep(due - loop.time())
                writer.write(f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    prepared.authority = f"localhost:{port}"
    print(port, len(prepared.groups), *prepared.projects.ids, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve(Prepared(int(sys.argv[1])), int(sys.argv[2]) / 1000))
