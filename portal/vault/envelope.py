"""The form of a ciphertext.

format version (1 byte) · length of the key id (1 byte) · key id · nonce (12 bytes) · ciphertext with tag
"""

from __future__ import annotations

from dataclasses import dataclass

FORMAT = 1
NONCE_BYTES = 12
TAG_BYTES = 16


class SecretUnreadable(Exception):
    """A ciphertext cannot be opened: damaged, moved, sealed for another origin, or its key is gone."""


@dataclass(frozen=True)
class Envelope:
    """The parts of a ciphertext."""

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
