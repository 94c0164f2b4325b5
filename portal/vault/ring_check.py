"""Stop a start with the wrong key: each key's check value is in the database it was used for."""

from __future__ import annotations

import hmac

from sqlmodel import Session, select

from portal.vault.keyring import DataKey, KeyRing
from portal.vault.models import VaultKey

CHECK_TEXT = b"gatehouse check value"


class WrongKey(Exception):
    """The key ring does not belong to this database; nothing was changed."""


def verify_ring(session: Session, ring: KeyRing) -> None:
    """Compare every key with what the database remembers about it, and remember the new ones.

    Raises:
        WrongKey: a key has the right id but the wrong material, or none of the ring's keys was ever used here.
    """
    known = {row.key_id: row for row in session.exec(select(VaultKey))}
    if known and not set(known) & set(ring.key_ids):
        raise WrongKey("The key ring holds none of the keys this database was written with.")
    for key_id in ring.key_ids:
        key = ring.get(key_id)
        assert key is not None
        if key_id not in known:
            session.add(VaultKey(key_id=key_id, check_value=check_value(key)))
        elif not hmac.compare_digest(known[key_id].check_value, check_value(key)):
            raise WrongKey(f"The key {key_id} is not the one this database was written with.")


def remember_new_ring(session: Session, ring: KeyRing) -> None:
    """Let a database continue with a ring that has none of its keys: the operator said that they are lost."""
    for key in ring.keys:
        session.add(VaultKey(key_id=key.key_id, check_value=check_value(key)))


def check_value(key: DataKey) -> str:
    """Return what identifies a key without giving it away."""
    return hmac.digest(key.material, CHECK_TEXT, "sha256").hex()
