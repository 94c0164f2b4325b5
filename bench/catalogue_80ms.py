"""A read of the catalogue from a GitLab that takes 80 ms for each page, beside a bare download and python-gitlab.

If the machine is busy, a read takes longer and the bare download, which computes nothing, does not: then the time of
the processor says more.
"""

from __future__ import annotations

import http.client
import json
import os
import resource
import subprocess
import sys
import threading
import time
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import gitlab
from rich.table import Table
from sqlalchemy import event

from bench.figures import console
from bench.portal_setup import authorized_connection, fresh_runtime
from bench.slow_gitlab import ASKED, PER_PAGE, SlowGitLab, slow_gitlab
from portal.connections.models import Connection
from portal.net import origin_of
from portal.net.agreement import RequestAgreement
from portal.repositories.catalogue.run import read_catalogue
from portal.runtime import Runtime
from tests.support.postgresql import running_cluster

MILLISECONDS = 80
LANES = (4, 8)
# python-gitlab takes minutes for all of them, at the same speed for each page.
ITERATED = 2_000
# Agreed with the GitLab that is read. Eight lanes send 100 requests a second, which is all that the default allows.
PER_SECOND, AT_ONCE = 200, 24
TABLES = ("repository", "gitlab_group", "namespace")


def run(projects: int) -> None:
    """Measure on both databases, and print."""
    with slow_gitlab(projects, MILLISECONDS) as served, running_cluster() as cluster:
        iterated = _iterate(served) * projects / ITERATED
        title = (
            f"{len(served.ids):,} projects, {served.groups:,} groups, {MILLISECONDS} ms a page; "
            f"budget: {PER_SECOND} requests a second, {AT_ONCE} at once"
        )
        table = Table(title=title, title_justify="left")
        for heading in (
            "",
            "lanes",
            "bare s",
            "first s",
            "CPU s",
            "/ bare",
            "× iterator",
            "rows seen after s",
            "again s",
        ):
            table.add_column(heading, justify="right" if heading else "left")
        for heading in ("CPU s", "/ bare", "rows written again", "requests", "peak MB"):
            table.add_column(heading, justify="right")
        for lanes in LANES:
            for name in ("SQLite", "PostgreSQL"):
                bare = _download(served, lanes)
                url = "" if name == "SQLite" else cluster.create_database()
                told = subprocess.run(
                    [sys.executable, "-m", "bench.catalogue_80ms", served.url, url],
                    env={**os.environ, "GATEHOUSE_CATALOGUE_LANES": str(lanes)},
                    check=True,
                    capture_output=True,
                    text=True,
                )
                found = json.loads(told.stdout.splitlines()[-1])  # Warnings come before.
                table.add_row(
                    *(name, str(lanes), f"{bare:.2f}", f"{found['first']:.2f}", f"{found['first_cpu']:.2f}"),
                    f"{found['first'] / bare:.2f}",
                    *(f"{iterated / found['first']:.1f}", f"{found['seen']:.2f}", f"{found['again']:.2f}"),
                    f"{found['again_cpu']:.2f}",
                    *(f"{found['again'] / bare:.2f}", f"{found['written']:,}", f"{found['requests']:,}"),
                    f"{found['peak']:.0f}",
                )
        console.print(table)
        console.print(f"python-gitlab's iterator, kept nowhere: {iterated:.1f} s, from its first {ITERATED:,} projects")


def _iterate(served: SlowGitLab) -> float:
    """Return how long python-gitlab takes for its first projects."""
    client = gitlab.Gitlab(served.url, oauth_token="any")
    started = time.perf_counter()
    found = client.projects.list(
        iterator=True, membership=True, per_page=PER_PAGE, order_by="id", sort="asc", pagination="keyset"
    )
    for _, _project in zip(range(ITERATED), found, strict=False):
        pass
    return time.perf_counter() - started


def _download(served: SlowGitLab, lanes: int) -> float:
    """Return how long it takes to download every page in lanes that know the ids in advance, and to decode none."""
    parts = urlsplit(served.url)
    starts = [0, *served.ids[PER_PAGE - 1 :: PER_PAGE]][: -(-len(served.ids) // PER_PAGE)]

    def download(mine: list[int]) -> None:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        for after in mine:
            path = f"/api/v4/projects?membership=true&per_page={PER_PAGE}&order_by=id&sort=asc&id_after={after}"
            connection.request("GET", path)
            connection.getresponse().read()
        connection.close()

    threads = [threading.Thread(target=download, args=(starts[lane::lanes],)) for lane in range(lanes)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started


def _read_twice(url: str, database_url: str) -> dict[str, float]:
    found: dict[str, float] = {}
    with fresh_runtime(url, database_url) as runtime:
        connection_id = authorized_connection(runtime, url, "any")
        with runtime.database.transaction() as session:
            organization_id = session.get_one(Connection, connection_id).organization_id
            agreed = {"organization_id": organization_id, "per_second": PER_SECOND, "at_once": AT_ONCE}
            session.add(RequestAgreement(origin=origin_of(url), **agreed))
        before, started, used = _asked(url), time.perf_counter(), time.process_time()

        def first_rows(done: int, _total: int | None, _message: str) -> None:
            if done:
                found.setdefault("seen", time.perf_counter() - started)

        assert read_catalogue(runtime, connection_id, "bench", first_rows).complete
        found["first"], found["first_cpu"] = time.perf_counter() - started, time.process_time() - used
        found["requests"] = _asked(url) - before
        written = _count_written(runtime)
        started, used = time.perf_counter(), time.process_time()
        assert read_catalogue(runtime, connection_id, "bench", lambda *_: None).complete
        found["again"], found["again_cpu"] = time.perf_counter() - started, time.process_time() - used
        found["written"] = written[0]
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def _asked(url: str) -> int:
    with urllib.request.urlopen(url + ASKED) as answer:
        return int(answer.read())


def _count_written(runtime: Runtime) -> list[int]:
    """Count the rows of the catalogue that are written from now on."""
    written = [0]

    def count(_connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        words = statement.split(maxsplit=3)
        if words[0] in {"INSERT", "UPDATE", "DELETE"} and {*words[1:3]}.intersection(TABLES):
            written[0] += max(0, cursor.rowcount)

    event.listen(runtime.database.engine, "after_cursor_execute", count)
    return written


if __name__ == "__main__":
    print(json.dumps(_read_twice(*sys.argv[1:])))
