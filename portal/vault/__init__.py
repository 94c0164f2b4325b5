"""Encryption at rest: the only place where secrets are stored, and the type they have in memory."""

from portal.vault.keyring import KeyRing, KeyRingError
from portal.vault.ring_check import WrongKey, verify_ring
from portal.vault.secret import Secret, redact
from portal.vault.vault import Place, SecretUnreadable, Vault

__all__ = [
    "KeyRing",
    "KeyRingError",
    "Place",
    "Secret",
    "SecretUnreadable",
    "Vault",
    "WrongKey",
    "redact",
    "verify_ring",
]
