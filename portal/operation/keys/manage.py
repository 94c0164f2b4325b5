"""Rotate the key ring, show who uses which key, and drop unused ones; each change leaves a row in the audit log."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, delete, select

from portal import audit
from portal.accounts.models import Organization
from portal.actor import COMMAND_LINE
from portal.crash_points import crash_point
from portal.credentials.store import sealed_answers
from portal.errors import Conflict, NotFound
from portal.operation.keys.unreadable import note_unreadable
from portal.runtime import Runtime
from portal.vault import KeyRing, verify_ring
from portal.vault.keyfile import change_file
from portal.vault.keyring import DataKey, is_in_environment, new_key
from portal.vault.models import VaultKey
from portal.vault.rotation import Progress, Resealed, count_by_key, seal_everything_again
from portal.vault.vault import key_id_of

# Processes notice a replaced key file at once, machines that share it over a network within this time.
SETTLING_SECONDS = 60


@dataclass(frozen=True)
class KeyUse:
    """One key and the rows it seals, by `table.column`; `is_known` is whether the ring holds it."""

    key_id: str
    created_at: str
    is_newest: bool
    is_known: bool
    uses: dict[str, int]

    @property
    def total(self) -> int:
        """How many values it seals."""
        return sum(self.uses.values())


@dataclass(frozen=True)
class Rotation:
    """A finished run: the key that now seals everything, whether this run created it, and what was done."""

    key_id: str
    is_new: bool
    resealed: Resealed


def list_keys(runtime: Runtime) -> list[KeyUse]:
    """Return the ring's keys, the sealing one first, then those that seal something and are not in the ring."""
    uses: dict[str, Counter[str]] = {}
    with runtime.database.engine.connect() as connection:
        counts = count_by_key(connection)
    for name, counter in counts.items():
        for key_id, count in counter.items():
            uses.setdefault(key_id, Counter())[name] += count
    # GitLab's answers that a refresh on this machine is about to store.
    for sealed in sealed_answers(runtime.settings.data_dir):
        uses.setdefault(key_id_of(sealed), Counter())["spool"] += 1
    ring = runtime.vault.ring
    missing = [DataKey(key_id, b"") for key_id in uses if ring.get(key_id) is None]
    return [
        KeyUse(
            key_id=key.key_id,
            created_at=key.created_at,
            is_newest=key.key_id == ring.newest.key_id,
            is_known=ring.get(key.key_id) is not None,
            uses=dict(sorted(uses.get(key.key_id, {}).items())),
        )
        for key in [*ring.keys, *missing]
    ]


def rotate(runtime: Runtime, on_progress: Progress = lambda _: None, *, force_new: bool = False) -> Rotation:
    """Add a key, unless an earlier rotation has not been finished, and seal everything again with the newest one.

    A ring from the environment gets no key here: the operator adds one at its front.

    Raises:
        KeyRingError: the key file cannot be replaced.
    """
    is_new = not is_in_environment() and (force_new or not is_unfinished(runtime))
    if is_new:
        change_file(runtime.settings.resolved_key_file, lambda ring: KeyRing([new_key(), *ring.keys], ring.audit_key))
        crash_point("rotate:key_added")
    key_id = runtime.vault.ring.newest.key_id
    with runtime.database.transaction() as session:
        is_first_use = session.get(VaultKey, key_id) is None
        verify_ring(session, runtime.vault.ring)
        if is_first_use:
            _record(session, "key.added", key_id)
    resealed = seal_everything_again(runtime.database, runtime.vault, on_progress)
    with runtime.database.transaction() as session:
        figures = {"resealed": resealed.done, "left": resealed.left, "unreadable": len(resealed.unreadable)}
        _record(session, "key.rotated", key_id, **figures)
    return Rotation(key_id, is_new, resealed)


def add_keys(runtime: Runtime, path: Path) -> list[str]:
    """Add the keys of another key file, a backup of this portal's, behind the ring's own; they only open.

    Returns:
        The ids that were added.

    Raises:
        KeyRingError: that file, or the portal's own, cannot be used.
        WrongKey: a key is not the one this database knows under its id.
    """
    found = KeyRing.from_file(path)
    before = set(runtime.vault.ring.key_ids)
    added = [key for key in found.keys if key.key_id not in before]
    with runtime.database.transaction() as session:
        verify_ring(session, KeyRing([*runtime.vault.ring.keys, *added]))
        for key in added:
            _record(session, "key.put_back", key.key_id)
        change_file(runtime.settings.resolved_key_file, lambda ring: KeyRing([*ring.keys, *added], ring.audit_key))
    note_unreadable(runtime, mark=False)
    return [key.key_id for key in added]


def is_unfinished(runtime: Runtime) -> bool:
    """Return whether something is still sealed with an older key of the ring."""
    return any(use.total for use in list_keys(runtime) if use.is_known and not use.is_newest)


def check_drop(runtime: Runtime, key_id: str) -> None:
    """Refuse to drop a key that is needed.

    Raises:
        NotFound: the ring has no such key.
        Conflict: it seals, something is sealed with it, or its successor is too new to be known everywhere.
    """
    ring = runtime.vault.ring
    if ring.get(key_id) is None:
        raise NotFound(f"The key ring has no key {key_id}.")
    if is_in_environment():
        raise Conflict("The key ring comes from the environment: remove the key there.")
    if key_id == ring.newest.key_id:
        raise Conflict("This key seals new secrets. Run `gatehouse keys rotate` first.")
    use = next(use for use in list_keys(runtime) if use.key_id == key_id)
    if use.total:
        places = ", ".join(f"{count} in {name}" for name, count in use.uses.items())
        raise Conflict(f"This key still seals {use.total} secrets: {places}. Run `gatehouse keys rotate` first.")
    made = datetime.fromisoformat(ring.newest.created_at) if ring.newest.created_at else None
    if made and (age := (datetime.now(UTC) - made).total_seconds()) < SETTLING_SECONDS:
        wait = int(SETTLING_SECONDS - age) + 1
        raise Conflict(f"The newest key is younger than {SETTLING_SECONDS} s: try again in {wait} s.")


def drop(runtime: Runtime, key_id: str) -> None:
    """Permanently remove a key that nothing uses from the ring.

    Raises:
        NotFound: the ring has no such key.
        Conflict: it is needed.
        KeyRingError: the key file cannot be replaced.
    """
    check_drop(runtime, key_id)
    with runtime.database.transaction() as session:
        session.execute(delete(VaultKey).where(col(VaultKey.key_id) == key_id))
        _record(session, "key.dropped", key_id)
        # Inside the transaction: if the file cannot be replaced, no row says it was.
        change_file(
            runtime.settings.resolved_key_file,
            lambda ring: KeyRing([key for key in ring.keys if key.key_id != key_id], ring.audit_key),
        )


def _record(session: Session, action: str, key_id: str, **details: Any) -> None:
    # The ring is everyone's: each organization finds it in its own log.
    for organization_id in session.exec(select(Organization.id)):
        audit.record(session, COMMAND_LINE, action, audit.Target(organization_id, "key", key_id), **details)
