"""Change the key file in one step: a process that reads it at any time finds either the old ring or the new one."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from portal.durable import sync
from portal.vault.keyring import KeyRing, KeyRingError


def change_file(path: Path, change: Callable[[KeyRing], KeyRing]) -> KeyRing:
    """Replace the ring in a file with the result of `change`; return the new ring. One process at a time.

    Raises:
        KeyRingError: the file cannot be read or replaced; it is as before.
    """
    path = path.resolve()  # A link stays a link: what it points to is replaced.
    with _alone(path):
        before = KeyRing.from_file(path)
        after = change(before)
        if after is before:
            return before
        try:
            _replace(path, after.to_text())
        except OSError as error:
            raise KeyRingError(f"The key file {path} cannot be replaced: {error.strerror}.") from None
        return KeyRing.from_file(path)


def write_down_audit_key(path: Path) -> None:
    """Write the audit key that a ring without one derives from its oldest key into the file, so that it outlives that
    key.

    A file that cannot be replaced (mounted read-only) is left as it is: the key stays the same as long as its
    oldest key does.
    """
    if not KeyRing.from_file(path).has_own_audit_key:
        with suppress(KeyRingError):
            change_file(path, lambda ring: KeyRing([*ring.keys], ring.audit_key))


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise KeyRingError(f"The key file {path} cannot be read: {error.strerror}.") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _replace(path: Path, text: str) -> None:
    owner = path.stat()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            if (owner.st_uid, owner.st_gid) != (os.getuid(), os.getgid()):
                # Run by root: the portal's own user must still be able to read it.
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)  # Without it a power cut may bring back the old name.
