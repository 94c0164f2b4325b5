"""Webhooks of many repositories: how many requests it takes to make them, and to compare them again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.table import Table
from sqlmodel import col, select

from bench.figures import console
from bench.portal_setup import authorized_connection, fresh_runtime
from bench.sandbox_process import sandbox_of
from portal.connections.models import Connection
from portal.connections.store import open_host_session
from portal.credentials import AccessSource
from portal.db import utc_now
from portal.gitlab.hooks import HookClient
from portal.net import Answer
from portal.repositories.models import Enablement, Repository
from portal.runtime import Runtime
from portal.webhooks.desired import sync_rows
from portal.webhooks.models import Hook
from portal.webhooks.reconcile import Reconciler

AT_ONCE = 4


class CountingClient(HookClient):
    """Counts what is sent, by method."""

    def __init__(self, *arguments: Any, **details: Any) -> None:
        super().__init__(*arguments, **details)
        self.sent: Counter[str] = Counter()

    def _fetch(self, *arguments: Any, **details: Any) -> Answer:
        self.sent[details.get("method", "GET")] += 1
        return super()._fetch(*arguments, **details)


def in_lanes(items: Sequence[int], work: Callable[[int], object]) -> None:
    """Do some at once, as a job does."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(work, items):
            pass


def enable(runtime: Runtime, connection_id: int, count: int) -> None:
    """Store so many enabled projects, whose first webhook has proved that GitLab delivers."""
    with runtime.database.transaction() as session:
        connection = session.get_one(Connection, connection_id)
        connection.hooks_wanted = True
        # Every eighth id of the sandbox's projects is one that was deleted.
        for number in (place + (place - 1) // 7 for place in range(1, count + 1)):
            about = {"gitlab_project_id": number, "name": f"p{number}", "namespace_path": "bench"}
            session.add(Repository(connection_id=connection_id, path_with_namespace=f"bench/p{number}", **about))
        session.flush()
        ids = session.exec(select(Repository.id)).all()
        session.add_all(Enablement(connection_id=connection_id, repository_id=number or 0) for number in ids)
    sync_rows(runtime, connection_id)
    with runtime.database.transaction() as session:
        session.exec(select(Hook).order_by(col(Hook.id)).limit(1)).one().proved_at = utc_now()


def compare(runtime: Runtime, connection_id: int) -> tuple[Counter[str], int, float]:
    """Return the requests of one comparison, how many webhooks are as they should be, and the seconds."""
    with runtime.database.reading() as session:
        connection = session.get_one(Connection, connection_id)
    started = time.perf_counter()
    with open_host_session(runtime, connection, is_background=True) as http:
        client = CountingClient(http, AccessSource(runtime, connection_id, "bench"))
        found = Reconciler(runtime, connection, client, in_lanes)
        found.run()
    assert found.card is None, found.card
    return client.sent, found.accepted, time.perf_counter() - started


def run(hooks: int) -> None:
    """Measure and print."""
    table = Table(title=f"Webhooks of {hooks:,} repositories", title_justify="left")
    for heading in ("", "GET", "POST", "PUT", "DELETE", "as they should be", "seconds"):
        table.add_column(heading, justify="right" if heading else "left")
    with sandbox_of(hooks) as served, fresh_runtime(served.url) as runtime:
        connection_id = authorized_connection(runtime, served.url, served.root_token)
        enable(runtime, connection_id, hooks)
        for name in ("first run", "second run"):
            sent, accepted, seconds = compare(runtime, connection_id)
            counts = (f"{sent[method]:,}" for method in ("GET", "POST", "PUT", "DELETE"))
            table.add_row(name, *counts, f"{accepted:,}", f"{seconds:.1f}")
    console.print(table)
