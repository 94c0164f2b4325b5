"""Tell a restored or copied database from a living one.

GitLab's refresh tokens are single use: a copy holds pairs that its original spends, or has spent. So a copy does no
job and no refresh until somebody who knows confirms that it is alone.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from pathlib import Path

from sqlalchemy import CursorResult, text, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlmodel import Session, col, select

from portal.db import Database, utc_now
from portal.instance.loading import end_loading, was_loading
from portal.instance.models import Instance

ONLY_ID = 1


def find_instance(session: Session) -> Instance | None:
    """Return the row; None before the first start."""
    return session.get(Instance, ONLY_ID)


def is_restored(session: Session) -> bool:
    """Tell whether this database is a copy that nobody has confirmed: no job, no refresh, no webhook then."""
    return session.exec(select(Instance.id).where(col(Instance.restored_at).is_not(None))).first() is not None


def look_for_copy(database: Database) -> bool:
    """Compare where the database is with where it was; tell whether it is a copy, and remember that.

    A file that was copied has another inode, a database that was dumped and loaded another number or server. What
    cannot be told apart: a snapshot of the whole disk or of the whole server.
    """
    try:
        return _look(database)
    except IntegrityError:  # Of two processes that started together the other one entered it; now it is there.
        return _look(database)


def _look(database: Database) -> bool:
    place = place_of(database)
    with database.transaction() as session:
        instance = find_instance(session)
        if instance is None:
            session.add(Instance(id=ONLY_ID, epoch=_new_epoch(), place=place))
            end_loading(session.connection())  # Of a restore that ended before it loaded anything.
            return False
        if was_loading(session.connection()):
            mark_restored(session, place, backup_made_at=None)
            end_loading(session.connection())
        elif place and instance.place and place != instance.place:
            mark_restored(session, place, backup_made_at=None)
        elif place and not instance.place:
            instance.place = place
        return instance.restored_at is not None


def mark_restored(session: Session, place: str, *, backup_made_at: datetime | None) -> None:
    """Begin another epoch in which nothing works until it is confirmed."""
    instance = find_instance(session) or Instance(id=ONLY_ID, epoch="")
    instance.epoch, instance.place = _new_epoch(), place
    instance.restored_at, instance.backup_made_at, instance.confirmed_at = utc_now(), backup_made_at, None
    session.add(instance)


def confirm(session: Session) -> bool:
    """Let the database work; False when it does already."""
    statement = (
        update(Instance).where(col(Instance.restored_at).is_not(None)).values(restored_at=None, confirmed_at=utc_now())
    )
    result = session.execute(statement)
    assert isinstance(result, CursorResult)
    return result.rowcount == 1


def place_of(database: Database) -> str:
    """Return what tells this database from any copy of it; empty when that cannot be known."""
    if database.is_sqlite:
        path = database.engine.url.database
        return f"inode {Path(path).stat().st_ino}" if path and Path(path).exists() else ""
    return _place_on_server(database)


def _place_on_server(database: Database) -> str:
    statement = text(
        "SELECT system_identifier, oid FROM pg_control_system(), pg_database WHERE datname = current_database()"
    )
    try:
        with database.engine.connect() as connection:
            system, oid = connection.execute(statement).one()
    except SQLAlchemyError:
        return ""  # Some hosted servers do not let their clients ask.
    return f"server {system}, database {oid}"


def _new_epoch() -> str:
    return secrets.token_hex(16)
