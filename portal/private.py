"""Files and folders for this system user alone, whatever its umask says: they hold sealed secrets, hashes and names."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

FILE_MODE = 0o600
FOLDER_MODE = 0o700
_OTHERS = 0o077


def private_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing. One that exists stays as its owner wants it.

    Raises:
        OSError: it cannot be made.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    path.mkdir(exist_ok=True)  # Something else than a folder is an error.


def private_file(path: Path) -> None:
    """See that a file is there that no one else reads; an earlier version may have left it open to others.

    It is never opened when it exists: whoever closes a file drops all locks that this process holds on it, and SQLite's
    are of that kind.

    Raises:
        OSError: it cannot be made.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE))
    except FileExistsError:
        close_to_others(path)


def close_to_others(path: Path) -> None:
    """Take a file's rights from everyone but its owner, as far as this user may."""
    with suppress(OSError):
        if path.stat().st_mode & _OTHERS:
            path.chmod(FILE_MODE)
