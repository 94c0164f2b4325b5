"""Tell a restored or copied database from a live one.

GitLab's refresh tokens are single use: a copy holds pairs that its original spends, or has spent. So a copy runs no job
and no refresh until someone confirms that it is the only one.
"""

from __future__ import annotations

import os
import platform
import secrets
import time
from collections.abc import Iterator
from datetime import datetime

import structlog
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlmodel import Session, col, select

from portal.db import WITNESS, Database, utc_now
from portal.installation.findings import OF_A_NEWCOMER, Finding
from portal.installation.models import Instance
from portal.installation.place import Signs, address_of, database_signs, differences, folder_signs, merge
from portal.installation.witness import Evidence, Witness
from portal.private import private_folder

ONLY_ID = 1
# Longer than the interval between two heartbeats of a worker.
NEWCOMER_SECONDS = 7.0
LOOK_SECONDS = 0.25

log = structlog.get_logger(__name__)


def find_instance(session: Session) -> Instance | None:
    """Return the row; None before the first start."""
    return session.get(Instance, ONLY_ID)


def is_restored(session: Session) -> bool:
    """Return whether this database is known to be a copy that no one has confirmed."""
    return session.exec(select(Instance.id).where(col(Instance.restored_at).is_not(None))).first() is not None


def look_for_copy(database: Database) -> bool:
    """Compare where and how far the database is with what is known about it; return whether it waits, and remember
    that.

    This changes nothing as long as everything is as it was, so it may be done before every refresh.

    Raises:
        SQLAlchemyError: the database cannot be asked, or what was seen cannot be written.
        OSError: the data folder cannot be read or written.
    """
    try:
        return _look(database)
    except IntegrityError:  # The other of two processes that started together inserted it; now it is there.
        return _look(database)


def mark_restored(session: Session, *, backup_made_at: datetime | None, seen: list[Finding] | None = None) -> None:
    """Start another epoch in which nothing runs until it is confirmed."""
    instance = find_instance(session) or Instance(id=ONLY_ID, epoch="")
    instance.former_epochs = [*instance.former_epochs, *([instance.epoch] if instance.epoch else [])]
    instance.epoch = _new_epoch()
    instance.restored_at, instance.backup_made_at, instance.confirmed_at = utc_now(), backup_made_at, None
    instance.seen = [finding.to_json() for finding in seen or []]
    _write(session, instance)


def confirm(database: Database, session: Session) -> bool:
    """Let the database be used where it is now; False if it already is."""
    instance = session.get(Instance, ONLY_ID, with_for_update=True)
    if instance is None or instance.restored_at is None:
        return False
    instance.restored_at, instance.confirmed_at, instance.seen = None, utc_now(), []
    instance.addresses = []
    _settle(database, session, instance)
    return True


def _look(database: Database) -> bool:
    signs = database_signs(database)
    with database.reading() as session:
        instance = find_instance(session)
        if instance is not None and instance.restored_at is not None:
            return True
        found = list(_compare(database, session, instance, signs)) if instance else []
        if instance is not None and not found and instance.signs == signs:
            # Is everything known recorded on both sides?
            witness = _witness_of(database)
            mine = witness.read().get(instance.epoch) if witness else None
            is_told = witness is None or (
                mine is not None
                and mine.folder == merge(mine.folder, folder_signs(witness.folder))
                and instance.has_witness
            )
            if is_told and (database.is_sqlite or address_of(database.engine.url) in instance.addresses):
                if witness:
                    witness.epoch = instance.epoch
                return False
    welcome = bool(found) and {item.sign for item in found} <= OF_A_NEWCOMER and _others_are_at_work(database)
    with database.transaction() as session:
        instance = session.get(Instance, ONLY_ID, with_for_update=True)
        if instance is None:
            instance = Instance(id=ONLY_ID, epoch=_new_epoch())
            session.add(instance)
            session.flush()  # If two start together, one waits here before it touches the other's witness.
        elif instance.restored_at is not None:
            return True
        elif not welcome and (found := list(_compare(database, session, instance, signs))):
            if structlog.is_configured():  # The command line has no log, and its output is not the place for it.
                log.warning("copy_found", signs=[item.sign for item in found])
            mark_restored(session, backup_made_at=None, seen=found)
            return True
        _settle(database, session, instance)
        return False


def _compare(database: Database, session: Session, instance: Instance, signs: Signs) -> Iterator[Finding]:
    """Yield every sign that this database is a copy or an older state of itself."""
    for name in differences(instance.signs, signs):
        yield Finding(name, instance.signs[name], signs[name])
    if not database.is_sqlite:
        address = address_of(database.engine.url)
        if instance.addresses and address not in instance.addresses:
            yield Finding("address", ", ".join(instance.addresses), address)
        writer = session.connection().execute(text("SELECT xmin::text FROM instance")).scalar_one()
        if instance.written_by and int(writer) != int(instance.written_by) % 2**32:
            yield Finding("loaded")
    witness = _witness_of(database)
    if witness is None:
        return
    mine = witness.read().get(instance.epoch)
    if mine is None:
        # Machines on a server's database come and go with their data folders; a SQLite database has the one it is in.
        if instance.has_witness and database.is_sqlite:
            yield Finding("no_witness")
        return
    now = folder_signs(witness.folder)
    for name in differences(mine.folder, now):
        yield Finding(f"folder_{name}", mine.folder[name], now[name])
    if mine.is_over:
        yield Finding("other_life")
    elif mine.number:
        change = text("SELECT hash FROM audit_event WHERE number = :number")
        if session.connection().execute(change, {"number": mine.number}).scalar() != mine.hash:
            yield Finding("older", str(mine.number))


def _settle(database: Database, session: Session, instance: Instance) -> None:
    """Record where the database is. The witness comes first: after a crash in between, none must be expected."""
    if witness := _witness_of(database):
        private_folder(witness.folder)
        number, last_hash = session.connection().execute(text("SELECT number, hash FROM audit_head")).one()
        before, folder = witness.read().get(instance.epoch), folder_signs(witness.folder)
        if before is not None:
            folder = merge(before.folder, folder)
        witness.write(instance.epoch, Evidence(number, last_hash, folder), instance.former_epochs)
        instance.has_witness = True
    instance.signs = database_signs(database)
    if not database.is_sqlite:
        address = address_of(database.engine.url)
        instance.addresses = list(dict.fromkeys([*instance.addresses, address]))
    _write(session, instance)


def _witness_of(database: Database) -> Witness | None:
    """Return the witness of this process's data folder; the runtime names it."""
    witness: Witness | None = database.session_info.get(WITNESS)
    return witness


def _write(session: Session, instance: Instance) -> None:
    """Write the row, including which transaction wrote it, as PostgreSQL itself knows (`xmin`)."""
    if session.connection().dialect.name == "postgresql":
        instance.written_by = str(session.connection().execute(text("SELECT txid_current()")).scalar_one())
    session.add(instance)
    session.flush()


def _others_are_at_work(database: Database) -> bool:
    """Return whether another worker is running jobs on this database now: on a copy, none is."""
    newest = text("SELECT max(heartbeat_at) FROM executor WHERE NOT (host = :host AND pid = :pid)")
    mine = {"host": platform.node()[:255], "pid": os.getpid()}

    def newest_beat() -> datetime | None:
        with database.engine.connect() as connection:
            beat: datetime | None = connection.execute(newest, mine).scalar()
            return beat

    end = time.monotonic() + NEWCOMER_SECONDS
    try:
        first = newest_beat()
        while time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
            if newest_beat() != first:
                return True
    except SQLAlchemyError:
        return False
    return False


def _new_epoch() -> str:
    return secrets.token_hex(16)
