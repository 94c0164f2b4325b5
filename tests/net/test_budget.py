"""One GitLab's requests, counted on arrival: from several processes, after a 429, a crash, or a clock set back."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import event
from sqlmodel import Session, select

from portal.db import Database, utc_now
from portal.net import HostSession, NetworkPolicy, OutboundClient, RequestBudgets, budget, parse_address
from portal.net.agreement import AT_ONCE, PER_SECOND, Allowance, RequestAgreement, allowance_of
from portal.net.budget import BURST_SECONDS, LARGEST_LEASE, RequestBudget
from portal.net.usage import RateLimit, RequestCount, RequestSlowdown, Usage
from tests.net import spend

COOL_DOWN = 2
BURST = BURST_SECONDS * PER_SECOND
KEPT_FOR_PEOPLE = AT_ONCE - Allowance().at_once_in_background


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Counting(ThreadingHTTPServer):
    """Records when each request arrives, and answers what it is told to."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.arrived: list[float] = []
        self.limits: list[tuple[str, float]] = []
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.paths: list[str] = []
        self.gate: threading.Event | None = None

    def await_total(self, number: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.arrived) >= number, 30)

    def await_path(self, path: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: path in self.paths, 30)

    def await_arrivals(self, more: int) -> None:
        self.await_total(len(self.arrived) + more)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Counting

    def do_POST(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        with self.server.changed:
            self.server.arrived.append(time.monotonic())
            self.server.paths.append(self.path)
            status, headers = 200, {"Content-Length": "2", "RateLimit-Limit": "2000", "RateLimit-Remaining": "1990"}
            if self.server.limits and self.server.limits[0][1] == 0:
                status = 429
                headers["Retry-After"] = self.server.limits[0][0]
                self.server.limits[0] = (self.server.limits[0][0], time.monotonic())
            self.server.changed.notify_all()
        if self.server.gate:
            self.server.gate.wait(60)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"{}")

    def handle(self) -> None:
        with suppress(ConnectionError):  # A client that was killed.
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def gitlab() -> Iterator[Counting]:
    with Counting() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []
    yield running
    for child in running:
        child.kill()
        child.communicate()


class Moved(Database):
    """A database whose clock can be set."""

    by = timedelta()

    def clock(self, session: Session) -> datetime:
        return super().clock(session) + self.by


@pytest.fixture
def moved(database: Database) -> Iterator[Moved]:
    made = Moved(database.url)
    yield made
    made.close()


def session(database: Database, url: str, *, is_background: bool = False) -> HostSession:
    address = parse_address(url, allow_http=True)
    client = OutboundClient(NetworkPolicy(exempt=address), budgets=RequestBudgets(database))
    return client.session(address, is_background=is_background)


@contextmanager
def writes_of(database: Database) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE")):
            seen.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    yield seen
    event.remove(database.engine, "before_cursor_execute", note)


def test_processes_keep_to_one_budget_and_to_the_wait_that_one_of_them_was_told(
    database: Database, gitlab: Counting, children: list[subprocess.Popen[bytes]]
) -> None:
    for _ in range(3):
        command = [sys.executable, "-m", "tests.net.spend", database.url, gitlab.url]
        children.append(subprocess.Popen(command, stdin=subprocess.PIPE))
    gitlab.await_arrivals(250)
    children[0].kill()  # With leased moments and running requests.
    gitlab.await_arrivals(150)
    with gitlab.lock:
        gitlab.limits.append((str(COOL_DOWN), 0.0))
    gitlab.await_arrivals(1)
    time_of_429 = gitlab.limits[0][1]
    with gitlab.changed:
        until = time_of_429 + COOL_DOWN
        assert gitlab.changed.wait_for(lambda: gitlab.arrived[-1] >= until, 60)

    # However long the machine pauses: a pause makes the time longer, too.
    under_way = len(children) * spend.LANES
    for first, begin in enumerate(gitlab.arrived):
        for number, moment in enumerate(gitlab.arrived[first:], 1):
            assert number <= (moment - begin) * PER_SECOND + BURST + LARGEST_LEASE + under_way
    # What the others had leased before they learned about it; a process pauses here and there on a busy machine.
    late = [moment for moment in gitlab.arrived if time_of_429 < moment < until]
    assert len(late) <= 2 * LARGEST_LEASE
    assert all(moment < time_of_429 + COOL_DOWN / 2 for moment in late)


def test_places_are_shared_some_are_kept_for_people_and_those_of_a_dead_process_come_back(
    moved: Moved, gitlab: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    gitlab.gate = threading.Event()
    with ExitStack() as stack:
        threads: list[threading.Thread] = []

        def ask(path: str, lanes: int) -> None:
            http = stack.enter_context(session(moved, gitlab.url, is_background=path != "/person"))
            for _ in range(lanes):
                threads.append(threading.Thread(target=lambda: http.fetch("GET", path, deadline_seconds=60)))
                threads[-1].start()

        ask("/first", 10)
        gitlab.await_total(10)
        ask("/second", 10)
        gitlab.await_total(AT_ONCE - KEPT_FOR_PEOPLE)
        with monkeypatch.context() as impatient:
            impatient.setattr(budget, "PATIENCE_OF_BACKGROUND", 0.3)
            third = stack.enter_context(session(moved, gitlab.url, is_background=True))
            is_full = third.fetch("GET", "/third").status == 429
        ask("/person", 1)
        gitlab.await_total(AT_ONCE - KEPT_FOR_PEOPLE + 1)
        together = sorted(gitlab.paths)
        # Nothing was given back: the time that the requests may take is over.
        moved.by += timedelta(seconds=120)
        ask("/third", 1)
        gitlab.await_path("/third")
        gitlab.gate.set()
        for thread in threads:
            thread.join()

    assert is_full
    assert together == ["/first"] * 10 + ["/person"] + ["/second"] * 6
    assert len(gitlab.paths) == 22


def test_token_endpoint_is_asked_whatever_the_api_has_said(database: Database, gitlab: Counting) -> None:
    gitlab.limits.append(("100", 0.0))
    with session(database, gitlab.url) as http, session(database, gitlab.url) as other:
        first, held = http.fetch("GET", "/page"), other.fetch("GET", "/page")
        refresh = other.fetch("GET", "/page", is_held=False)

    assert [answer.status for answer in (first, held, refresh)] == [429, 429, 200]
    assert 90 < int(held.headers["retry-after"]) <= 100
    assert len(gitlab.arrived) == 2


def test_clock_that_is_set_back_makes_no_wait_longer(moved: Moved, gitlab: Counting) -> None:
    with session(moved, gitlab.url) as http:
        http.fetch("GET", "/page")
    moved.by -= timedelta(days=1)
    with session(moved, gitlab.url) as http:
        after = http.fetch("GET", "/page")
        gitlab.limits.append(("100", 0.0))
        http.fetch("GET", "/page")
    moved.by -= timedelta(days=1)
    with session(moved, gitlab.url) as http:
        held = http.fetch("GET", "/page")

    assert after.status == 200
    assert held.status == 429
    assert 90 < int(held.headers["retry-after"]) <= 100


def test_request_costs_no_write_as_a_rule(database: Database, gitlab: Counting) -> None:
    with session(database, gitlab.url) as http, writes_of(database) as writes:
        for _ in range(60):
            http.fetch("GET", "/page")

    assert len(gitlab.arrived) == 60
    assert len(writes) <= 40  # How many fit into one lease depends on how fast the machine asks.


def test_origin_that_is_no_longer_asked_is_forgotten(moved: Moved, gitlab: Counting) -> None:
    with moved.transaction() as stored:
        stored.add(RequestBudget(origin="https://gitlab.example.com", written_at=utc_now().timestamp() - 90_000))
    with session(moved, gitlab.url) as http:
        http.fetch("GET", "/page")

    with moved.reading() as stored:
        assert list(stored.exec(select(RequestBudget.origin))) == [gitlab.url]


def agree(database: Database, origin: str, per_second: int, at_once: int = 4, **more: int) -> None:
    with database.transaction() as stored:
        for row in stored.exec(select(RequestAgreement)):
            stored.delete(row)
        stored.flush()
        values = {"per_second": per_second, "at_once": at_once, **more}
        stored.add(RequestAgreement(organization_id=1, origin=origin, **values))


def test_agreement_holds_for_processes_that_run_already(
    database: Database, gitlab: Counting, children: list[subprocess.Popen[bytes]]
) -> None:
    for _ in range(2):
        command = [sys.executable, "-m", "tests.net.spend", database.url, gitlab.url]
        children.append(subprocess.Popen(command, stdin=subprocess.PIPE))
    gitlab.await_arrivals(150)
    agree(database, gitlab.url, 20)
    with gitlab.lock:
        changed_at = time.monotonic()
    for _ in range(2 * LARGEST_LEASE // 10 + 6):
        gitlab.await_arrivals(10)

    # Two leases at the old rate may be in use; after that no second sees more than was agreed, a second's rest of it,
    # and what was under way.
    after = [moment for moment in gitlab.arrived if moment > changed_at][2 * LARGEST_LEASE :]
    for first, begin in enumerate(after):
        for number, moment in enumerate(after[first:], 1):
            assert number <= (moment - begin) * 20 + 20 * BURST_SECONDS + 5 + len(children) * spend.LANES


def test_quiet_hours_hold_back_background_work_only_and_are_recorded(
    database: Database, gitlab: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = utc_now()
    minute = now.hour * 60 + now.minute
    hours = {"quiet_from": (minute - 1) % 1440, "quiet_until": (minute + 120) % 1440}
    agree(database, gitlab.url, 50, **hours)
    with session(database, gitlab.url) as person, session(database, gitlab.url, is_background=True) as work:
        held, sent = work.fetch("GET", "/work"), person.fetch("GET", "/person")
    client = OutboundClient(NetworkPolicy(), budgets=RequestBudgets(database))
    is_closed = client.is_held(gitlab.url)
    agree(database, gitlab.url, 50, **hours, quiet_per_second=1)
    monkeypatch.setattr(budget, "PATIENCE_OF_BACKGROUND", 0.5)
    with session(database, gitlab.url, is_background=True) as work:
        first, *others = (work.fetch("GET", "/slowly").status for _ in range(3))

    assert (held.status, sent.status, gitlab.paths[0]) == (429, 200, "/person")
    assert 7000 < int(held.headers["retry-after"]) <= 7200
    assert is_closed
    assert not client.is_held(gitlab.url)
    assert (first, others[-1]) == (200, 429)
    with database.reading() as stored:
        assert {row.reason for row in stored.exec(select(RequestSlowdown))} == {"quiet"}


def test_requests_are_counted_in_few_rows_by_purpose_with_what_gitlab_refused(
    database: Database, gitlab: Counting
) -> None:
    with session(database, gitlab.url) as http, writes_of(database) as writes:
        for _ in range(30):
            http.fetch("GET", "/page")
        http.fetch("POST", "/oauth/token", form={}, is_held=False)
        gitlab.limits.append(("30", 0.0))
        with session(database, gitlab.url, is_background=True) as checks:
            checks.fetch("GET", "/page")
    with session(database, gitlab.url) as http:
        http.fetch("GET", "/page")

    with database.reading() as stored:
        rows = stored.exec(select(RequestCount)).all()
        slowdown = stored.exec(select(RequestSlowdown)).one()
        limit = stored.get_one(RateLimit, gitlab.url)
    assert sum(row.requests for row in rows if row.purpose == "checks") == 1
    assert sum(row.refused for row in rows) == 1
    assert len([text for text in writes if "request_count" in text]) <= 8
    assert slowdown.reason == "asked"
    assert 25 < (slowdown.ended_at - slowdown.began_at).total_seconds() < 35
    assert (limit.per_minute, limit.remaining) == (2000, 1990)


def test_counts_wait_in_memory_until_the_database_takes_them(database: Database) -> None:
    usage = Usage(database, "https://gitlab.example.com")
    usage.count("people")
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE request_count RENAME TO away")
    usage.flush()
    usage.count("people")
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO request_count")
    usage.flush()

    with database.reading() as stored:
        assert sum(stored.exec(select(RequestCount.requests))) == 2


@pytest.mark.parametrize(
    ("begin", "end", "zone", "hour", "minutes"),
    [
        (120, 240, "UTC", 3, 60),
        (120, 240, "UTC", 4, 0),
        (1320, 360, "UTC", 23, 7 * 60),  # Past midnight.
        (1320, 360, "UTC", 5, 60),
        (120, 240, "Europe/Copenhagen", 2, 60),  # 03:00 there, in winter.
        (120, 120, "UTC", 2, 0),
    ],
)
def test_quiet_hours_are_of_the_clock_where_gitlab_is(begin: int, end: int, zone: str, hour: int, minutes: int) -> None:
    row = RequestAgreement(
        organization_id=1, origin="", per_second=1, at_once=1, quiet_from=begin, quiet_until=end, time_zone=zone
    )

    assert row.quiet_seconds(datetime(2026, 1, 15, hour, tzinfo=UTC)) == minutes * 60


def test_strictest_agreement_counts(database: Database) -> None:
    with database.transaction() as stored:
        for organization, per_second, at_once in ((1, 50, 2), (2, 5, 8)):
            row = RequestAgreement(
                organization_id=organization, origin="https://a.example", per_second=per_second, at_once=at_once
            )
            stored.add(row)
    with database.reading() as stored:
        assert allowance_of(stored, "https://a.example", utc_now()) == Allowance(5.0, 2)
        assert allowance_of(stored, "https://b.example", utc_now()) == Allowance()
