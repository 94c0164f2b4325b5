"""Files and folders that only this system user can read, whatever its umask: they hold secrets, hashes and names."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

FILE_MODE = 0o600
FOLDER_MODE = 0o700
_OTHERS = 0o077


def private_folder(path: Path) -> None:
    """Create a folder and its missing parents. An existing one is left as it is.

    Raises:
        OSError: it cannot be created.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    path.mkdir(exist_ok=True)  # Anything but a folder is an error.


def private_file(path: Path) -> None:
    """Make sure that a file exists and no one else can read it; an earlier version may have left it open to others.

    An existing file is never opened: closing a file drops all locks that this process holds on it, including SQLite's.

    Raises:
        OSError: it cannot be created.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE))
    except FileExistsError:
        close_to_others(path)


def close_to_others(path: Path) -> None:
    """Remove everyone's rights to a file except its owner's, if this user may."""
    with suppress(OSError):
        if path.stat().st_mode & _OTHERS:
            path.chmod(FILE_MODE)
