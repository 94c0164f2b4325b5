"""What someone with the database's password can do to it: first of all, remove the triggers."""

from __future__ import annotations

from sqlalchemy import text

from portal.audit.models import GENESIS
from portal.runtime import Runtime

TRIGGERS = {
    "audit_event": ("audit_event_no_update", "audit_event_no_delete", "audit_event_no_replace"),
    "audit_head": ("audit_head_only_grows", "audit_head_no_delete"),
}


def tamper(runtime: Runtime, *statements: str) -> None:
    """Remove the triggers and run statements."""
    with runtime.database.transaction() as session:
        for table, names in TRIGGERS.items():
            if not runtime.database.is_sqlite:
                session.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER ALL"))
                continue
            for name in names:
                session.execute(text(f"DROP TRIGGER IF EXISTS {name}"))
        for statement in statements:
            session.execute(text(statement))


def swap(first: int, second: int) -> list[str]:
    """Return the statements that swap two events."""
    return [move(first, -1), move(second, first), move(-1, second)]


def move(number: int, to: int) -> str:
    """Return the statement that gives an event another number."""
    return f"UPDATE audit_event SET number = {to} WHERE number = {number}"


def copy(number: int, to: int) -> str:
    """Return the statement that adds an event like another one."""
    columns = (
        "at, organization_id, actor_kind, actor_id, actor_name, action, object_type, object_id, object_name, result"
    )
    columns += ", source_address, request_id, user_agent, details, foreign_fields, previous_hash, hash"
    return (
        f"INSERT INTO audit_event (number, {columns}) SELECT {to}, {columns} FROM audit_event WHERE number = {number}"
    )


def restore(number: int) -> list[str]:
    """Return the statements that leave the state of a database copy with `number` events."""
    head = f"(SELECT hash FROM audit_event WHERE number = {number})" if number else f"'{GENESIS}'"
    return [
        f"UPDATE audit_head SET number = {number}, hash = {head}",
        f"DELETE FROM audit_event WHERE number > {number}",
    ]


KEEP = [f"CREATE TABLE kept_{table} AS SELECT * FROM audit_{table}" for table in ("event", "head")]
UNDO = [
    *(f"DELETE FROM audit_{table}" for table in ("event", "head")),
    *(f"INSERT INTO audit_{table} SELECT * FROM kept_{table}" for table in ("event", "head")),
]
