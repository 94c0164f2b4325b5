"""A flood of deliveries about one project, beside a few about others: how soon those are applied, and pages answered.

Rounds without and with the flood take turns in the same processes; the sandbox, from which the flooded project is read,
and the client run on the same machine.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import func
from sqlmodel import col, select

from bench.figures import console
from bench.intake import (
    WORKERS,
    await_effects,
    make_senders,
    requests_of,
    seconds_to_effect,
    steadily,
    web_server,
    worker,
)
from bench.pages import signed_in_cookie
from bench.portal_setup import fresh_runtime
from bench.refresh import make_table, on_both_databases
from bench.sandbox_process import sandbox_of
from portal import create_app
from portal.connections.models import Connection
from portal.db import utc_now
from portal.repositories.models import Repository
from portal.runtime import Runtime
from portal.webhooks.models import Delivery

ROUNDS = 3
OTHERS = 20
OTHERS_A_SECOND = 5.0
FLOOD_A_MINUTE = 10_000
PAGES_A_SECOND = 2.0
LINES = 4


def run(seconds: int) -> None:
    """Measure on both databases and print."""
    table = make_table(
        f"{FLOOD_A_MINUTE:,}/min about one project, {OTHERS_A_SECOND:g}/s about {OTHERS} others, "
        f"{ROUNDS} x {seconds} s without and with, {WORKERS} web processes and a worker",
        ("flood", "effect p50 ms", "p95 ms", "answer p95 ms", "/healthz p95 ms", "health page p95 ms"),
    )

    def measure(name: str, url: str) -> None:
        for row in _measure(url, seconds):
            table.add_row(name, *row)

    on_both_databases(measure)
    console.print(table)


def _measure(url: str, seconds: int) -> list[list[str]]:
    with sandbox_of(OTHERS) as served, fresh_runtime(served.url, url) as runtime:
        flooding, *others = make_senders(runtime, OTHERS + 1, served.url, served.root_token)
        host = runtime.settings.base_url.removeprefix("http://")
        _store_repositories(runtime)
        name, value = signed_in_cookie(runtime, create_app(runtime=runtime))
        found: dict[bool, list[list[float]]] = {False: [[] for _ in range(4)], True: [[] for _ in range(4)]}
        with web_server(runtime, "portal:create_app()") as portal, worker(runtime):
            # Both are awake, and every page has been made once.
            _round(portal.port, host, f"{name}={value}", requests_of(others, host, 20, "warm"), [], 4)
            await_effects(runtime)
            for number in range(ROUNDS):
                for is_flooded, told in found.items():
                    prefix = f"others-{number}-{is_flooded}"
                    few = requests_of(others, host, int(OTHERS_A_SECOND * seconds), prefix)
                    many = requests_of([flooding], host, FLOOD_A_MINUTE * seconds // 60, f"flood-{number}")
                    times = _round(portal.port, host, f"{name}={value}", few, many if is_flooded else [], seconds)
                    await_effects(runtime)
                    for all_of, some in zip(told, (seconds_to_effect(runtime, prefix), *times), strict=True):
                        all_of += some
        with runtime.database.reading() as session:
            stored = session.exec(select(func.count()).where(col(Delivery.key).startswith("flood-"))).one()
    sent = ROUNDS * FLOOD_A_MINUTE * seconds // 60
    return [
        [
            f"{stored:,} of {sent:,} stored" if is_flooded else "none",
            _ms(told[0], 0.5),
            *(_ms(values, 0.95) for values in told),
        ]
        for is_flooded, told in found.items()
    ]


def _round(
    port: int, host: str, cookie: str, few: list[bytes], many: list[bytes], seconds: int
) -> tuple[list[float], list[float], list[float]]:
    """Send all at once; return how long the answers to the few and to both pages took."""
    head = f"HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n"
    looks = int(PAGES_A_SECOND * seconds)
    pages = [[f"GET {path} {head}".encode()] * looks for path in ("/healthz", "/connections/bench/health")]
    with ThreadPoolExecutor() as pool:
        flood = pool.submit(steadily, port, many, FLOOD_A_MINUTE / 60)
        told = [
            pool.submit(steadily, port, requests, rate, LINES)
            for requests, rate in ((few, OTHERS_A_SECOND), *((page, PAGES_A_SECOND) for page in pages))
        ]
        flood.result()
        answers, healthz, page = (one.result() for one in told)
    return answers, healthz, page


def _store_repositories(runtime: Runtime) -> None:
    with runtime.database.transaction() as session:
        connection_id = session.exec(select(Connection.id)).one() or 0
        for number in range(1, OTHERS + 2):
            path = f"group/project-{number}"
            about = {"path_with_namespace": path, "namespace_path": "group", "name": path, "search_text": path}
            session.add(
                Repository(connection_id=connection_id, gitlab_project_id=number, last_activity_at=utc_now(), **about)
            )


def _ms(seconds: list[float], share: float) -> str:
    values = sorted(seconds)
    return f"{values[int(len(values) * share)] * 1000:.0f}"
