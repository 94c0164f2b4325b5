"""Check the whole chain in batches, from the first event to the newest, and name the first wrong one (S85)."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from portal.audit.access import SEALED, find_put_in, is_as_sealed
from portal.audit.chain import EVENTS, HEAD, hash_of
from portal.audit.head import Head, Noted, read_noted
from portal.audit.models import GENESIS
from portal.db import Database
from portal.runtime import Runtime

BATCH = 1000


@dataclass(frozen=True)
class Fault:
    """The first event that is not as it was written, and what is wrong with it."""

    number: int
    what: str

    def __str__(self) -> str:
        return f"Event {self.number} {self.what}."


@dataclass(frozen=True)
class Verdict:
    """The result of verifying: this many events are correct, from the first on; then comes a fault or the end."""

    checked: int
    fault: Fault | None = None


class _Broken(Exception):
    def __init__(self, number: int, what: str) -> None:
        self.fault = Fault(number, what)
        super().__init__(str(self.fault))


class _Walk:
    """Walks the chain and the head file side by side."""

    def __init__(self, key: bytes, noted: Iterator[Noted]) -> None:
        self._key = key
        self._noted = noted
        self._next = next(noted, None)
        self.number = 0
        self.hash = GENESIS

    def check(self, row: Mapping[str, Any]) -> None:
        """Take one step, or raise what is wrong with it."""
        number = row["number"]
        if number > self.number + 1:
            raise _Broken(self.number + 1, "is missing")
        if number <= self.number:
            raise _Broken(number, "was put in")
        if not hmac.compare_digest(hash_of(row, self._key), row["hash"]):
            raise _Broken(number, "is not as it was written")
        if row["previous_hash"] != self.hash:
            raise _Broken(number, "does not follow the one before it")
        self._compare(Head(number, row["hash"]))
        self.number, self.hash = number, row["hash"]

    def _compare(self, head: Head) -> None:
        while self._next and self._next.number <= head.number:
            if (self._next.number, self._next.hash) != (head.number, head.hash):
                raise _Broken(self._next.number, f"differs from the one the head file recorded at {self._next.at}")
            self._next = next(self._noted, None)

    def finish(self, head: Head) -> None:
        """Check the end: against the row of the newest event, and against what the head file has beyond it."""
        if head.number > self.number:
            raise _Broken(self.number + 1, f"and all up to {head.number} are missing")
        if head.number < self.number:
            raise _Broken(head.number + 1, "was added after the newest one")
        if head.hash != self.hash:
            raise _Broken(head.number, "is not the newest one that was written")
        for noted in filter(None, (self._next, *self._noted)):
            raise _Broken(
                self.number + 1, f"and all up to {noted.number} are missing: the head file noted it at {noted.at}"
            )


def verify_chain(runtime: Runtime, progress: Callable[[int, int], None] = lambda done, total: None) -> Verdict:
    """Check every event; stop at the first fault.

    Args:
        runtime: whose database, key and head file.
        progress: called after each batch with how many were checked, and how many there were at the start.

    Raises:
        OSError: the head file exists and cannot be read.
    """
    walk = _Walk(runtime.vault.audit_key, read_noted(runtime.settings.audit_head_file))
    total = _read_end(runtime.database)[0].number
    try:
        while True:
            statement = select(EVENTS).order_by(EVENTS.c.number).limit(BATCH)
            if walk.number:  # The first batch has no lower end: nothing may be below 1.
                statement = statement.where(EVENTS.c.number > walk.number)
            with runtime.database.reading() as session:
                rows = [row._asdict() for row in session.connection().execute(statement)]
            for row in rows:
                walk.check(row)
                if row["action"] == SEALED and not is_as_sealed(runtime.database, row, runtime.vault.audit_key):
                    raise _Broken(row["number"], "covers entries of the access log that have been changed")
            progress(walk.number, total)
            head, newest = _read_end(runtime.database)
            # More may have been added in the meantime.
            if not rows and newest <= walk.number:
                walk.finish(head)
                if entry := find_put_in(runtime.database):
                    raise _Broken(walk.number, f"is the newest, and none covers entry {entry} of the access log")
                return Verdict(walk.number)
    except _Broken as broken:
        return Verdict(walk.number, broken.fault)


def read_head(database: Database) -> Head:
    """Return the newest event according to the database; number 0 before the first one, and if that row is gone."""
    return _read_end(database)[0]


def _read_end(database: Database) -> tuple[Head, int]:
    # One statement, hence one moment.
    newest = select(func.max(EVENTS.c.number)).scalar_subquery()
    with database.reading() as session:
        found = session.connection().execute(select(HEAD.c.number, HEAD.c.hash, newest)).one_or_none()
    if found is None:
        return Head(0, GENESIS), 0
    return Head(found[0], found[1]), found[2] or 0
