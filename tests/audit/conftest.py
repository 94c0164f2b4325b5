"""These tests run on both databases: their triggers and locks differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from portal import audit
from portal.actor import SYSTEM, Actor
from portal.audit.models import AuditEvent
from portal.runtime import Runtime
from portal.settings import Settings

Add = Callable[..., None]


def about(
    number: int | str = 1, name: str = "", *, kind: str = "test", organization_id: int | None = 1
) -> audit.Target:
    """Return what an event is about."""
    return audit.Target(organization_id, kind, number, name)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def backend(request: pytest.FixtureRequest) -> str:
    """SQLite and PostgreSQL in turn."""
    return str(request.param)


@pytest.fixture
def head_file(runtime: Runtime, settings: Settings, tmp_path: Path) -> Path:
    """Give the runtime a head file."""
    path = tmp_path / "audit-head"
    object.__setattr__(runtime, "settings", settings.model_copy(update={"audit_head_file": path}))
    runtime.__post_init__()
    return path


@pytest.fixture
def add(runtime: Runtime) -> Add:
    """Write this many events, each in its own transaction."""

    def add_events(
        count: int = 1,
        *,
        action: str = "test.done",
        actor: Actor = SYSTEM,
        target: audit.Target | None = None,
        **details: Any,
    ) -> None:
        for number in range(1, count + 1):
            with runtime.database.transaction() as session:
                audit.record(session, actor, action, target or about(number), **details)

    return add_events


def events_of(runtime: Runtime) -> list[AuditEvent]:
    """Return every event, oldest first."""
    with runtime.database.reading() as session:
        return list(session.exec(select(AuditEvent).order_by(AuditEvent.number)))
