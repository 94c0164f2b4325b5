"""The access log: each use of something, many per second, written without the audit log's single chain.

Each entry is a separate row, so writers do not wait for one another. Every few seconds a job seals the new ones: one
event of the audit log holds the hash of a batch of entries, and so covers them as the chain covers events. An entry's
`batch` is the highest id in the entry's batch, and null until it is sealed: on PostgreSQL a transaction may commit
after one with higher ids was sealed.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, cast, func, select, update
from sqlalchemy.orm import Session

from portal.actor import SYSTEM, Actor
from portal.audit.models import RESULTS, AccessEntry, AuditEvent
from portal.audit.service import Target, record
from portal.audit.text import encode_controls, plain
from portal.db import Database, utc_now
from portal.requestinfo import current_request_info

SEALED, EXPIRED = "access_log.sealed", "access_log.expired"
BATCH = 10_000
ENTRIES = AccessEntry.__table__  # type: ignore[attr-defined]
EVENTS = AuditEvent.__table__  # type: ignore[attr-defined]
COVERED = [column for column in ENTRIES.c if column.name != "batch"]


def record_use(session: Session, actor: Actor, action: str, target: Target, /, *, result: str = "ok") -> None:
    """Add one entry to the access log, in the caller's transaction.

    Raises:
        ValueError: there is no such result, or the kind of object is not said.
    """
    if result not in RESULTS or not target.type:
        raise ValueError(f"no entry: {action!r}, {result!r}, {target.type!r}")
    entry = AccessEntry(
        at=utc_now(),
        organization_id=target.organization_id,
        actor_kind=actor.kind.value,
        actor_id=encode_controls(actor.id, 200),
        actor_name=encode_controls(actor.name, 200),
        action=action,
        object_type=target.type,
        object_id=encode_controls(str(target.id), 200),
        object_name=encode_controls(target.name, 300),
        result=result,
        source_address=current_request_info().source_address,
    )
    session.add(entry)


def has_unsealed(database: Database) -> bool:
    """Whether there are entries since the last sealed batch."""
    with database.reading() as session:
        return session.execute(select(ENTRIES.c.id).where(ENTRIES.c.batch.is_(None)).limit(1)).first() is not None


def seal(session: Session, key: bytes) -> int:
    """Seal the oldest unsealed entries, in the caller's transaction; return how many they were."""
    waiting = select(*COVERED).where(ENTRIES.c.batch.is_(None)).order_by(ENTRIES.c.id).limit(BATCH)
    rows = [row._asdict() for row in session.execute(waiting)]
    if rows:
        batch = rows[-1]["id"]
        # By id: an entry committed in the meantime belongs to the next batch, whatever its id.
        ids = [row["id"] for row in rows]
        session.execute(update(ENTRIES).where(ENTRIES.c.id.in_(ids)).values(batch=batch))
        target = Target(None, "access_log", batch)
        record(session, SYSTEM, SEALED, target, entries=len(rows), hash=hash_of(rows, key))
    return len(rows)


def hash_of(rows: Iterable[dict[str, Any]], key: bytes) -> str:
    """Return the hash of a batch: HMAC-SHA256 over one line of canonical JSON for each entry, as 64 hex characters."""
    digest = hmac.new(key, digestmod="sha256")
    for row in rows:
        values = {column.name: plain(row[column.name]) for column in COVERED}
        digest.update(json.dumps(values, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    return digest.hexdigest()


def is_as_sealed(database: Database, event: dict[str, Any], key: bytes) -> bool:
    """Return whether the entries that an event covers are unchanged since it was written, or have expired."""
    batch, told = int(event["object_id"]), event["details"]
    found = select(*COVERED).where(ENTRIES.c.batch == batch).order_by(ENTRIES.c.id).limit(told["entries"] + 1)
    with database.reading() as session:
        rows = [row._asdict() for row in session.execute(found)]
    return hmac.compare_digest(hash_of(rows, key), told["hash"]) or batch <= expired_through(database)


def find_put_in(database: Database) -> int | None:
    """Return the id of an entry that claims to be sealed although no event covers its batch; None if there is none."""
    covered = select(cast(EVENTS.c.object_id, BigInteger)).where(
        EVENTS.c.organization_id.is_(None), EVENTS.c.action == SEALED
    )
    statement = select(func.min(ENTRIES.c.id)).where(ENTRIES.c.batch.is_not(None), ENTRIES.c.batch.not_in(covered))
    with database.reading() as session:
        found: int | None = session.execute(statement).scalar_one()
    return found


def expired_through(database: Database) -> int:
    """Return the last batch whose entries have been deleted because of their age; 0 before the first one."""
    of_kind = (EVENTS.c.organization_id.is_(None), EVENTS.c.action == EXPIRED)
    newest = select(EVENTS.c.object_id).where(*of_kind).order_by(EVENTS.c.number.desc()).limit(1)
    with database.reading() as session:
        return int(session.execute(newest).scalar() or 0)


def has_expired(database: Database, days: int) -> bool:
    """Whether the oldest batch is older than this many days."""
    with database.reading() as session:
        return _expired_batch(session, utc_now() - timedelta(days=days), after=0) is not None


def expire(database: Database, days: int) -> int:
    """Delete the batches that are older than this many days; return how many entries they had.

    The event comes first: if this is interrupted, verification does not report the missing entries.
    """
    limit, last = utc_now() - timedelta(days=days), 0
    with database.transaction() as session:
        while batch := _expired_batch(session, limit, after=last):
            last = batch
        if last:
            record(session, SYSTEM, EXPIRED, Target(None, "access_log", last), days=days)
    through = last or expired_through(database)
    return database.delete_in_batches(AccessEntry, select(ENTRIES.c.id).where(ENTRIES.c.batch <= through))


def _expired_batch(session: Session, limit: datetime, *, after: int) -> int | None:
    first = select(ENTRIES.c.batch, ENTRIES.c.at).where(ENTRIES.c.batch > after)
    found = session.execute(first.order_by(ENTRIES.c.batch, ENTRIES.c.id).limit(1)).first()
    return found.batch if found and found.at < limit else None
