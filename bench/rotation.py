"""Rotation of 10,000 secrets while four threads read and write them, compared with the same without load."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table
from sqlalchemy import update
from sqlmodel import col, select

from bench.figures import console
from portal import build_runtime
from portal.accounts.models import Organization
from portal.connections.models import Connection
from portal.credentials.models import Credential
from portal.operation.keys.manage import list_keys, rotate
from portal.operation.start import prepare
from portal.runtime import Runtime
from portal.settings import Settings
from portal.vault import KeyRing, Place, Secret
from tests.support.postgresql import running_cluster

ORIGIN = "https://gitlab.example.com"
COLUMNS = ("access_token_sealed", "refresh_token_sealed")
LENGTH = 64


@dataclass
class Load:
    """What the threads did, and what went wrong."""

    reads: int = 0
    writes: int = 0
    errors: list[str] = field(default_factory=list)


def run(secrets: int, threads: int) -> None:
    """Measure both databases, idle and under load, and print."""
    table = Table(title=f"Rotation of {secrets:,} secrets", title_justify="left")
    for heading in ("", "seconds", "reads", "writes", "errors", "left with the old key"):
        table.add_column(heading, justify="right" if heading else "left")
    for name in ("SQLite", "PostgreSQL"):
        for count in (0, threads):
            with filled(name, secrets) as runtime:
                table.add_row(f"{name}, {count} threads", *_measure(runtime, count))
    console.print(table)


def _measure(runtime: Runtime, threads: int) -> list[str]:
    load, over = Load(), threading.Event()
    workers = [threading.Thread(target=work, args=(runtime, load, over, n, threads)) for n in range(threads)]
    for worker in workers:
        worker.start()
    started = time.perf_counter()
    # Its own vault: the command rotates in another process than the portal's.
    rotation = rotate(build_runtime(runtime.settings))
    seconds = time.perf_counter() - started
    over.set()
    for worker in workers:
        worker.join()
    load.errors += [str(place) for place in rotation.resealed.unreadable]
    left = sum(use.total for use in list_keys(runtime) if not use.is_newest)
    _read_all(runtime, load)
    for error in load.errors[:5]:
        console.print(error)
    return [f"{seconds:.1f}", f"{load.reads:,}", f"{load.writes:,}", str(len(load.errors)), str(left)]


def work(runtime: Runtime, load: Load, over: threading.Event, number: int, threads: int) -> None:
    """Read secrets and store new ones, as demands and refreshes do, each thread its own rows."""
    with runtime.database.reading() as session:
        ids = [row_id for row_id in session.exec(select(Credential.id)) if row_id and row_id % threads == number]
    turn = 0
    while not over.is_set():
        row_id, turn = ids[turn % len(ids)], turn + 1
        try:
            _read(runtime, row_id)
            load.reads += 1
            if turn % 4 == 0:
                _write(runtime, row_id)
                load.writes += 1
        except Exception as error:
            load.errors.append(repr(error))


def _read(runtime: Runtime, row_id: int) -> None:
    with runtime.database.reading() as session:
        row = session.get_one(Credential, row_id)
    for column in COLUMNS:
        text = runtime.vault.open(getattr(row, column), Place("credential", row_id, column), ORIGIN).reveal()
        assert len(text) == LENGTH


def _write(runtime: Runtime, row_id: int) -> None:
    with runtime.database.transaction() as session:
        generation = session.get_one(Credential, row_id, with_for_update=True).generation
        pair = {
            column: runtime.vault.seal(_secret(row_id, generation), Place("credential", row_id, column), ORIGIN)
            for column in COLUMNS
        }
        session.execute(
            update(Credential)
            .where(col(Credential.id) == row_id, col(Credential.generation) == generation)
            .values(generation=generation + 1, **pair)
        )


def _read_all(runtime: Runtime, load: Load) -> None:
    with runtime.database.reading() as session:
        ids = [row_id for row_id in session.exec(select(Credential.id)) if row_id]
    for row_id in ids:
        try:
            _read(runtime, row_id)
        except Exception as error:
            load.errors.append(repr(error))


def _secret(row_id: int, generation: int) -> Secret:
    return Secret(f"{row_id}-{generation}-".ljust(LENGTH, "x"))


@contextmanager
def filled(name: str, secrets: int) -> Iterator[Runtime]:
    """Yield a portal with this many secrets, two in each credential."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(running_cluster()).create_database() if name == "PostgreSQL" else ""
        settings = Settings(data_dir=folder, database_url=url)
        KeyRing.create_file(settings.resolved_key_file)
        runtime = build_runtime(settings)
        stack.callback(runtime.database.close)
        prepare(settings)
        _fill(runtime, secrets // len(COLUMNS))
        yield runtime


def _fill(runtime: Runtime, count: int) -> None:
    with runtime.database.transaction() as session:
        organization = Organization(name="Example Corp")
        session.add(organization)
        session.flush()
        numbers = range(1, count + 1)
        session.add_all(
            Connection(id=n, organization_id=organization.id or 0, slug=f"c{n}", display_name=f"C {n}") for n in numbers
        )
        session.flush()
        session.add_all(
            Credential(id=n, connection_id=n, origin=ORIGIN, gitlab_user_id=1, gitlab_username="gatehouse")
            for n in numbers
        )
        session.flush()
        for n in numbers:
            values = {c: runtime.vault.seal(_secret(n, 0), Place("credential", n, c), ORIGIN) for c in COLUMNS}
            session.execute(update(Credential).where(col(Credential.id) == n).values(**values))
