"""Encryption at rest: the only place where secrets are stored, and their type in memory."""

from portal.vault.columns import sealed_field
from portal.vault.keyring import KeyRing, KeyRingError
from portal.vault.ring_check import WrongKey, verify_ring
from portal.vault.secret import Secret
from portal.vault.vault import Place, SecretUnreadable, Vault

__all__ = [
    "KeyRing",
    "KeyRingError",
    "Place",
    "Secret",
    "SecretUnreadable",
    "Vault",
    "WrongKey",
    "sealed_field",
    "verify_ring",
]
