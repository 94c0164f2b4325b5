"""The first read of what happened in many repositories, from a GitLab that takes 80 ms for each page, and the next one.

Beside it: the same pages downloaded and thrown away by as many lanes, and python-gitlab's iterators over a few
repositories. Then the pages of reports over everything that was read.
"""

from __future__ import annotations

import http.client
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import gitlab
from rich.table import Table
from sqlalchemy import func, insert, select
from sqlmodel import col

from bench.figures import console
from bench.pages import signed_in_client
from bench.portal_setup import authorized_connection, fresh_runtime
from bench.slow_histories import SlowHistories, slow_histories
from portal.connections.models import Connection
from portal.db import utc_now
from portal.ingestion.models import GitCommit, Issue, MergeRequest
from portal.ingestion.run import read_activity
from portal.net import origin_of
from portal.net.agreement import RequestAgreement
from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.models import Enablement, Repository, is_blocked, recount
from portal.runtime import Runtime
from tests.support.postgresql import running_cluster

MILLISECONDS = 80
LANES = 8
# Agreed with the GitLab that is read: eight lanes send a hundred requests a second.
PER_SECOND, AT_ONCE = 400, 24
ITERATED = 5
CHANGES, CHANGED_PROJECTS = 1_000, 20
# About 1,000,000 commits and 200,000 merge requests and issues in 500 repositories.
HISTORY = 1.9
PAGES = ("?weeks=104", "?weeks=12", "?weeks=104&group=platform", "?weeks=52&group=web/shop", "?weeks=26&group=data")
PAGE_RUNS = 20


def run(repositories: int, history: float = HISTORY, databases: tuple[str, ...] = ("SQLite", "PostgreSQL")) -> None:
    """Measure on both databases, and print."""
    projects = round(repositories * 1.25) + 20
    with slow_histories(projects, history, MILLISECONDS) as served, running_cluster() as cluster:
        # Everything is computed once, so that the server costs nothing afterwards.
        _child(served, "", repositories)
        iterated = _iterate(served) * repositories / ITERATED
        table = Table(
            title=f"{repositories} repositories, {MILLISECONDS} ms a page, {LANES} lanes", title_justify="left"
        )
        heads = (
            "",
            "commits",
            "merge requests, issues",
            "pages",
            "bare s",
            "first s",
            "CPU s",
            "/ bare",
            "× iterators",
        )
        for heading in (*heads, "peak MB", "next s", "next requests", "page p50 ms", "page p95 ms"):
            table.add_column(heading, justify="right" if heading else "left")
        for name in databases:
            url = "" if name == "SQLite" else cluster.create_database()
            found = _child(served, url, repositories)
            bare = found["bare"]
            table.add_row(
                *(name, f"{found['commits']:,.0f}", f"{found['items']:,.0f}", f"{found['pages']:,.0f}"),
                *(f"{bare:.1f}", f"{found['first']:.1f}", f"{found['cpu']:.1f}", f"{found['first'] / bare:.2f}"),
                *(f"{iterated / found['first']:.1f}", f"{found['peak']:.0f}", f"{found['next']:.1f}"),
                *(f"{found['next_requests']:.0f}", f"{found['p50']:.0f}", f"{found['p95']:.0f}"),
            )
        console.print(table)
        console.print(f"python-gitlab's iterators: {iterated:.0f} s, from {ITERATED} repositories")
        console.print(f"next: after {CHANGES:,} changes in {CHANGED_PROJECTS} repositories")


def _child(served: SlowHistories, database_url: str, repositories: int) -> dict[str, float]:
    told = subprocess.run(
        [sys.executable, "-m", "bench.ingestion", served.url, served.token, database_url, str(repositories)],
        env={**os.environ, "GATEHOUSE_CATALOGUE_LANES": str(LANES)},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return found


def _iterate(served: SlowHistories) -> float:
    """Return how long python-gitlab takes to read a few repositories, one list after the other."""
    client = gitlab.Gitlab(served.url, private_token=served.token)
    started, read = time.perf_counter(), 0
    for row in client.projects.list(iterator=True, membership=True, per_page=100, order_by="id", sort="asc"):
        if row.empty_repo or row.attributes.get("repository_access_level") == "disabled":
            continue
        every = {"iterator": True, "per_page": 100}
        lists: tuple[Callable[..., object], ...] = (row.mergerequests.list, row.issues.list, row.deployments.list)
        for some in lists:
            for _ in some(**every, state="all"):  # type: ignore[attr-defined]
                pass
        for action in ("approved", "commented"):
            for _ in row.events.list(**every, action=action):
                pass
        for _ in row.commits.list(**every):
            pass
        read += 1
        if read == ITERATED:
            return time.perf_counter() - started
    raise RuntimeError("too few repositories")


def _measure(url: str, token: str, database_url: str, repositories: int) -> dict[str, float]:
    served, found = SlowHistories(url, token), dict[str, float]()
    with fresh_runtime(url, database_url) as runtime:
        object.__setattr__(runtime.settings, "catalogue_lanes", LANES)
        connection_id = _prepared(runtime, url, token, repositories)
        served.targets()
        started, used = time.perf_counter(), time.process_time()
        result = read_activity(runtime, connection_id, lambda *_: None)
        found["first"], found["cpu"] = time.perf_counter() - started, time.process_time() - used
        assert (result.repositories, result.failed) == (repositories, 0), result
        found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        targets = served.targets()
        found["pages"] = len(targets)
        found["bare"] = _download(url, token, targets)
        with runtime.database.reading() as session:
            counts = [
                session.execute(select(func.count()).select_from(table)).scalar_one()
                for table in (GitCommit, MergeRequest, Issue)
            ]
        found["commits"], found["items"] = counts[0], counts[1] + counts[2]
        times = _pages(runtime)
        found["p50"], found["p95"] = statistics.median(times), statistics.quantiles(times, n=20)[-1]
        served.change(CHANGES, CHANGED_PROJECTS)
        # The list of repositories says which were active.
        read_catalogue(runtime, connection_id, "bench", lambda *_: None)
        served.targets()
        started = time.perf_counter()
        read_activity(runtime, connection_id, lambda *_: None)
        found["next"], found["next_requests"] = time.perf_counter() - started, len(served.targets())
    return found


def _prepared(runtime: Runtime, url: str, token: str, repositories: int) -> int:
    connection_id = authorized_connection(runtime, url, token)
    with runtime.database.transaction() as session:
        connection = session.get_one(Connection, connection_id)
        agreed = {"organization_id": connection.organization_id, "per_second": PER_SECOND, "at_once": AT_ONCE}
        session.add(RequestAgreement(origin=origin_of(url), **agreed))
    read_catalogue(runtime, connection_id, "bench", lambda *_: None)
    with runtime.database.transaction() as session:
        usable = select(col(Repository.id)).where(~is_blocked()).order_by(col(Repository.gitlab_project_id))
        ids = session.execute(usable.limit(repositories)).scalars().all()
        rows = [
            {"repository_id": number, "connection_id": connection_id, "state": "Enabled", "enabled_at": utc_now()}
            for number in ids
        ]
        session.execute(insert(Enablement), rows)
        recount(session, connection_id)
    return connection_id


def _download(url: str, token: str, targets: list[str]) -> float:
    """Return how long it takes to download the same pages in as many lanes, and to decode none."""
    parts = urlsplit(url)

    def download(mine: list[str]) -> None:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        for target in mine:
            connection.request("GET", target, headers={"PRIVATE-TOKEN": token})
            connection.getresponse().read()
        connection.close()

    threads = [threading.Thread(target=download, args=(targets[lane::LANES],)) for lane in range(LANES)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started


def _pages(runtime: Runtime) -> list[float]:
    """Return how many milliseconds the server takes for each page of a report."""
    client = signed_in_client(runtime)
    times = []
    for _ in range(PAGE_RUNS):
        for query in PAGES:
            started = time.perf_counter()
            client(f"/reports{query}")
            times.append((time.perf_counter() - started) * 1000)
    return times[len(PAGES) :]


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))))
