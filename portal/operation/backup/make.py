"""Make a backup while the portal runs: a copy of the database at one moment, without keys (S107)."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from portal.db import utc_now
from portal.durable import sync
from portal.operation.backup import postgresql, sites, sqlite
from portal.operation.backup.manifest import BackupRefused, Manifest, hash_of, read_contents
from portal.private import close_to_others, private_folder
from portal.runtime import Runtime
from portal.sync.git import GitFailed, GitMissing


def make_backup(runtime: Runtime, folder: Path) -> Manifest:
    """Write a backup into a folder that does not exist yet or is empty; a failed one leaves nothing behind.

    Raises:
        BackupRefused: the folder holds something, or the database cannot be copied.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BackupRefused(f"{folder} is not an empty folder. Nothing is ever overwritten.")
    try:
        private_folder(folder.parent)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise BackupRefused(f"{folder} cannot be written: {error.strerror}.") from None
    try:
        manifest = _write(runtime, work)
        for path in (*work.iterdir(), work):
            sync(path)
        work.replace(folder)  # A folder with this name is a complete backup.
        sync(folder.parent)
        return manifest
    except SQLAlchemyError as error:
        # The driver's reason, without the statement.
        reason = (str(getattr(error, "orig", None) or "").splitlines() or [type(error).__name__])[0]
        raise BackupRefused(f"The database could not be copied: {reason.rstrip('.')[:300]}.") from None
    except OSError as error:
        raise BackupRefused(f"The backup could not be written: {error.strerror}.") from None
    except (GitFailed, GitMissing) as error:
        raise BackupRefused(f"The files of sites could not be copied: {error or 'git is missing'}.") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write(runtime: Runtime, work: Path) -> Manifest:
    made_at = utc_now().isoformat(timespec="seconds")
    if runtime.database.is_sqlite:
        name, target = sqlite.FILE, work / sqlite.FILE
        sqlite.dump(Path(str(runtime.database.engine.url.database)), target)
        with sqlite.looking_at(target) as connection:
            contents = read_contents(connection)
    else:
        name = postgresql.FILE
        engine = runtime.database.engine.execution_options(isolation_level="REPEATABLE READ")
        with engine.connect() as connection:
            # The snapshot lasts as long as its transaction, and that is silent for as long as `pg_dump` works.
            limits = "SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0"
            connection.execute(text(limits))
            snapshot = connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()
            contents = read_contents(connection)
            postgresql.dump(runtime.database.engine.url, snapshot, work / name)
    # Later than the database: what is newer here than a site's row says is noticed when it is next checked.
    names = [name, *sites.dump(runtime.settings, work)]
    files = {name: hash_of(work / name) for name in names}
    manifest = Manifest(made_at, runtime.database.engine.dialect.name, contents, files)
    manifest.write(work, runtime.vault)
    for path in work.iterdir():
        close_to_others(path)
    return manifest
