"""A private PostgreSQL cluster for the tests: created quickly, reached only by socket, deleted afterwards.

initdb refuses to run as root, so there the server runs as `postgres` (or `no one`).
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

START_SECONDS = 60
LOCKED_ROLE = "locked"
INITDB = ("-U", "portal", "-A", "trust", "-E", "UTF8", "--no-sync")
# Nothing here has to survive a power cut.
CONFIGURATION = """
listen_addresses = ''
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 200
shared_buffers = 64MB
jit = off
log_min_messages = fatal
"""


class PostgreSQLMissing(RuntimeError):
    """No PostgreSQL server is installed."""


@dataclass(frozen=True)
class Cluster:
    """A running server. Its home holds its data folder and its socket."""

    home: Path

    def url(self, database: str = "postgres") -> str:
        """Return the address of one of its databases, as the portal's settings want it."""
        return f"postgresql://portal@/{database}?host={self.home}"

    def create_database(self, template: str | None = None) -> str:
        """Make a database with its own name, empty or a copy of another one, and return its address."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        if template is None:
            self._administer("CREATE DATABASE {}", name)
        else:
            self._administer("CREATE DATABASE {} TEMPLATE {}", name, _name_of(template))
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database, whoever is still connected to it."""
        self._administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", _name_of(url))

    def _administer(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _name_of(url: str) -> str:
    return url.removeprefix("postgresql://portal@/").partition("?")[0]


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Make a cluster, run it while the block runs, and delete it.

    Raises:
        PostgreSQLMissing: no server is installed; `make test` installs one.
    """
    with _home() as home:
        data = home / "data"
        _run(_server_user(), home, find_binaries() / "initdb", *INITDB, "-D", data)
        with (data / "postgresql.conf").open("a") as file:
            file.write(CONFIGURATION)
        # One role needs a password; every other is trusted.
        rules = data / "pg_hba.conf"
        rules.write_text(f"local all {LOCKED_ROLE} scram-sha-256\n{rules.read_text()}")
        with _serving(data, home):
            yield Cluster(home)


@contextmanager
def copied_server(
    original: Cluster, *, is_promoted: bool = False, in_its_place: Callable[[], object] | None = None
) -> Iterator[Cluster]:
    """Make a physical copy of a server with `pg_basebackup`, which has the same system identifier, and run it.

    Args:
        original: continues running, unless the copy takes its place.
        is_promoted: have the copy recover as a standby and promote it, which starts another timeline.
        in_its_place: called when the copy is made; then the original stops, and the copy has its address.
    """
    with _home() as home:
        data = home / "data"
        arguments = ["-D", data, "-h", original.home, "-U", "portal", "--checkpoint=fast", "--no-sync"]
        _run(_server_user(), home, find_binaries() / "pg_basebackup", *arguments)
        if in_its_place is not None:
            in_its_place()
            _stop(original.home / "data", original.home)
            try:
                with _serving(data, original.home):
                    yield Cluster(original.home)
            finally:
                _start(original.home / "data", original.home)
            return
        if is_promoted:
            (data / "standby.signal").touch()
        with _serving(data, home):
            if is_promoted:
                _run(_server_user(), home, find_binaries() / "pg_ctl", "-D", data, "-w", "promote")
            yield Cluster(home)


def run_client(program: str, url: str, *arguments: object) -> None:
    """Run one of PostgreSQL's client programs against the server of a database's address."""
    parts = conninfo_to_dict(url)
    database = {"PGDATABASE": str(parts["dbname"])} if program == "pg_dump" else {}
    environment = {**os.environ, "PGHOST": str(parts["host"]), "PGUSER": "portal", **database}
    command = [str(find_binaries() / program), *(str(argument) for argument in arguments)]
    result = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(f"{program} failed: {result.stderr[-2000:]}")


@contextmanager
def _home() -> Iterator[Path]:
    """Make a folder that the server's user may write to, and delete it."""
    # Short: a socket's path may have 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="gh-pg-", dir="/tmp"))
    try:
        if (user := _server_user()) is not None:
            os.chown(home, pwd.getpwnam(user).pw_uid, -1)
        home.chmod(0o755)
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _serving(data: Path, socket_directory: Path) -> Iterator[None]:
    _start(data, socket_directory)
    try:
        yield
    finally:
        _stop(data, socket_directory)


def _start(data: Path, socket_directory: Path) -> None:
    options = ["-o", f"-k {socket_directory}", "-l", data.parent / "server.log", "-w", "-t", START_SECONDS]
    _run(_server_user(), data.parent, find_binaries() / "pg_ctl", "-D", data, *options, "start")


def _stop(data: Path, home: Path) -> None:
    _run(_server_user(), home, find_binaries() / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")


def find_binaries() -> Path:
    """Return the folder of initdb and pg_ctl, newest version first."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not versions:
        raise PostgreSQLMissing("install PostgreSQL: `tests/system_packages.sh` does it")
    return versions[-1].parent


def _server_user() -> str | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _run(user: str | None, home: Path, program: Path, *arguments: object) -> None:
    command = [str(program), *(str(argument) for argument in arguments)]
    # `pg_ctl start` leaves the server its output; a pipe would then never end.
    with (home.parent / f"{home.name}.out").open("w+") as output:
        try:
            result = subprocess.run(
                command, user=user, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
            )
            output.seek(0)
            if result.returncode != 0:
                raise RuntimeError(f"{program.name} failed: {output.read()[-2000:]}")
        finally:
            Path(output.name).unlink()
