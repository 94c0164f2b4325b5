"""A private PostgreSQL cluster for the tests: made in a moment, reached by socket only, gone afterwards.

initdb refuses to run as root, so there the server runs as `postgres` (or `nobody`).
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

START_SECONDS = 60
LOCKED_ROLE = "locked"
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
    """A running server."""

    socket_directory: Path

    def url(self, database: str = "postgres") -> str:
        """Return the address of one of its databases, as the portal's settings want it."""
        return f"postgresql://portal@/{database}?host={self.socket_directory}"

    def create_database(self, template: str | None = None) -> str:
        """Make a database with a name of its own, empty or a copy of another one, and return its address."""
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
    binaries = find_binaries()
    # Short: a socket's path may have 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="gh-pg-", dir="/tmp"))
    try:
        user = _server_user()
        if user is not None:
            os.chown(home, pwd.getpwnam(user).pw_uid, -1)
        home.chmod(0o755)
        data = home / "data"
        _run(user, home, binaries / "initdb", "-D", data, "-U", "portal", "-A", "trust", "-E", "UTF8", "--no-sync")
        with (data / "postgresql.conf").open("a") as file:
            file.write(CONFIGURATION + f"unix_socket_directories = '{home}'\n")
        # One role needs a password; every other is trusted.
        rules = data / "pg_hba.conf"
        rules.write_text(f"local all {LOCKED_ROLE} scram-sha-256\n{rules.read_text()}")
        log = home / "server.log"
        _run(user, home, binaries / "pg_ctl", "-D", data, "-l", log, "-w", "-t", str(START_SECONDS), "start")
        try:
            yield Cluster(home)
        finally:
            _run(user, home, binaries / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)


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
