"""Number, chain and write the events of a transaction, just before it commits.

Each event carries an HMAC over its fields and the hash of the event before it, with a key that is not in the database:
anyone who changes, removes, swaps or adds rows cannot make the hashes match. Events wait in `session.info` until the
transaction is about to commit, because numbering takes a lock that every other writer needs: so it is held for only
three statements, and is always taken last, which prevents deadlocks in PostgreSQL.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, event, insert, select, update
from sqlalchemy.orm import Session, SessionTransaction

from portal.audit.head import Head, tell_head
from portal.audit.models import AuditEvent, AuditHead
from portal.audit.text import plain
from portal.db import AUDIT_HEAD_FILE, AUDIT_KEY, WITNESS

EVENTS = AuditEvent.__table__  # type: ignore[attr-defined]
HEAD = AuditHead.__table__  # type: ignore[attr-defined]
# The canonical form. A field that is added later may only be included where it is set, or every older hash becomes
# wrong.
FIELDS = (
    *("number", "at", "organization_id", "actor_kind", "actor_id", "actor_name", "action", "object_type", "object_id"),
    *("object_name", "result", "source_address", "request_id", "user_agent", "details", "foreign_fields"),
    "previous_hash",
)
_LOCK = select(HEAD.c.number, HEAD.c.hash).with_for_update()
_INSERT = insert(EVENTS)
_MOVE = update(HEAD).values(number=bindparam("new_number"), hash=bindparam("new_hash"))
# PostgreSQL does both in one statement: the lock is held for one round trip less.
_INSERT_AND_MOVE = insert(EVENTS).add_cte(_MOVE.cte("moved"))
# Events that store, spend or end a token pair: a database without the newest of these holds a spent pair.
TOKEN_ACTIONS = ("credential.", "connection.authorized", "connection.disconnected")
_PENDING = "audit_pending"
_WRITTEN = "audit_written"


class AuditImpossible(RuntimeError):
    """The event cannot be chained: there is no key, or the row of the newest event is gone. Nothing is changed."""


@dataclass(frozen=True)
class _Pending:
    values: dict[str, Any]
    transaction: SessionTransaction | None


def add_event(session: Session, values: dict[str, Any]) -> None:
    """Write an event when the session's transaction commits; drop it if the transaction rolls back.

    Args:
        session: of `Database.transaction()`.
        values: every field of `AuditEvent` but number and hashes.

    Raises:
        AuditImpossible: the session's database was given no key.
    """
    if not session.info.get(AUDIT_KEY):
        raise AuditImpossible("This session has no key for the audit log.")
    transaction = session.get_nested_transaction() or session.get_transaction()
    session.info.setdefault(_PENDING, []).append(_Pending(values, transaction))


def hash_of(values: Mapping[str, Any], key: bytes) -> str:
    """Return the hash of an event: HMAC-SHA256 over its canonical JSON, as 64 hex characters."""
    fields = {name: plain(values[name]) for name in FIELDS}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hmac.digest(key, text.encode(), "sha256").hex()


@event.listens_for(Session, "before_commit")
def _write_pending(session: Session) -> None:
    # Also called when a savepoint is released: then the transaction continues.
    if session.in_nested_transaction() or not session.info.get(_PENDING):
        return
    session.flush()  # Any locks that the change itself takes come before ours.
    pending: list[_Pending] = session.info.pop(_PENDING)
    connection = session.connection()
    found = connection.execute(_LOCK).one_or_none()
    if found is None:
        raise AuditImpossible("The row that records the newest event of the audit log is gone.")
    number, previous = found
    rows = []
    for item in pending:
        number += 1
        row = {**item.values, "number": number, "previous_hash": previous}
        previous = row["hash"] = hash_of(row, session.info[AUDIT_KEY])
        rows.append(row)
    head = {"new_number": number, "new_hash": previous}
    if connection.dialect.name == "postgresql":
        *earlier, last = rows
        if earlier:
            connection.execute(_INSERT, earlier)
        connection.execute(_INSERT_AND_MOVE, {**last, **head})
    else:
        connection.execute(_INSERT, rows)
        connection.execute(_MOVE, head)
    is_about_tokens = any(item.values["action"].startswith(TOKEN_ACTIONS) for item in pending)
    session.info[_WRITTEN] = Head(number, previous), is_about_tokens


@event.listens_for(Session, "after_commit")
def _tell(session: Session) -> None:
    written: tuple[Head, bool] | None = session.info.pop(_WRITTEN, None)
    if written is None:
        return
    head, is_about_tokens = written
    tell_head(session.info.get(AUDIT_HEAD_FILE), head)
    witness = session.info.get(WITNESS)
    # A server may fail over to a replica that lags slightly behind. Only what spends tokens must not be missing there.
    if witness is not None and (is_about_tokens or session.get_bind().dialect.name == "sqlite"):
        witness.advance(head.number, head.hash, is_urgent=is_about_tokens)


@event.listens_for(Session, "after_soft_rollback")
def _forget(session: Session, transaction: SessionTransaction) -> None:
    session.info.pop(_WRITTEN, None)
    if pending := session.info.get(_PENDING):
        pending[:] = [item for item in pending if not _is_within(item.transaction, transaction)]


def _is_within(inner: SessionTransaction | None, outer: SessionTransaction) -> bool:
    while inner is not None and inner is not outer:
        inner = inner.parent
    return inner is outer or outer.parent is None
