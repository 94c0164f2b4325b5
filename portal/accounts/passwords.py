"""Passwords: argon2id, a length check before any hashing, and none of those that attackers try first (S7)."""

from __future__ import annotations

import threading
from collections.abc import Collection
from functools import cache
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_LENGTH = 8
SUGGESTED_LENGTH = 15
MAX_LENGTH = 1024
# Each hash takes 64 MiB for a fifth of a second: without a bound, parallel sign-ins would eat the machine.
PARALLEL_HASHES = 2

_hasher = PasswordHasher()
_slots = threading.BoundedSemaphore(PARALLEL_HASHES)


class PasswordRefused(ValueError):
    """A new password cannot be accepted; the text says why."""


def hash_password(password: str, own_words: Collection[str] = ()) -> str:
    """Return the hash of a new password.

    Args:
        password: as typed; nothing is truncated or stripped.
        own_words: the person's name and address, which must not be the password.

    Raises:
        PasswordRefused: too short, too long, or too easily guessed.
    """
    if len(password) < MIN_LENGTH:
        raise PasswordRefused(f"Use at least {MIN_LENGTH} characters, better {SUGGESTED_LENGTH} or more.")
    if len(password) > MAX_LENGTH:
        raise PasswordRefused(f"Use at most {MAX_LENGTH} characters.")
    if password.lower() in common_passwords():
        raise PasswordRefused("Attackers try that password first. Three unusual words in a row are better.")
    if password.lower() in {word.lower() for word in own_words}:
        raise PasswordRefused("Your name and your address are the first passwords that others would try.")
    with _slots:
        return _hasher.hash(password)


def verify_password(password: str, password_hash: str | None) -> bool:
    """Return whether a password matches. Without a hash it takes as long as with a wrong password (S6)."""
    if len(password) > MAX_LENGTH:
        return False
    with _slots:
        try:
            return _hasher.verify(password_hash or _decoy(), password) and password_hash is not None
        except (VerificationError, InvalidHashError):
            return False


@cache
def common_passwords() -> frozenset[str]:
    """Return the passwords that lists of leaks begin with, in lower case."""
    text = (Path(__file__).parent / "common_passwords.txt").read_text()
    return frozenset(line.strip() for line in text.splitlines() if line.strip())


@cache
def _decoy() -> str:
    return _hasher.hash("no one has this password")
