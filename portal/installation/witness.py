"""A file in the data folder that remembers how far the database was, so that an older one cannot pass for the current
one.

It holds the newest change that was committed, by its number and hash in the audit log. A database that lacks that
change was restored. The file is written after the commit, so a crash leaves it behind the database, never ahead of it;
between the two, the answer of a token request is still in the spool.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import structlog

from portal.durable import sync
from portal.installation.place import Signs

NAME = "witness.json"
SECONDS_BETWEEN = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Evidence:
    """What the file says about one life of a database.

    Attributes:
        number: of the newest change known to be committed, in the audit log; 0 if there was none.
        hash: of that change.
        folder: where the data folder was.
        is_over: another life was confirmed in its place; any state of this one that turns up was restored.
    """

    number: int
    hash: str
    folder: Signs = field(default_factory=dict)
    is_over: bool = False


class Witness:
    """The file of one data folder; every process on the machine writes it. Lives are named for their epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Which life this process works on; None before it has looked at its database.
        self.epoch: str | None = None
        self._path = folder / NAME
        self._advanced_at = -SECONDS_BETWEEN

    def read(self) -> dict[str, Evidence]:
        """Return what it says about each life; nothing if there is no readable file."""
        try:
            return {epoch: Evidence(**values) for epoch, values in json.loads(self._path.read_bytes()).items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def write(self, epoch: str, evidence: Evidence, former: Iterable[str] = ()) -> None:
        """Add or update what it says about one life; a newer change of the same life stays.

        Args:
            epoch: which life.
            evidence: what is known about it.
            former: lives that are over.

        Raises:
            OSError: the data folder cannot be written.
        """
        with self._locked():
            known = self.read()
            before = known.get(epoch)
            if before is not None and before.number > evidence.number:
                evidence = replace(evidence, number=before.number, hash=before.hash)
            over = {name: replace(known[name], is_over=True) for name in former if name in known}
            self._replace({**known, **over, epoch: evidence})
        self.epoch = epoch

    def advance(self, number: int, last_hash: str, *, is_urgent: bool) -> None:
        """Remember a change that is now committed; a failed write is only logged.

        Args:
            number: of the change. One that is not newer is skipped: the slower of two processes comes late.
            last_hash: of the change.
            is_urgent: remember it in any case. For the others, one a second is enough, because each waits for the disk.
        """
        if self.epoch is None or (not is_urgent and time.monotonic() - self._advanced_at < SECONDS_BETWEEN):
            return
        self._advanced_at = time.monotonic()
        try:
            with self._locked():
                known = self.read()
                mine = known.get(self.epoch)
                if mine is not None and mine.number < number:
                    self._replace({**known, self.epoch: replace(mine, number=number, hash=last_hash)})
        except OSError as error:
            log.error("witness_not_written", folder=str(self.folder), error=error.strerror)

    def _replace(self, known: dict[str, Evidence]) -> None:
        new = self._path.with_name(f".{NAME}.{secrets.token_hex(4)}")
        try:
            descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump({epoch: asdict(evidence) for epoch, evidence in known.items()}, file, indent=1)
            sync(new)
            new.replace(self._path)
            sync(self.folder)
        finally:
            new.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
