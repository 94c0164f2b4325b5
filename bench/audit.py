"""Audited changes per second of eight threads on both databases, compared with the same changes without the log; and
how fast the chain is verified, exported and searched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from bench.figures import measure, show
from bench.portal_setup import fresh_runtime
from portal import audit
from portal.accounts.models import Organization
from portal.actor import Actor
from portal.audit.verify import verify_chain
from portal.audit_log.export import COLUMNS, rows_of
from portal.audit_log.search import Search, iterate_events, list_events
from portal.exports import Format
from portal.runtime import Runtime
from tests.support.postgresql import running_cluster

THREADS = 8
BATCH = 5_000


def run(changes: int, events: int, runs: int) -> None:
    """Measure and print."""
    with running_cluster() as cluster:
        for name, url in (("SQLite", ""), ("PostgreSQL", cluster.create_database())):
            with fresh_runtime(database_url=url) as runtime:
                _show_writing(name, runtime, changes, runs)
                _show_reading(name, runtime, events, runs)


def _show_writing(name: str, runtime: Runtime, changes: int, runs: int) -> None:
    figures = measure(
        {
            "change with its event": lambda: _in_threads(changes, lambda: _change(runtime, audited=True)),
            "change alone": lambda: _in_threads(changes, lambda: _change(runtime, audited=False)),
        },
        runs,
    )
    assert verify_chain(runtime).checked == changes * runs
    show(f"{changes:,} changes of {THREADS} threads, {name}", figures, items=changes)


def _show_reading(name: str, runtime: Runtime, events: int, runs: int) -> None:
    for _ in range(events // BATCH):
        _add(runtime, BATCH)
    total = verify_chain(runtime).checked
    search = Search(1, person="nobody", object="nothing")
    whole: dict[str, Callable[[], object]] = {
        "export as CSV": lambda: sum(
            map(len, Format.CSV.lines(COLUMNS, rows_of(iterate_events(runtime.database, Search(1)))))
        ),
        "verify": lambda: verify_chain(runtime),
    }
    show(f"The whole log of {total:,} events, {name}", measure(whole, runs), items=total)
    queries: dict[str, Callable[[], object]] = {
        "newest page": lambda: list_events(runtime.database, Search(1)),
        "search without a match": lambda: list_events(runtime.database, search),
    }
    show(f"Queries of the page, {name}", measure(queries, runs), unit=1000, per="ms")


def _in_threads(count: int, call: Callable[[], None]) -> None:
    def work() -> None:
        for _ in range(count // THREADS):
            call()

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _change(runtime: Runtime, *, audited: bool) -> None:
    with runtime.database.transaction() as session:
        session.add(Organization(name="Example Corp"))
        if audited:
            _record(session)


def _add(runtime: Runtime, count: int) -> None:
    with runtime.database.transaction() as session:
        for _ in range(count):
            _record(session)


def _record(session) -> None:
    actor, target = Actor.of_user(1, "Olga Owner"), audit.Target(1, "connection", 1, "GitLab")
    audit.record(session, actor, "connection.renamed", target, old="GitLab of before")
