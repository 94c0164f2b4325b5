"""What has to be true before the portal answers: a key ring, the newest schema, the right key, a first person."""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from sqlalchemy import inspect, text

from portal.accounts.first_run import ensure_setup_link
from portal.db import Database
from portal.instance import look_for_copy
from portal.jobs.store import prepare_tables
from portal.keys.unreadable import Unreadable, note_unreadable
from portal.migrations.upgrade import upgrade
from portal.runtime import Runtime, build_runtime
from portal.settings import Settings
from portal.vault import KeyRing, KeyRingError, verify_ring
from portal.vault.keyfile import write_down_audit_key
from portal.vault.keyring import is_in_environment
from portal.vault.ring_check import remember_new_ring

START_SECONDS = 30


@dataclass(frozen=True)
class Prepared:
    """What the start found or made.

    Attributes:
        setup_link: the one-time link for the first person; None once there is one.
        made_key_file: the key ring that was made just now; None when there was one.
        unreadable: what has to be entered again because its key is lost.
    """

    setup_link: str | None
    made_key_file: Path | None
    unreadable: tuple[Unreadable, ...] = ()


def prepare(settings: Settings, *, without_key: bool = False) -> Prepared:
    """Make what is missing, check what is there, and leave the database ready.

    Args:
        settings: of this portal.
        without_key: go on with a new key ring where the database was written with one that is lost.

    Raises:
        KeyRingError: the key ring cannot be used.
        WrongKey: the database was written with another key.
        NewerSchema: the database belongs to a newer version.
    """
    made = _make_key_file(settings, without_key)
    runtime = build_runtime(settings)
    try:
        # Before the migrations: a start with the wrong key changes nothing.
        if _has_keys(runtime.database):
            _check_key(runtime)
        bring_up_to_date(runtime.database)
        _check_key(runtime)
        look_for_copy(runtime.database)
        unreadable = tuple(note_unreadable(runtime, mark=without_key))
        return Prepared(setup_link=ensure_setup_link(runtime), made_key_file=made, unreadable=unreadable)
    finally:
        runtime.database.close()  # The children open their own connections.


def bring_up_to_date(database: Database) -> str:
    """Bring our own tables and the engine's to the newest schema; return the revision of ours."""
    revision = upgrade(database)
    prepare_tables(database)
    return revision


def _make_key_file(settings: Settings, without_key: bool) -> Path | None:
    path = settings.resolved_key_file
    if KeyRing.is_configured(path):
        if not is_in_environment():
            write_down_audit_key(path)
        return None
    database = Database(settings.resolved_database_url)
    try:
        lost = _has_keys(database)
        if lost and not without_key:
            raise KeyRingError(
                f"The key file {path} is missing, but this database was written with one. Put it back. Is it lost, "
                "`gatehouse serve --without-key` starts with a new one, and every stored secret is to be entered again."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        ring = KeyRing.generate()
        if lost:
            # First: a new file that the database does not know would be a wrong one at the next start.
            with database.transaction() as session:
                remember_new_ring(session, ring)
        ring.write_file(path)
    finally:
        database.close()
    return path


def _has_keys(database: Database) -> bool:
    """Tell whether something in this database was ever sealed."""
    with database.engine.connect() as connection:
        if not inspect(connection).has_table("vault_key"):
            return False
        return connection.execute(text("SELECT 1 FROM vault_key LIMIT 1")).first() is not None


def _check_key(runtime: Runtime) -> None:
    with runtime.database.transaction() as session:
        verify_ring(session, runtime.vault.ring)


def wait_until_answering(bind: str, seconds: float = START_SECONDS) -> bool:
    """Wait until the web server answers on `host:port`; return whether it did in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            connection = http.client.HTTPConnection(bind, timeout=1)
            connection.request("GET", "/healthz")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.1)
        else:
            return True
    return False


def banner(settings: Settings, prepared: Prepared, log_file: Path | None) -> str:
    """Return what the terminal shows once the portal answers."""
    rows = [f"The portal answers at [bold]{settings.base_url}[/bold]"]
    if prepared.setup_link:
        rows.append(f"Open this link once to set it up:\n  [bold]{prepared.setup_link}[/bold]")
    if settings.sandbox_origin:
        rows.append(f"A simulated GitLab to try it with: {settings.sandbox_origin}")
    if prepared.made_key_file:
        rows.append(
            f"The encryption key was made in {prepared.made_key_file}. Keep a copy apart from the database:\n"
            "without it no stored secret can be read."
        )
    if prepared.unreadable:
        lines = "".join(f"\n  {escape(str(item))}" for item in prepared.unreadable)
        rows.append(
            f"[red]Secrets that cannot be read, because their key is not in the key ring:[/red]{lines}\n"
            "Put the key back. Is it lost, `gatehouse serve --without-key` has the connections say what to enter."
        )
    if log_file:
        rows.append(f"Logs: {log_file}")
    rows.append("Stop with Ctrl+C.")
    return "\n\n".join(rows)
