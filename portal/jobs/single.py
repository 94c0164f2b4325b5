"""On SQLite, limits apply only within one process, so exactly one worker runs; the others stand by."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path
from typing import IO

from portal.logs import get_logger
from portal.private import private_file, private_folder

WAIT_SECONDS = 0.5

log = get_logger(__name__)


class WorkerLock:
    """An exclusive lock on a file; the system releases it however the process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def acquire(self, given_up: threading.Event) -> bool:
        """Wait until no other process holds the lock; return False if the event is set before that."""
        private_folder(self._path.parent)
        private_file(self._path)
        self._file = self._path.open("a")
        told = False
        while not self._try(self._file):
            if not told:
                log.warning("worker_stands_by", reason="another worker uses this SQLite database", lock=str(self._path))
                told = True
            if given_up.wait(WAIT_SECONDS):
                self.release()
                return False
        return True

    def release(self) -> None:
        """Let another worker begin."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @staticmethod
    def _try(file: IO[str]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
