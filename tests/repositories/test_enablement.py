"""Enabling many is one transaction: all of them, or none."""

from __future__ import annotations

import pytest
from sqlalchemy import event
from sqlmodel import col, select

from portal.audit.models import AuditEvent
from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.enablement import set_enabled
from portal.repositories.models import Enablement, Repository
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.connected import connect
from tests.support.people import Cast
from tests.support.walkthrough import principal_of


class Dies(Exception):
    """The process ends here."""


def test_enabling_that_dies_at_any_statement_has_enabled_nothing_and_is_simply_done_again(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    read_catalogue(runtime, connect(runtime, sandbox, cast.owner), "job", lambda *_: None)
    principal = principal_of(runtime, cast.owner)
    with runtime.database.reading() as session:
        chosen = list(session.exec(select(Repository.id).where(col(Repository.unavailable_reason) == "")))[:4]
    left = 0

    def die(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal left
        if statement.startswith(("INSERT", "UPDATE")):
            left -= 1
            if left == 0:
                raise Dies

    event.listen(runtime.database.engine, "after_cursor_execute", die)
    try:
        for number in range(1, 6):
            left = number
            with pytest.raises(Dies):
                set_enabled(runtime, principal, chosen, enabled=True)
            assert counts(runtime) == (0, 0)
    finally:
        event.remove(runtime.database.engine, "after_cursor_execute", die)

    assert len(set_enabled(runtime, principal, chosen, enabled=True).changed) == 4
    assert set_enabled(runtime, principal, chosen, enabled=True).changed == []
    assert counts(runtime) == (4, 4)


def counts(runtime: Runtime) -> tuple[int, int]:
    with runtime.database.reading() as session:
        events = session.exec(select(AuditEvent).where(AuditEvent.action == "repository.enabled")).all()
        return len(session.exec(select(Enablement)).all()), len(events)
