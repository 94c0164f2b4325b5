"""Record number and hash of the newest event outside the database: otherwise missing events at the end go unnoticed."""

from __future__ import annotations

import fcntl
import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from portal.db import utc_now
from portal.logs import get_logger

log = get_logger(__name__)

SECONDS_BETWEEN = 1.0
TAIL_BYTES = 400
_LINE = re.compile(r"(\S{1,40}) ([0-9]{1,18}) ([0-9a-f]{64})")
_lock = threading.Lock()
_told_at: dict[Path | None, float] = {}
_written: dict[Path | None, int] = {}


@dataclass(frozen=True)
class Head:
    """The newest event of the chain."""

    number: int
    hash: str


@dataclass(frozen=True)
class Noted:
    """A line of the head file. `at` is ISO 8601."""

    at: str
    number: int
    hash: str


def tell_head(path: Path | None, head: Head) -> None:
    """Write the head to the log and, if there is one, to the head file; at most once a second, and never raise."""
    with _lock:
        now = time.monotonic()
        if now - _told_at.get(path, -SECONDS_BETWEEN) < SECONDS_BETWEEN:
            return
        _told_at[path] = now
    write_head(path, head)


def write_head(path: Path | None, head: Head) -> None:
    """Write the head to the log and to the head file now; what is committed stays committed if the file cannot be
    written.

    A head that is not newer than the last line is skipped: the slower of two processes writes late, and a head that
        went back must not hide among the lines.
    """
    if structlog.is_configured():  # The command line has no log, and its output is not the place for it.
        log.info("audit_head", number=head.number, hash=head.hash)
    _written[path] = head.number
    if path is None or head.number == 0:
        return
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            last, size = _last_of(descriptor), os.fstat(descriptor).st_size
            if last is None or last.number < head.number:
                # A full disk may have cut the last line off.
                is_cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
                line = f"{utc_now().isoformat(timespec='seconds')} {head.number} {head.hash}\n"
                os.write(descriptor, ("\n" + line if is_cut else line).encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        log.error("audit_head_not_written", path=str(path), error=error.strerror)


def last_written(path: Path | None) -> int:
    """Return the number of the head that this process wrote last; 0 before the first one."""
    return _written.get(path, 0)


def last_noted(path: Path | None) -> Noted | None:
    """Return the newest readable line of the head file; None if there is none.

    Raises:
        OSError: it exists and cannot be read.
    """
    if path is None or not path.exists():
        return None
    with path.open("rb") as file:
        return _last_of(file.fileno())


def read_noted(path: Path | None) -> Iterator[Noted]:
    """Yield the lines that the head file has now, oldest first; lines that we did not write are skipped.

    Lines appended in the meantime are left out: they may record events newer than those being checked.

    Raises:
        OSError: it exists and cannot be read.
    """
    if path is None or not path.exists():
        return
    with path.open("rb") as file:
        end = os.fstat(file.fileno()).st_size
        while file.tell() < end and (line := file.readline(TAIL_BYTES)):
            if noted := _parse(line):
                yield noted


def _last_of(descriptor: int) -> Noted | None:
    size = os.fstat(descriptor).st_size
    lines = os.pread(descriptor, TAIL_BYTES, max(0, size - TAIL_BYTES)).splitlines()
    return next(filter(None, map(_parse, reversed(lines))), None)


def _parse(line: bytes) -> Noted | None:
    found = _LINE.fullmatch(line.decode("ascii", "replace").rstrip("\n"))
    return Noted(found[1], int(found[2]), found[3]) if found else None
