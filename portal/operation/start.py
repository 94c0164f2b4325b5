"""What has to be in place before the portal answers: a key ring, the newest schema, the right key, a first person.

And how it is reported: what stops a start is one sentence, and the setup link is printed once the portal answers.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from portal import build_runtime
from portal.accounts.first_run import ensure_setup_link, follow_plan
from portal.db import Database
from portal.installation import look_for_copy
from portal.jobs.models import prepare_tables
from portal.operation.keys.unreadable import Unreadable, note_unreadable
from portal.operation.listening import Endpoint, Listener, take_port
from portal.operation.migrations.upgrade import NewerSchema, current_and_head, is_known, upgrade
from portal.operation.serving import Supervisor, default_endpoint
from portal.preflight import check_ground, explain
from portal.private import private_folder
from portal.runtime import Runtime
from portal.settings import Settings, SettingsError
from portal.vault import KeyRing, KeyRingError, WrongKey, verify_ring
from portal.vault.keyfile import write_down_audit_key
from portal.vault.keyring import is_in_environment
from portal.vault.ring_check import remember_new_ring

START_SECONDS = 60
LOOK_SECONDS = 0.05
LOG_LINES = 12
PROGRAMS = {"web": "web server", "sandbox": "sandbox"}
ANOTHER_PORT = "choose another port: make run PORT={port}, or GATEHOUSE_BASE_URL=http://127.0.0.1:{port}"
ANOTHER_BIND = "choose another port with --bind"
ANOTHER_SANDBOX_PORT = "choose another port: make run SANDBOX_PORT={port}, or gatehouse serve --sandbox-port={port}"


class NotAnswering(Exception):
    """A program that the start needs does not answer; the text says which."""


class Refused(Exception):
    """What an operator has to fix before anything works; the text has one sentence for each problem."""


@dataclass(frozen=True)
class Prepared:
    """What the start found or created.

    Attributes:
        setup_link: the one-time link for the first person; None once there is one.
        made_key_file: the key ring that was just created; None if there was one.
        unreadable: what has to be entered again because its key is lost.
        waits: the database may be a copy, and nothing runs by itself before someone confirms it.
    """

    setup_link: str | None
    made_key_file: Path | None
    unreadable: tuple[Unreadable, ...] = ()
    waits: bool = False


def prepare(settings: Settings, *, without_key: bool = False) -> Prepared:
    """Create what is missing, check what is there, and leave the database ready; `check_ground` must have succeeded.

    Args:
        settings: of this portal.
        without_key: continue with a new key ring if the database was written with one that is lost.

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
        waits = look_for_copy(runtime.database)
        follow_plan(runtime)
        unreadable = tuple(note_unreadable(runtime, mark=without_key))
        return Prepared(ensure_setup_link(runtime), made, unreadable, waits=waits)
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
                f"The key file {path} is missing, but this database was written with one. Put it back. If it is lost, "
                "`gatehouse serve --without-key` starts with a new one; every stored secret must then be entered again."
            )
        private_folder(path.parent)
        ring = KeyRing.generate()
        if lost:
            # First: at the next start, a new file that the database does not know would count as a wrong one.
            with database.transaction() as session:
                remember_new_ring(session, ring)
        ring.write_file(path)
    finally:
        database.close()
    return path


def _has_keys(database: Database) -> bool:
    """Return whether anything in this database was ever sealed."""
    with database.engine.connect() as connection:
        if not inspect(connection).has_table("vault_key"):
            return False
        return connection.execute(text("SELECT 1 FROM vault_key LIMIT 1")).first() is not None


def _check_key(runtime: Runtime) -> None:
    with runtime.database.transaction() as session:
        verify_ring(session, runtime.vault.ring)


@contextmanager
def plain_refusals() -> Iterator[None]:
    """Turn everything that an operator has to fix into `Refused`, and leave bugs as they are.

    Raises:
        Refused: with the sentence.
    """
    try:
        yield
    except (SettingsError, KeyRingError, WrongKey, NewerSchema) as error:
        raise Refused(str(error)) from None
    except DBAPIError as error:
        sentence = explain(error)
        if sentence is None:
            raise
        raise Refused(sentence) from None


def check_for_web(settings: Settings) -> Runtime:
    """Check everything that a web server started by someone else needs, and return its runtime.

    Raises:
        Refused: something has to be fixed first.
    """
    with plain_refusals():
        check_ground(settings)
        runtime = build_runtime(settings)
        present, newest = current_and_head(runtime.database)
        if present and not is_known(present):
            raise NewerSchema(f"The database is at revision {present}, which this version does not know.")
        if present != newest:
            raise SettingsError("The database does not have this version's schema: run `gatehouse migrate` first.")
        _check_key(runtime)
        look_for_copy(runtime.database)
        runtime.database.close()  # The server may fork after this.
        return runtime


@contextmanager
def taken_ports(settings: Settings, bind: str, sandbox_port: int | None) -> Iterator[dict[str, list[Listener]]]:
    """Yield the sockets of the web server and, with a port for it, of the sandbox; they are closed at the end.

    Raises:
        SettingsError: a port is taken, or `bind` cannot be listened at.
    """
    with ExitStack() as held:
        endpoint = Endpoint.parse(bind) if bind else default_endpoint(settings)
        sockets = {"web": take_port(endpoint, "the portal", ANOTHER_BIND if bind else ANOTHER_PORT)}
        for listener in sockets["web"]:
            held.enter_context(listener)
        if sandbox_port is not None:
            at_sandbox = Endpoint("localhost", sandbox_port)
            sockets["sandbox"] = take_port(at_sandbox, "the sandbox", ANOTHER_SANDBOX_PORT)
            for listener in sockets["sandbox"]:
                held.enter_context(listener)
        yield sockets


def wait_until_answering(supervisor: Supervisor, settings: Settings, sockets: Mapping[str, Sequence[Listener]]) -> bool:
    """Wait until every child that was given sockets answers; then only the web server itself holds its own.

    Returns:
        False if a signal came first.

    Raises:
        NotAnswering: one ended or did not answer in time.
    """
    hosts = {"web": settings.host, "sandbox": urlsplit(settings.sandbox_origin or "").netloc}
    paths = {"web": "/healthz", "sandbox": "/users/sign_in"}
    silent, end = set(sockets), time.monotonic() + START_SECONDS
    while silent:
        silent -= {name for name in silent if _answers(sockets[name][0], paths[name], hosts[name])}
        ended = [name for name in sockets if supervisor.ended(name) is not None]
        if supervisor.stopping.is_set():
            return False
        if ended or time.monotonic() > end:
            name = (ended or sorted(silent))[0]
            how = f"ended with code {supervisor.ended(name)}" if ended else f"did not answer within {START_SECONDS} s"
            told = ""  # Without a file its last lines are on the terminal already.
            if supervisor.log_file is not None:
                lines = supervisor.log_file.read_text(errors="replace").splitlines()[-LOG_LINES:]
                told = "\n".join([f" The last lines of {supervisor.log_file}:", *lines])
            raise NotAnswering(f"The {PROGRAMS[name]} {how}.{told}")
        supervisor.stopping.wait(LOOK_SECONDS if silent else 0)
    supervisor.hand_over("web")
    return True


def _answers(listener: Listener, path: str, host: str) -> bool:
    """Return whether the child with this socket answers successfully.

    The socket is ours, and no one else can listen at its address, so only what we started can answer.
    """
    address = listener.getsockname()
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])  # noqa: S104 - compared, not bound
    connection = http.client.HTTPConnection(name, address[1], timeout=1)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse().status < http.client.BAD_REQUEST
    return False


def banner(settings: Settings, prepared: Prepared, log_file: Path | None) -> list[str]:
    """Return the lines the terminal shows once the portal answers; addresses are on separate lines."""
    lines = [f"Gatehouse answers at {settings.base_url}", ""]
    if prepared.setup_link:
        lines += ["Open this link once to set it up:", prepared.setup_link, ""]
    if settings.sandbox_origin:
        lines += ["A simulated GitLab to try it with:", settings.sandbox_origin, ""]
    if prepared.made_key_file:
        lines += [
            "The encryption key was made in",
            str(prepared.made_key_file.absolute()),
            "Keep a copy of it, apart from the database. Without it no stored secret can be read.",
            "",
        ]
    if settings.is_https and not settings.trusted_proxy_hops:
        lines += [
            "Browsers reach this portal over https, so a reverse proxy stands in front, but",
            "GATEHOUSE_TRUSTED_PROXY_HOPS is 0: all visitors seem to have one address. Set it to their number.",
            "",
        ]
    if prepared.unreadable:
        lines += [
            "These secrets cannot be read, because their key is not in the key ring:",
            *(f"  {item}" for item in prepared.unreadable),
            "Put the key back. If it is lost, start with `gatehouse serve --without-key`: "
            "each connection then says what to enter again.",
            "",
        ]
    if prepared.waits:
        lines += [
            "The database may be a copy: no job runs and no token is renewed until an owner confirms it. See",
            f"{settings.base_url}/restored",
            "",
        ]
    if log_file:
        lines += [f"Logs: {log_file}"]
    return [*lines, "Stop with Ctrl+C."]
