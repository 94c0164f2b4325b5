"""The database: one engine, short transactions, aware UTC.

SQLite runs in WAL mode and every writing transaction begins IMMEDIATE: a deferred one that turns into a
writer fails at once with "database is locked", whatever the busy timeout says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, BigInteger, Dialect, Engine, Integer, create_engine, delete, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.types import DateTime, TypeDecorator, TypeEngine
from sqlmodel import Session, SQLModel

from portal.private import close_to_others, private_file, private_folder
from portal.storage import Trouble, trouble_of

BUSY_TIMEOUT_SECONDS = 15
POOL_SIZE = 10
# A SQLite writer keeps all others waiting.
DELETE_BATCH = 500
# PostgreSQL ends a transaction whose process has been silent for this long: a frozen one would keep its locks forever.
IDLE_IN_TRANSACTION_SECONDS = 30
# On PostgreSQL a page waits no longer than on SQLite for another transaction's lock, and not for a runaway statement.
# Migrations and backups set their own limits; the `options` of the database URL take precedence.
LOCK_SECONDS = BUSY_TIMEOUT_SECONDS
STATEMENT_SECONDS = 60
# A server that vanished from the network is noticed in half a minute, not after the system's quarter of an hour. What
# the database URL says takes precedence (libpq, "Parameter Key Words").
CONNECTION_LIMITS = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# The text of a database error would include a statement's parameters: hashes, names, sealed secrets.
HIDE_PARAMETERS = True
# No database has a larger id; PostgreSQL raises an error if asked for one.
MAX_ID = 2**63 - 1
_WRITES = "gatehouse_writes"
_PATIENCE = "gatehouse_patience"
# Names in `session_info`.
AUDIT_KEY = "audit_key"
AUDIT_HEAD_FILE = "audit_head_file"
WITNESS = "witness"


def utc_now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


class UTCDateTime(TypeDecorator[datetime]):
    """Aware UTC in Python; SQLite has no time zones, so they are added when a row is read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times, store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return aware UTC."""
        if value is None or value.tzinfo is not None:
            return value.astimezone(UTC) if value else None
        return value.replace(tzinfo=UTC)


class BigId(TypeDecorator[int]):
    """Identity of a row, here or at GitLab: 64 bits in both databases.

    SQLite's INTEGER has them, and only a column declared with exactly that word numbers its rows automatically.
    """

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type that the columns are declared with."""
        return dialect.type_descriptor(Integer() if dialect.name == "sqlite" else BigInteger())


def read_id(text: str) -> int | None:
    """Return the id in a text from outside; None if it is not one, or larger than a database can compare with."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(MAX_ID)) else None
    return number if number is not None and number <= MAX_ID else None


def insert_into(session: Session, table: type[SQLModel]) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT that can say what happens if the row already exists; SQL leaves that to each database."""
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    return sqlite.insert(table) if is_sqlite else postgresql.insert(table)


def insert_unless_there(session: Session, table: type[SQLModel], values: dict[str, Any]) -> int | None:
    """Insert a row and return its id; None if an equal unique row already exists, even if inserted at the same
    moment.
    """
    own_id = table.__table__.c.id  # type: ignore[attr-defined]
    statement = insert_into(session, table).values(values).on_conflict_do_nothing().returning(own_id)
    made: int | None = session.execute(statement).scalar_one_or_none()
    return made


def values_of(row: SQLModel, names: tuple[str, ...]) -> dict[str, Any]:
    """Return some fields of a row by name."""
    return {name: getattr(row, name) for name in names}


def delete_of_connection(*tables: type[SQLModel]) -> Callable[[Session, int], None]:
    """Return a function of session and connection id that deletes a connection's rows from these tables, in order."""

    def delete_rows(session: Session, connection_id: int) -> None:
        for table in tables:
            own = table.__table__.c  # type: ignore[attr-defined]
            session.execute(delete(table).where(own.connection_id == connection_id))

    return delete_rows


class Database:
    """One database by URL: SQLite for a single machine, PostgreSQL for several."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _make_engine(url)
        # What every session carries in its `info`; the runtime fills it.
        self.session_info: dict[str, Any] = {}
        # What kept this process from storing something the last time it tried.
        self.trouble: Trouble | None = None

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite, where limits hold for one machine only."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def transaction(self, patience: float | None = None) -> Iterator[Session]:
        """Yield a session that commits at the end, or rolls back on any error. Keep it short: no HTTP inside.

        Args:
            patience: seconds to wait on SQLite for another writer, if less than the usual wait.
        """
        engine = self.engine.execution_options(**{_WRITES: True, _PATIENCE: patience})
        try:
            with Session(engine, expire_on_commit=False, info=self.session_info) as session, session.begin():
                yield session
        except SQLAlchemyError as error:
            self.trouble = trouble_of(error)
            raise
        self.trouble = None

    @property
    def place(self) -> str:
        """What a person calls the place where it is stored."""
        return f"the database {self.engine.url.database}" if self.is_sqlite else "the database server"

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Yield a session for reading; nothing it does is kept."""
        with Session(self.engine, expire_on_commit=False, info=self.session_info) as session:
            yield session

    def delete_in_batches(self, table: Any, ids: Any, before_batch: Callable[[], object] = lambda: None) -> int:
        """Delete the rows of a model whose ids a query returns, in short transactions; return how many."""
        deleted = 0
        while True:
            before_batch()
            with self.transaction() as session:
                batch = list(session.execute(ids.limit(DELETE_BATCH)).scalars())
                session.execute(delete(table).where(table.id.in_(batch)))
            deleted += len(batch)
            if len(batch) < DELETE_BATCH:
                return deleted

    def clock(self, session: Session) -> datetime:
        """Return the time all processes on this database share: the server's on PostgreSQL, ours on SQLite."""
        if self.is_sqlite:
            return utc_now()
        now: datetime = session.connection().execute(text("SELECT clock_timestamp()")).scalar_one()
        return now.astimezone(UTC)

    def close(self) -> None:
        """Close every pooled connection (before a fork, and at the end)."""
        self.engine.dispose()

    def ping(self) -> None:
        """Run the smallest query; raises what the driver raises."""
        with self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))


def _make_engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return make_postgresql_engine(url)
    path = url.removeprefix("sqlite:///")
    if path and path != ":memory:":
        private_folder(Path(path).parent)
    engine = create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=POOL_SIZE,
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS},
        hide_parameters=HIDE_PARAMETERS,
    )
    if path and path != ":memory:" and not path.startswith("file:"):

        @event.listens_for(engine, "do_connect")
        def close(*_: Any) -> None:
            # SQLite makes its companions with the mode of the database.
            private_file(Path(path))
            for companion in ("-wal", "-shm"):
                close_to_others(Path(f"{path}{companion}"))

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # We issue BEGIN ourselves; the driver would issue a deferred one.
        cursor = connection.cursor()
        # FULL: what was committed survives a power cut. A spooled token pair is removed after the commit that stores
        # it, and GitLab issues each pair once.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        patience = options.get(_PATIENCE)
        if patience is not None:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={round(patience * 1000)}")
            connection.info[_PATIENCE] = True
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(_WRITES, False) else "BEGIN")

    @event.listens_for(engine, "checkin")
    def be_patient_again(connection: Any, record: Any) -> None:
        if connection is not None and record.info.pop(_PATIENCE, False):
            connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_SECONDS * 1000}")

    return engine


def make_postgresql_engine(url: str | URL) -> Engine:
    """Return an engine that does not wait for a lost server; if a process freezes, its transaction loses its locks."""
    own = make_url(url).query
    engine = create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=POOL_SIZE,
        pool_pre_ping=True,
        hide_parameters=HIDE_PARAMETERS,
        connect_args={name: value for name, value in CONNECTION_LIMITS.items() if name not in own},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        limits = {
            "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_SECONDS,
            "lock_timeout": LOCK_SECONDS,
            "statement_timeout": STATEMENT_SECONDS,
        }
        for name, seconds in limits.items():
            if name not in str(own.get("options")):
                connection.execute(f"SET {name} = '{seconds}s'")
        connection.commit()

    return engine
