"""Seal and open: AES-256-GCM, each ciphertext bound to its table, row, column and, where there is one, origin.

Envelope: format version (1 byte) · length of the key id (1 byte) · key id · nonce (12 bytes) · ciphertext with tag.
"""

from __future__ import annotations

import hmac
import json
import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from portal.vault.keyring import DataKey, KeyRing, derive
from portal.vault.secret import Secret

FORMAT = 1
NONCE_BYTES = 12
TAG_BYTES = 16
FINGERPRINT_LENGTH = 16


class SecretUnreadable(Exception):
    """A ciphertext cannot be opened: damaged, moved, sealed for another origin, or its key is gone."""


@dataclass(frozen=True)
class Place:
    """Where a secret is stored; a ciphertext copied to another place cannot be opened there (S27)."""

    table: str
    row_id: int
    column: str


class Vault:
    """Seals with the ring's newest key, opens with any of its keys. May be used from several threads."""

    def __init__(self, ring: KeyRing) -> None:
        self.ring = ring

    def seal(self, secret: Secret, place: Place, origin: str = "") -> bytes:
        """Return the envelope of a secret for one place, bound to the origin it was entered for (S32)."""
        key = self.ring.newest
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = AESGCM(key.material).encrypt(nonce, secret.reveal().encode(), _binding(place, origin))
        key_id = key.key_id.encode()
        return bytes([FORMAT, len(key_id)]) + key_id + nonce + sealed

    def open(self, sealed: bytes, place: Place, origin: str = "") -> Secret:
        """Return the secret of an envelope.

        Raises:
            SecretUnreadable: damaged, moved, sealed for another origin, or sealed with a key the ring lacks.
        """
        key, nonce, ciphertext = self._split(sealed)
        try:
            return Secret(AESGCM(key.material).decrypt(nonce, ciphertext, _binding(place, origin)).decode())
        except (InvalidTag, UnicodeDecodeError):
            raise SecretUnreadable(f"{place.table}.{place.column} of row {place.row_id} cannot be opened") from None

    def fingerprint(self, secret: Secret) -> str:
        """Return 16 hex characters that tell two secrets apart and give neither away."""
        key = self.derive_key("fingerprint")
        return hmac.digest(key, secret.reveal().encode(), "sha256").hex()[:FINGERPRINT_LENGTH]

    @property
    def audit_key(self) -> bytes:
        """32 bytes that no rotation changes: what chains the audit log."""
        return self.ring.audit_key

    def derive_key(self, label: str) -> bytes:
        """Return 32 bytes for another purpose (signing cookies): independent of the data keys (S30)."""
        return derive(self.ring.newest.material, label)

    def derive_fallback_keys(self, label: str) -> list[bytes]:
        """Return the same for the ring's older keys: they still verify, the newest signs."""
        return [derive(key.material, label) for key in map(self.ring.get, self.ring.key_ids[1:]) if key]

    def _split(self, sealed: bytes) -> tuple[DataKey, bytes, bytes]:
        if len(sealed) < 2 or sealed[0] != FORMAT:
            raise SecretUnreadable("this is no envelope of the vault")
        end = 2 + sealed[1]
        if len(sealed) < end + NONCE_BYTES + TAG_BYTES:
            raise SecretUnreadable("this envelope of the vault is cut off")
        key = self.ring.get(sealed[2:end].decode("ascii", "replace"))
        if key is None:
            raise SecretUnreadable("the key ring lacks the key this was sealed with")
        return key, sealed[end : end + NONCE_BYTES], sealed[end + NONCE_BYTES :]


def _binding(place: Place, origin: str) -> bytes:
    # JSON keeps the parts apart: ("a", "bc") and ("ab", "c") must not be the same.
    return json.dumps([FORMAT, place.table, place.row_id, place.column, origin]).encode()
