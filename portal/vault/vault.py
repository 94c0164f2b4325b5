"""Seal and open: AES-256-GCM, each ciphertext bound to its table, row, column and origin, if it has one."""

from __future__ import annotations

import hmac
import json
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from portal.errors import Layer
from portal.redaction import register
from portal.vault.keyfile import WatchedRing
from portal.vault.keyring import KeyRing, derive
from portal.vault.secret import Secret

FORMAT = 1
NONCE_BYTES = 12
TAG_BYTES = 16
FINGERPRINT_LENGTH = 16
log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


class SecretUnreadable(Exception):
    """A ciphertext cannot be opened: damaged, moved, sealed for another origin, or its key is gone."""


@dataclass(frozen=True)
class Place:
    """Where a secret is stored; a ciphertext copied to another place cannot be opened there (S27)."""

    table: str
    row_id: int
    column: str


@dataclass(frozen=True)
class Envelope:
    """The parts of a ciphertext. As bytes: format version (1), length of the key id (1), key id, nonce (12), ciphertext
    with its tag.
    """

    key_id: str
    nonce: bytes
    ciphertext: bytes

    def to_bytes(self) -> bytes:
        """Return what is stored."""
        key_id = self.key_id.encode()
        return bytes([FORMAT, len(key_id)]) + key_id + self.nonce + self.ciphertext

    @classmethod
    def from_bytes(cls, sealed: bytes) -> Envelope:
        """Read what `to_bytes` wrote.

        Raises:
            SecretUnreadable: it is something else, or truncated.
        """
        if len(sealed) < 2 or sealed[0] != FORMAT:
            raise SecretUnreadable("this is no envelope of the vault")
        end = 2 + sealed[1]
        if len(sealed) < end + NONCE_BYTES + TAG_BYTES:
            raise SecretUnreadable("this envelope of the vault is cut off")
        key_id = sealed[2:end].decode("ascii", "replace")
        return cls(key_id, sealed[end : end + NONCE_BYTES], sealed[end + NONCE_BYTES :])


def key_id_of(sealed: bytes) -> str:
    """Return the id of the key that sealed this; empty if it is damaged."""
    try:
        return Envelope.from_bytes(sealed).key_id
    except SecretUnreadable:
        return ""


class Vault:
    """Seals with the ring's newest key, opens with any of its keys. May be used from several threads."""

    def __init__(self, ring: KeyRing, key_file: Path | None = None) -> None:
        self._watched = WatchedRing(ring, key_file)

    @property
    def ring(self) -> KeyRing:
        """The current ring; a rotation changes it while this process runs."""
        return self._watched.current()

    def seal(self, secret: Secret, place: Place, origin: str = "") -> bytes:
        """Return the envelope of a secret for one place, bound to the origin it was entered for (S32)."""
        return self._encrypt(secret.reveal().encode(), place, origin)

    def open(self, sealed: bytes, place: Place, origin: str = "") -> Secret:
        """Return the secret of an envelope.

        Raises:
            SecretUnreadable: damaged, moved, sealed for another origin, or sealed with a key the ring lacks.
        """
        try:
            return Secret(self._decrypt(sealed, place, origin).decode())
        except UnicodeDecodeError:
            raise _unreadable(place) from None

    def recall(self, sealed: bytes, place: Place, origin: str = "") -> None:
        """Redact a stored secret from texts; one that cannot be opened is ignored, because no one needs it here."""
        with suppress(SecretUnreadable, UnicodeDecodeError):
            register(self._open_envelope(sealed, place, origin).decode())

    def seal_again(self, sealed: bytes, place: Place, origin: str = "") -> bytes:
        """Return the envelope of the same secret under the newest key; the secret is in no registry and no object.

        Raises:
            SecretUnreadable: as `open` raises it.
        """
        return self._encrypt(self._decrypt(sealed, place, origin), place, origin)

    def fingerprint(self, secret: Secret) -> str:
        """Return 16 hex characters that distinguish two secrets and reveal neither."""
        key = self.derive_stable_key("fingerprint")
        return hmac.digest(key, secret.reveal().encode(), "sha256").hex()[:FINGERPRINT_LENGTH]

    @property
    def audit_key(self) -> bytes:
        """32 bytes that no rotation changes, for chaining the audit log."""
        return self.ring.audit_key

    def derive_key(self, label: str) -> bytes:
        """Return 32 bytes for signing (cookies, forms): independent of the data keys, and rotated with them (S30)."""
        return derive(self.ring.newest.material, label)

    def derive_fallback_keys(self, label: str) -> list[bytes]:
        """Return the same for the ring's older keys: they still verify, the newest signs."""
        return [derive(key.material, label) for key in self.ring.keys[1:]]

    def derive_stable_key(self, label: str) -> bytes:
        """Return 32 bytes for keyed hashes that are looked up again after a rotation."""
        return derive(self.ring.audit_key, label)

    def _encrypt(self, text: bytes, place: Place, origin: str) -> bytes:
        key = self.ring.newest
        nonce = secrets.token_bytes(NONCE_BYTES)
        return Envelope(
            key.key_id, nonce, AESGCM(key.material).encrypt(nonce, text, _binding(place, origin))
        ).to_bytes()

    def _decrypt(self, sealed: bytes, place: Place, origin: str) -> bytes:
        try:
            return self._open_envelope(sealed, place, origin)
        except SecretUnreadable as error:
            # A key that is gone, or a database that someone tampered with.
            where = {"table": place.table, "row": place.row_id, "column": place.column}
            log.warning("security_event", kind="secret_unreadable", layer=Layer.PORTAL, reason=str(error), **where)
            raise

    def _open_envelope(self, sealed: bytes, place: Place, origin: str) -> bytes:
        envelope = Envelope.from_bytes(sealed)
        key = self.ring.get(envelope.key_id) or self._watched.read_again().get(envelope.key_id)
        if key is None:
            raise SecretUnreadable("the key ring lacks the key this was sealed with")
        try:
            return AESGCM(key.material).decrypt(envelope.nonce, envelope.ciphertext, _binding(place, origin))
        except InvalidTag:
            raise _unreadable(place) from None


def _unreadable(place: Place) -> SecretUnreadable:
    return SecretUnreadable(f"{place.table}.{place.column} of row {place.row_id} cannot be opened")


def _binding(place: Place, origin: str) -> bytes:
    # JSON keeps the parts apart: ("a", "bc") and ("ab", "c") must not be the same.
    return json.dumps([FORMAT, place.table, place.row_id, place.column, origin]).encode()
