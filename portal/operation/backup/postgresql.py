"""PostgreSQL: its own programs dump and load. Passwords go through the environment, never through arguments."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from sqlalchemy import URL

from portal.operation.backup.manifest import BackupRefused

FILE = "gatehouse.dump"
# libpq's variables for the parts of a URL.
_OF_QUERY = {
    "host": "PGHOST",
    "port": "PGPORT",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "options": "PGOPTIONS",
}


def dump(url: URL, snapshot: str, target: Path) -> None:
    """Write everything that a snapshot of an open transaction sees into one file.

    Raises:
        BackupRefused: `pg_dump` is missing or failed.
    """
    options = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", f"--file={target}"]
    _run("pg_dump", options, url)


def load(url: URL, source: Path) -> None:
    """Load a dump into an empty database, all or nothing.

    Raises:
        BackupRefused: `pg_restore` is missing or failed.
    """
    options = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", f"--dbname={url.database}"]
    _run("pg_restore", [*options, str(source)], url)


def check_file(source: Path) -> None:
    """Let `pg_restore` read the dump's table of contents.

    Raises:
        BackupRefused: it is not a dump, or the program is missing.
    """
    _run("pg_restore", ["--list", "--file=/dev/null", str(source)], None)


def _run(program: str, arguments: list[str], url: URL | None) -> None:
    path = shutil.which(program)
    if path is None:
        raise BackupRefused(f"{program} is not on the PATH. Install PostgreSQL's client programs.")
    environment = {**os.environ, **(_environment(url) if url else {})}
    result = subprocess.run(  # noqa: S603 - a program of the operator's, our own arguments
        [path, *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        lines = result.stderr.strip().splitlines() or ["no reason given"]
        raise BackupRefused(f"{program} failed: {lines[0][:300]}")


def _environment(url: URL) -> dict[str, str]:
    found = {
        "PGHOST": url.host,
        "PGPORT": str(url.port) if url.port else None,
        "PGUSER": url.username,
        "PGPASSWORD": str(url.password) if url.password else None,
        "PGDATABASE": url.database,
    }
    for name, variable in _OF_QUERY.items():
        if isinstance(value := url.query.get(name), str):
            found[variable] = value
    return {name: value for name, value in found.items() if value}
