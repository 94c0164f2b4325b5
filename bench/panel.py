"""Server time of the selection panel among many repositories on both databases, and what its answers weigh.

Each figure is shown beside a bare Flask page of the same size, in a process that only serves. If the machine is busy,
CPU time, which leaves out the database server, says more than the time that passed.
"""

from __future__ import annotations

import html
import json
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flask import Flask, render_template_string
from rich.table import Table
from sqlalchemy import insert, select, text

from bench.figures import console
from bench.pages import signed_in_client
from bench.portal_setup import authorized_connection, fresh_runtime
from portal import build_runtime
from portal.accounts.models import Membership
from portal.accounts.principal import load_principal
from portal.connections.models import Connection
from portal.db import utc_now
from portal.jobs.models import JobState
from portal.jobs.service import request_stop
from portal.repositories import bulk
from portal.repositories.catalogue.run import enqueue_catalogue_read
from portal.repositories.models import CatalogueRun, Enablement, GitLabGroup, Repository, recount
from portal.repositories.search import complete_index
from portal.repositories.selection import Filters, VisibilityFilter
from portal.runtime import Runtime
from portal.settings import Settings
from tests.support.postgresql import running_cluster

GROUPS = (50, 9, 10)
# fmt: off
WORDS = (
    "service", "gateway", "billing", "ledger", "checkout", "basket", "search", "index", "crawler", "parser", "worker",
    "queue", "broker", "mailer", "report", "export", "import", "sync", "agent", "client", "server", "proxy", "cache",
    "store", "vault", "policy", "audit", "identity", "session", "token", "admin", "console", "portal", "mobile",
    "android", "ios", "web", "design", "theme", "icons", "charts", "forms", "tables", "editor", "viewer", "player",
    "encoder", "stream", "video", "audio", "image", "model", "training", "feature", "pipeline", "ingest", "warehouse",
    "lake", "catalog", "schema", "contract", "test", "fixture", "load", "chaos", "probe", "metrics",
)
# fmt: on
BATCH = 5_000
# In the middle of the times that repositories were last active.
LONG_AGO = quote((utc_now() - timedelta(hours=10_000)).isoformat())
PAGES = {
    "page": "/repositories/?connection=bench",
    "page of all connections": "/repositories/",
    "keystroke, common word": "/repositories/?connection=bench&q=service",
    "keystroke, rare word": "/repositories/?connection=bench&q=48213",
    "keystroke, two words": "/repositories/?connection=bench&q=ledger+export",
    "keystroke, two letters": "/repositories/?connection=bench&q=se",
    "keystroke, no match": "/repositories/?connection=bench&q=zebra",
    "filter enabled": "/repositories/?connection=bench&state=enabled",
    "filter unavailable": "/repositories/?connection=bench&state=unavailable",
    "filter needs attention": "/repositories/?connection=bench&state=needs_attention",
    "word in a group": "/repositories/?connection=bench&group=area-49&q=ledger",
    "group chosen": "/repositories/?connection=bench&group=area-20/team-3",
    "page far down": "/repositories/?connection=bench&after=1:area-40",
    "sort by activity": "/repositories/?connection=bench&sort=-activity",
    "sort by activity, far down": f"/repositories/?connection=bench&sort=-activity&after=1:{LONG_AGO}",
    "sort by role": "/repositories/?connection=bench&sort=-role",
    "sort by enabling": "/repositories/?connection=bench&sort=-enabled",
    "sort by enabling, not enabled first": "/repositories/?connection=bench&sort=enabled",
    "filter role": "/repositories/?connection=bench&role=maintainer",
    "filter role, sort by activity": "/repositories/?connection=bench&role=maintainer&sort=-activity",
    "keystroke, sort by activity": "/repositories/?connection=bench&q=service&sort=-activity",
    "group sorted by activity": "/repositories/?connection=bench&group=area-20&sort=-activity",
    "group opened": "/repositories/groups?connection=bench&parent=area-20",
    "details": "/connections/bench",
}
FRAGMENTS = ("keystroke", "filter", "word", "group", "poll", "sort")


def run(repositories: int, runs: int) -> None:
    """Measure and print milliseconds and bytes."""
    with running_cluster() as cluster:
        for name, url in (("SQLite", ""), ("PostgreSQL", cluster.create_database())):
            with fresh_runtime(database_url=url) as runtime:
                fill(runtime, repositories)
                settings = runtime.settings
                server = [sys.executable, "-m", "bench.panel", settings.database_url, str(settings.data_dir), str(runs)]
                told = subprocess.run(server, check=True, capture_output=True, text=True)
            figures = json.loads(told.stdout.splitlines()[-1])
            table = Table(title=f"Panel with {repositories:,} repositories, {name}", title_justify="left")
            for heading in ("", "median ms", "p95 ms", "CPU ms", "bare, CPU ms", "bytes"):
                table.add_column(heading, justify="right" if heading else "left")
            for row, (seconds, used, bare, size) in figures["pages"].items():
                p95 = sorted(seconds)[int(len(seconds) * 0.95)]
                times = (f"{value * 1000:.1f}" for value in (statistics.median(seconds), p95, used, bare))
                table.add_row(row, *times, f"{size:,}")
            console.print(table)
            console.print(f"Memory of the process that serves: {figures['memory']:.0f} MB\n")


def fill(runtime: Runtime, repositories: int) -> None:
    """Store a catalogue with its groups; one in nineteen is enabled, one in ten unavailable."""
    connection_id = authorized_connection(runtime, "https://gitlab.example", "token")
    made = random.Random(1)
    paths = list(_group_paths())
    now = utc_now()
    groups = [
        {
            "connection_id": connection_id,
            "gitlab_group_id": number,
            "name": path.rpartition("/")[2].capitalize(),
            "full_path": path,
            "kind": "group",
        }
        for number, path in enumerate(paths, start=1)
    ]
    rows = []
    for number in range(1, repositories + 1):
        namespace = paths[number % len(paths)]
        word = "service" if number % 3 == 0 else made.choice(WORDS)
        name = f"{made.choice(WORDS)}-{word}-{number}"
        row = {
            "connection_id": connection_id,
            "gitlab_project_id": number,
            "name": name,
            "path_with_namespace": f"{namespace}/{name}",
            "namespace_path": namespace,
            "visibility": made.choice(("private", "private", "internal", "public")),
            "access_level": made.choice((20, 30, 40)),
            "role_source": made.choice(("direct", "inherited", "inherited")),
            "unavailable_reason": "archived" if number % 10 == 0 else "",
            "last_activity_at": now - timedelta(hours=made.randrange(20_000)),
            "search_text": f"{namespace}/{name} {name}",
            "digest": number.to_bytes(8, "big"),
        }
        rows.append(row)
    with runtime.database.transaction() as session:
        session.execute(insert(GitLabGroup), groups)
    for start in range(0, len(rows), BATCH):
        with runtime.database.transaction() as session:
            session.execute(insert(Repository), rows[start : start + BATCH])
    with runtime.database.transaction() as session:
        chosen = select(Repository.id).where(Repository.id % 19 == 0)  # type: ignore[operator]
        ids = session.execute(chosen).scalars()
        session.execute(insert(Enablement), [{"repository_id": own, "connection_id": connection_id} for own in ids])
        recount(session, connection_id)
        session.add(CatalogueRun(connection_id=connection_id, search_indexed=True, finished_at=now))
    complete_index(runtime.database)
    with runtime.database.transaction() as session:
        if not runtime.database.is_sqlite:
            session.execute(text("ANALYZE"))


def _group_paths() -> Iterator[str]:
    for area in range(GROUPS[0]):
        yield f"area-{area}"
        for team in range(GROUPS[1]):
            yield f"area-{area}/team-{team}"
            for part in range(GROUPS[2]):
                yield f"area-{area}/team-{team}/part-{part}"


def serve(database_url: str, data_dir: str, runs: int) -> None:
    """Ask a portal in this process for each page, and print what it took as JSON."""
    runtime = build_runtime(Settings(data_dir=Path(data_dir), allow_http=True, database_url=database_url))
    client = signed_in_client(runtime)
    with runtime.database.transaction() as session:
        connection = session.execute(select(Connection)).scalar_one()
        job = enqueue_catalogue_read(session, connection)
        job.state = JobState.RUNNING
    first = re.search('hx-get="(/connections/bench/catalogue[^"]*)"', client(PAGES["page"]).decode())
    assert first
    poll = html.unescape(first[1])
    pages = {}
    for name, path in {**PAGES, "poll that changes nothing": poll, "poll": poll.partition("?")[0]}.items():
        headers = {"HX-Request": "true"} if name.startswith(FRAGMENTS) else {}
        pages[name] = _measure(lambda path=path, headers=headers: client(path, headers), runs)
    pages["preview of all that match"] = _measure(
        lambda: client("/repositories/change?do=enable&q=service&visibility=private"), runs
    )
    name, figures = _start_all(runtime, min(runs, 10))
    pages[name] = figures
    runtime.database.close()
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    memory = next(int(line[1]) / 1024 for line in lines if line[0] == "VmRSS:")
    for figures in pages.values():
        figures.insert(2, _bare(figures[-1]))
    print(json.dumps({"pages": pages, "memory": memory}))


def _measure(call: Callable[[], bytes], runs: int) -> list[Any]:
    """Return the seconds of each run, the median of what this process worked in them, and the bytes of the answer."""
    seconds, used = [], []
    call()
    for _ in range(runs):
        started, began = time.perf_counter(), time.thread_time()
        body = call()
        used.append(time.thread_time() - began)
        seconds.append(time.perf_counter() - started)
    return [seconds, statistics.median(used), len(body)]


def _start_all(runtime: Runtime, runs: int) -> tuple[str, list[Any]]:
    """Start to enable more than 10,000 repositories several times, each time ending the job before it begins."""
    filters = Filters(connection="bench", query="service", visibility=VisibilityFilter.PRIVATE)
    with runtime.database.reading() as session:
        member = session.execute(select(Membership)).scalars().first()
        principal = load_principal(session, member.user_id, member.organization_id) if member else None
    assert principal is not None
    found = bulk.preview(runtime, principal, filters, enabled=True)
    numbers = {"matching": found.matching, "changing": found.changing, "confirmation": str(found.changing)}
    seconds, used = [], []
    for _ in range(runs):
        started, began = time.perf_counter(), time.thread_time()
        job, _ = bulk.start(runtime, principal, filters, enabled=True, **numbers)
        used.append(time.thread_time() - began)
        seconds.append(time.perf_counter() - started)
        with runtime.database.transaction() as session:
            request_stop(session, job.public_id)
    return f"start of all {found.matching:,} that match", [seconds, statistics.median(used), 0]


def _bare(size: int) -> float:
    """Return what a Flask page with a loop and about so many bytes takes of the processor."""
    app = Flask("bare")
    template = "<table>{% for row in rows %}<tr><td>{{ row.path }}</td><td>{{ row.state }}</td>{% endfor %}</table>"
    rows = [{"path": "group/" * 10, "state": "available"}] * max(1, size // 100)
    app.add_url_rule("/", "index", lambda: render_template_string(template, rows=rows))
    client = app.test_client()
    used: float = _measure(lambda: client.get("/").data, 20)[1]
    return used


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
