"""Put a backup in place: everything is verified first (S107), and nothing runs until someone confirms it (S108)."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlmodel import delete, select

from portal import CAPABILITIES, audit
from portal.accounts.models import Organization, SessionRecord
from portal.actor import COMMAND_LINE
from portal.audit.verify import verify_chain
from portal.db import Database, utc_now
from portal.durable import sync
from portal.installation import mark_restored
from portal.net import NetworkPolicy, OutboundClient
from portal.operation.backup import postgresql, sites, sqlite
from portal.operation.backup.manifest import BackupRefused, Contents, Manifest, read_contents
from portal.operation.migrations.upgrade import is_known, upgrade
from portal.private import private_file, private_folder
from portal.runtime import Runtime
from portal.settings import Settings
from portal.vault import KeyRing, Vault, verify_ring


@dataclass(frozen=True)
class Restored:
    """What was done. `kept` is the database that was there before; `kept_head_file` the audit log's head file."""

    manifest: Manifest
    kept: Path | None
    kept_head_file: Path | None


def check_backup(settings: Settings, folder: Path) -> Manifest:
    """Check all that can be checked without loading anything.

    Raises:
        BackupRefused: it was changed, is incomplete, or does not fit this portal.
        KeyRingError: the key ring cannot be used.
    """
    vault = _vault(settings)
    manifest = Manifest.read(folder, vault)
    manifest.check_files(folder)
    dialect = "sqlite" if settings.resolved_database_url.startswith("sqlite") else "postgresql"
    if manifest.database != dialect:
        raise BackupRefused(f"The backup is of {manifest.database}, and this portal is set to use {dialect}.")
    if not is_known(manifest.contents.revision):
        raise BackupRefused(
            f"The backup has the schema {manifest.contents.revision}, which this version does not know."
        )
    missing = [key_id for key_id in manifest.contents.key_ids if vault.ring.get(key_id) is None]
    if missing:
        raise BackupRefused(f"The key ring lacks {', '.join(missing)}, with which secrets of the backup are sealed.")
    return manifest


def has_people(database: Database) -> bool:
    """Return whether this database is in use."""
    with database.engine.connect() as connection:
        if not inspect(connection).has_table("user"):
            return False
        return connection.execute(text('SELECT 1 FROM "user" LIMIT 1')).first() is not None


def restore(settings: Settings, folder: Path, *, replace: bool = False) -> Restored:
    """Verify a backup, load it beside the current database, verify that, and only then put it in place.

    Args:
        settings: where the portal is restored to.
        folder: the backup.
        replace: whether a database with people in it may be replaced; it is kept under another name.

    Raises:
        BackupRefused: something is wrong with the backup, or the existing database may not be replaced.
    """
    manifest = check_backup(settings, folder)
    if settings.resolved_database_url.startswith("sqlite"):
        kept = _restore_file(settings, folder, manifest, replace)
    else:
        kept = None
        _restore_server(settings, folder, manifest)
    sites.load(settings, folder, manifest.files)
    path, kept_head_file = settings.audit_head_file, None
    if path is not None and path.exists():
        # It records events that the restored log never had, or has in another form.
        kept_head_file = path.rename(path.with_name(f"{path.name}.before-restore-{utc_now():%Y%m%dT%H%M%S}"))
        sync(path.parent)
    return Restored(manifest, kept, kept_head_file)


def _restore_file(settings: Settings, folder: Path, manifest: Manifest, replace: bool) -> Path | None:
    target = Path(settings.resolved_database_url.removeprefix("sqlite:///"))
    private_folder(target.parent)
    if target.exists():
        sqlite.take_for_oneself(target)
        database = Database(f"sqlite:///{target}")
        try:
            if has_people(database) and not replace:
                raise BackupRefused(
                    "A portal with people in it is already here. Use --replace to replace it with the backup."
                )
        finally:
            database.close()
    staged = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        private_file(staged)
        shutil.copyfile(folder / sqlite.FILE, staged)
        sqlite.check_integrity(staged)
        with sqlite.looking_at(staged) as connection:
            _compare(connection, manifest.contents)
        _finish(settings, Database(f"sqlite:///{staged}"), manifest)
        sqlite.take_for_oneself(staged)
        sqlite.take_for_oneself(target)
        kept = target.with_name(f"{target.name}.before-restore-{utc_now():%Y%m%dT%H%M%S}")
        existed = target.exists()
        sqlite.exchange(staged, target, kept)
        return kept if existed else None
    finally:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{staged}{suffix}").unlink(missing_ok=True)


def _restore_server(settings: Settings, folder: Path, manifest: Manifest) -> None:
    """Load only into an empty database: the existing one stays as it is, so that you can go back."""
    database = Database(settings.resolved_database_url)
    try:
        with database.engine.connect() as connection:
            if inspect(connection).get_table_names():
                raise BackupRefused(
                    "The database is not empty. Make an empty one, set GATEHOUSE_DATABASE_URL to it, and restore there."
                )
        postgresql.check_file(folder / postgresql.FILE)
        postgresql.load(database.engine.url, folder / postgresql.FILE)
        try:
            with database.engine.connect() as connection:
                _compare(connection, manifest.contents)
            _finish(settings, database, manifest)
        except BackupRefused as error:
            raise BackupRefused(f"{error} What was loaded is in {database.engine.url.database}: drop it.") from None
    finally:
        database.close()


def _compare(connection: Connection, expected: Contents) -> None:
    found = read_contents(connection)
    if found.rows != expected.rows:
        names = [name for name in {**expected.rows, **found.rows} if expected.rows.get(name) != found.rows.get(name)]
        raise BackupRefused(f"The backup's database has other numbers of rows than its manifest: {', '.join(names)}.")
    if found != expected:
        raise BackupRefused("The backup's database is not the one its manifest describes.")


def _finish(settings: Settings, database: Database, manifest: Manifest) -> None:
    """Verify the audit log of the loaded database, bring it up to date, and have it wait for its confirmation."""
    # Without the head file: it has grown since the backup was made.
    runtime = Runtime(
        settings.model_copy(update={"audit_head_file": None}),
        database,
        _vault(settings),
        OutboundClient(NetworkPolicy()),
        CAPABILITIES,
    )
    try:
        verdict = verify_chain(runtime)
        if verdict.fault is not None:
            raise BackupRefused(f"The backup's audit log is not intact. {verdict.fault}")
        upgrade(database)
        with database.transaction() as session:
            verify_ring(session, runtime.vault.ring)
            made_at = datetime.fromisoformat(manifest.made_at)
            mark_restored(session, backup_made_at=made_at)
            # Anyone who signed out since then would be signed in again.
            session.execute(delete(SessionRecord))
            for organization_id in session.exec(select(Organization.id)):
                audit.record(
                    session,
                    COMMAND_LINE,
                    "portal.restored",
                    audit.Target(organization_id, "portal", "backup"),
                    backup_made_at=manifest.made_at,
                    audit_number=manifest.contents.audit_number,
                )
    finally:
        database.close()


def _vault(settings: Settings) -> Vault:
    return Vault(KeyRing.from_settings(settings.resolved_key_file))
