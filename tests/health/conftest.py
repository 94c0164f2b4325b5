"""These tests run on both databases where the database matters; the ones that only read pages take SQLite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import col, select

from portal.connections.models import Connection
from portal.health.alarms import enqueue_due_mails
from portal.health.checks import check_connection
from portal.health.models import HealthCheck, HealthWatch, Incident
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.health.mailbox import Mailbox, running_mailbox
from tests.support.connected import connect
from tests.support.people import Cast

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass
class Watched:
    """A connected connection whose checks run at times we choose; each check is a minute later."""

    runtime: Runtime
    connection_id: int
    now: datetime = START

    def look(self, times: int = 1, *, minutes: float = 1) -> None:
        for _ in range(times):
            self.now += timedelta(minutes=minutes)
            if check_connection(self.runtime, self.connection_id, now=self.now):
                enqueue_due_mails(self.runtime, self.now)

    @property
    def connection(self) -> Connection:
        with self.runtime.database.reading() as session:
            return session.get_one(Connection, self.connection_id)

    @property
    def watch(self) -> HealthWatch:
        with self.runtime.database.reading() as session:
            return session.get_one(HealthWatch, self.connection_id)

    @property
    def incidents(self) -> list[Incident]:
        with self.runtime.database.reading() as session:
            mine = select(Incident).where(Incident.connection_id == self.connection_id)
            return list(session.exec(mine.order_by(col(Incident.id))))

    @property
    def alarms(self) -> list[str]:
        return [incident.cause for incident in self.incidents if incident.alarmed_at]

    def checks(self) -> dict[str, HealthCheck]:
        with self.runtime.database.reading() as session:
            mine = select(HealthCheck).where(HealthCheck.connection_id == self.connection_id)
            return {row.key: row for row in session.exec(mine.where(col(HealthCheck.is_current).is_(True)))}

    def states(self) -> dict[str, str]:
        return {key: row.state for key, row in self.checks().items()}

    def history(self, key: str) -> list[HealthCheck]:
        with self.runtime.database.reading() as session:
            mine = select(HealthCheck).where(HealthCheck.connection_id == self.connection_id, HealthCheck.key == key)
            return list(session.exec(mine.order_by(col(HealthCheck.id))))

    def change(self, change: Callable[[Connection], None]) -> None:
        with self.runtime.database.transaction() as session:
            change(session.get_one(Connection, self.connection_id))


@pytest.fixture
def watched(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> Watched:
    """A connection of the owner's organization to the sandbox."""
    return Watched(runtime, connect(runtime, sandbox, cast.owner))


@pytest.fixture
def mailbox():
    """A mail server that stores what it gets."""
    with running_mailbox() as box:
        yield box


@pytest.fixture
def mailing(runtime: Runtime, mailbox: Mailbox) -> Mailbox:
    """The runtime mails to the mailbox."""
    settings = runtime.settings.model_copy(
        update={"smtp_host": "127.0.0.1", "smtp_port": mailbox.port, "smtp_security": "none"}
    )
    object.__setattr__(runtime, "settings", settings)
    return mailbox
