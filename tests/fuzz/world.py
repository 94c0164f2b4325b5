"""Sends the application what `requests` makes, in blocks that start with the same database, and judges the responses.

A block is known by its seed and number: the same requests by the same person from the same beginning.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select
from sqlmodel import SQLModel
from werkzeug.wsgi import ClosingIterator

from portal import CAPABILITIES, create_app
from portal.db import Database
from portal.net import NetworkPolicy, OutboundClient
from portal.runtime import Runtime
from portal.settings import Settings
from portal.vault import KeyRing, Vault
from portal.web.sessions import CookieSessions
from tests.conftest import BASE_URL
from tests.fuzz.requests import make
from tests.security.objects import make_objects
from tests.security.tables import STAMPS
from tests.support.machine_views import add_machine_views
from tests.support.people import Actor, Cast, make_cast
from tests.support.visitor import Visitor

ACTORS = ("visitor", "auditor", "lead", "owner")
BLOCK = 200
# A request may end the session; this is how often a person signs in again.
SIGN_IN_EVERY = 20
HOST = BASE_URL.removeprefix("http://")
OWN, FOREIGN = 1, 2
# Written by anyone who asks, or visible to them; they must not change anything else in the database.
BY_ANYONE = frozenset({"sign_in_attempt", "audit_event", "audit_head"})
MAY_CHANGE = {
    "visitor": BY_ANYONE,
    "auditor": BY_ANYONE | {"session", "job", "audit_verification"},
    "lead": BY_ANYONE | {"session", "job"},
}


@dataclass
class Found:
    """What some blocks have shown.

    Attributes:
        failures: one text each, with the seed that shows it again.
        longest: seconds of the longest answer by the clock, and of this process's work on it.
    """

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    longest: tuple[float, float] = (0.0, 0.0)

    def add(self, other: Found) -> None:
        """Add another one's counts."""
        self.requests += other.requests
        self.statuses += other.statuses
        self.failures += other.failures
        self.longest = (max(self.longest[0], other.longest[0]), max(self.longest[1], other.longest[1]))


class Errors(logging.Handler):
    """Keeps what the portal logs as an error or with a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        event = record.msg if isinstance(record.msg, dict) else {}
        if record.levelno >= logging.ERROR or record.exc_info or event.get("exc_info"):
            error = event.get("exc_info") or (record.exc_info or (None, None))[1]
            error = getattr(error, "original_exception", None) or error
            self.texts.append(f"{event.get('event') or record.getMessage()}: {error!r}"[:500])


@contextmanager
def catching_errors() -> Iterator[Errors]:
    """Record the process's log in `Errors` while the block runs."""
    root, errors = logging.getLogger(), Errors()
    old, old_level = root.handlers, root.level
    root.handlers = [errors]
    root.setLevel(logging.WARNING)
    try:
        yield errors
    finally:
        root.handlers, root.level = old, old_level


class FuzzWorld:
    """One application with a cast and objects of two organizations; every block begins with this database.

    More than `max_seconds` of this thread's work on one response are a failure. The tests do not check that: among
    thousands of other tests, one garbage collection may take a second.
    """

    def __init__(self, folder: Path, migrated_file: Path, ring: KeyRing, max_seconds: float = math.inf) -> None:
        self._max_seconds = max_seconds
        # No address is allowed and no name resolves: whatever is entered, nothing leaves.
        settings = Settings(base_url=BASE_URL, data_dir=folder, network_policy="192.0.2.1/32")
        self._file, self.beginning = folder / "gatehouse.db", folder / "begin.db"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(migrated_file, self._file)
        self._database = Database(settings.resolved_database_url)
        outbound = OutboundClient(NetworkPolicy.from_settings(settings), resolve=_resolve_nothing)
        self.runtime = Runtime(
            settings=settings, database=self._database, vault=Vault(ring), outbound=outbound, capabilities=CAPABILITIES
        )
        self.app = create_app(runtime=self.runtime)
        add_machine_views(self.app)
        self.cast: Cast = make_cast(self.runtime)
        self.names = make_objects(self.runtime, OWN, self.cast.owner.user_id).names
        make_objects(self.runtime, FOREIGN, self.cast.outsider.user_id)
        with self._database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        self._database.engine.dispose()
        shutil.copy(self._file, self.beginning)

    def run_block(self, seed: int, number: int, size: int = BLOCK) -> Found:
        """Ask the requests of one block."""
        self._start_anew()
        who = ACTORS[number % len(ACTORS)]
        found, before = Found(), self._not_theirs(who)
        with catching_errors() as errors:
            for index in range(size):
                if index % SIGN_IN_EVERY == 0:
                    cookie, token = self._sign_in(who)
                self._ask(f"{seed}:{number}:{index}", who, cookie, token, errors, found)
        changed = [name for name, rows in self._not_theirs(who).items() if rows != before[name]]
        if changed:
            found.failures.append(f"block {seed}:{number} ({who}) changed {', '.join(changed)}")
        return found

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _ask(self, seed: str, who: str, cookie: str, token: str, errors: Errors, found: Found) -> None:
        hostile = make(self.app, seed, self.names)
        started, worked = time.perf_counter(), time.thread_time()
        status = self._answer(hostile.environ(HOST, cookie, token))
        took, work = time.perf_counter() - started, time.thread_time() - worked
        found.requests += 1
        found.statuses[status] += 1
        found.longest = (max(found.longest[0], took), max(found.longest[1], work))
        wrong = [*errors.texts]
        wrong += [f"status {status}"] if status >= 500 else []
        # By this thread's own time: on a busy machine the clock only shows how busy it is.
        wrong += [f"{work:.1f} s of work"] if work > self._max_seconds else []
        errors.texts.clear()
        if wrong:
            shown = f"{hostile.method} {hostile.target[:200]} {hostile.content_type[:60]} {hostile.body[:300]!r}"
            found.failures.append(f"{seed} ({who}) {'; '.join(wrong)}: {shown} {dict(hostile.headers)!r:.300}")

    def _answer(self, environ: dict[str, object]) -> int:
        statuses: list[str] = []

        def begin(status: str, _headers: object, _exc_info: object = None) -> object:
            statuses.append(status)
            return lambda _data: None

        answer = self.app(environ, begin)
        try:
            for _ in answer:
                pass
        finally:
            if isinstance(answer, ClosingIterator):
                answer.close()
        return int(statuses[-1].split(" ", 1)[0])

    def _sign_in(self, who: str) -> tuple[str, str]:
        visitor = Visitor(self.app)
        actor: Actor | None = {"auditor": self.cast.auditor, "lead": self.cast.lead, "owner": self.cast.owner}.get(who)
        if actor is not None:
            visitor.sign_in(actor)
        token = visitor.csrf_token()
        sessions = self.app.session_interface
        assert isinstance(sessions, CookieSessions)
        cookie = visitor.http.get_cookie(sessions.cookie_name, domain="127.0.0.1")
        assert cookie is not None
        return f"{sessions.cookie_name}={cookie.value}", token

    def _start_anew(self) -> None:
        self._database.engine.dispose()
        for suffix in ("-wal", "-shm"):
            self._file.with_name(self._file.name + suffix).unlink(missing_ok=True)
        shutil.copy(self.beginning, self._file)

    def _not_theirs(self, who: str) -> dict[str, list[tuple[object, ...]]]:
        """Return the rows that a person may not change: other people's in every table, and another organization's."""
        own = {"auditor": self.cast.auditor.user_id, "lead": self.cast.lead.user_id}.get(who)
        kept: dict[str, list[tuple[object, ...]]] = {}
        with self._database.reading() as session:
            foreign = self._foreign_connections(session)
            for table in SQLModel.metadata.sorted_tables:
                columns = [column for column in table.columns if (table.name, column.name) not in STAMPS]
                query = select(*columns)
                if who != "owner":
                    if table.name in MAY_CHANGE[who]:
                        continue
                    if table.name == "user":
                        query = query.where(table.c.id != (own or 0))
                    if table.name == "repository_request":  # Anyone who may not enable it asks for a repository.
                        query = query.where(table.c.user_id != (own or 0))
                elif table.name in BY_ANYONE:
                    continue
                elif "organization_id" in table.c:
                    query = query.where(table.c.organization_id == FOREIGN)
                elif "connection_id" in table.c:
                    query = query.where(table.c.connection_id.in_(foreign))
                elif table.name == "user":
                    query = query.where(table.c.id == self.cast.outsider.user_id)
                else:
                    continue
                kept[table.name] = sorted((tuple(row) for row in session.execute(query)), key=repr)
        return kept

    @staticmethod
    def _foreign_connections(session: object) -> list[int]:
        table = SQLModel.metadata.tables["connection"]
        rows = session.execute(select(table.c.id).where(table.c.organization_id == FOREIGN))  # type: ignore[attr-defined]
        return [row[0] for row in rows]


def _resolve_nothing(_host: str, _port: int) -> list[str]:
    raise OSError
