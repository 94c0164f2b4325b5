"""Webhooks of many repositories: how many requests it takes to make them, and to compare them again; and whether one is
lost or doubled while they get signatures and new secrets, and after each has been spoilt in some way.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.table import Table
from sqlmodel import col, select

from bench.figures import console
from bench.intake import web_server
from bench.portal_setup import authorized_connection, fresh_runtime
from bench.refresh import make_table, on_both_databases
from bench.sandbox_process import sandbox_of
from portal.connections.models import Connection
from portal.connections.store import open_host_session
from portal.credentials import AccessSource
from portal.db import utc_now
from portal.gitlab.hooks import HookClient
from portal.net import Answer
from portal.repositories.models import Enablement, Repository
from portal.runtime import Runtime
from portal.sandbox.options import SandboxOptions
from portal.sandbox.testing import RunningSandbox
from portal.webhooks.desired import sync_rows
from portal.webhooks.models import Delivery, Hook
from portal.webhooks.reconcile import Reconciler
from tests.support.people import make_cast
from tests.support.processes import free_port
from tests.webhooks.hooked import Hooked
from tests.webhooks.test_end_to_end import DRIFT

AT_ONCE = 4
# To each project, while its hook gets new secrets again and again.
LEAST_PUSHES = 10


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


def run_moving(hooks: int) -> None:
    """Measure on both databases and print."""
    table = make_table(
        f"{hooks} webhooks under load: token to signature and new secrets; then {len(DRIFT)} kinds of drift",
        (
            *("pushes", "deliveries", "lost", "doubled", "signed", "spoilt", "found and repaired"),
            *("lost or doubled afterwards", "changes of a second run", "seconds"),
        ),
    )
    on_both_databases(lambda name, url: table.add_row(name, *_move(url, hooks)))
    console.print(table)


def _move(url: str, hooks: int) -> list[str]:
    started, port = time.perf_counter(), free_port()
    base_url = f"http://127.0.0.1:{port}"
    options = SandboxOptions(project_count=hooks * 2, version="18.5.0", with_service_user=True)
    with RunningSandbox(options) as sandbox, fresh_runtime(sandbox.url, url, base_url) as runtime:
        world = sandbox.world
        world.settings.allow_local_hooks = world.settings.auto_disable_hooks = True
        connection_id = authorized_connection(runtime, sandbox.url, sandbox.token("root"))
        enable(runtime, connection_id, hooks)
        found = Hooked(runtime, sandbox, make_cast(runtime), connection_id)
        found.change(Connection, version_seen="18.5.0")
        with web_server(runtime, "portal:create_app()", port=port):
            compare(runtime, connection_id)
            subjects = [row.subject_id for row in found.rows()]
            pushed, is_over = Counter[int](), threading.Event()

            def push_on() -> None:
                while not is_over.is_set():
                    for subject in subjects:
                        world.activity.push(subject)
                        pushed[subject] += 1
                    world.deliveries.wait()

            pusher = threading.Thread(target=push_on)
            pusher.start()
            world.settings.version = "19.0.0"
            found.change(Connection, version_seen="19.0.0")
            compare(runtime, connection_id)
            while min(pushed.values(), default=0) < LEAST_PUSHES:
                found.change(intent="rotate")
                compare(runtime, connection_id)
            is_over.set()
            pusher.join()
            got = _delivered(runtime)
            lost, doubled = (pushed - got).total(), (got - pushed).total()
            signed = sum(row.uses_signature for row in found.rows())

            spoilt = []
            for number, row in enumerate(found.rows()):
                spoil, difference = DRIFT[number % len(DRIFT)]
                spoil(found, found.of(row)[0])
                spoilt.append((row.id, difference))
            # GitLab delivers with the wrong secrets, so the portal knows that it has them.
            _push_once(sandbox, subjects)
            compare(runtime, connection_id)
            repairs = {row.id: row.repairs for row in found.rows()}
            before = _delivered(runtime)
            _push_once(sandbox, subjects)
            after = _delivered(runtime)
            after.subtract(before)
            sent, *_ = compare(runtime, connection_id)
    return [
        *(f"{number:,}" for number in (pushed.total(), got.total(), lost, doubled, signed, len(spoilt))),
        f"{sum(difference in repairs[hook_id] for hook_id, difference in spoilt):,}",
        f"{sum(abs(after[subject] - 1) for subject in subjects):,}",
        f"{sent.total() - sent['GET']:,}",
        f"{time.perf_counter() - started:.0f}",
    ]


def _push_once(sandbox: RunningSandbox, subjects: list[int]) -> None:
    for subject in subjects:
        sandbox.world.activity.push(subject)
    assert sandbox.world.deliveries.wait(120)


def _delivered(runtime: Runtime) -> Counter[int]:
    with runtime.database.reading() as session:
        return Counter(session.exec(select(Delivery.subject_id).where(Delivery.event == "Push Hook")))
