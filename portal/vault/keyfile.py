"""The key file: a running process follows it, so that a rotation needs no restart, and it is changed in one step.

A process that reads it at any time finds either the old ring or the new one.
"""

from __future__ import annotations

import fcntl
import hmac
import logging
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from portal.durable import sync
from portal.vault.keyring import KeyRing, KeyRingError

log = logging.getLogger(__name__)

_Signature = tuple[int, int, int]


class WatchedRing:
    """The ring, read again when its file was replaced. A ring from the environment stays the same until the restart."""

    def __init__(self, ring: KeyRing, path: Path | None = None) -> None:
        self._ring = ring
        self._path = path
        # The file may have been replaced since it was read: the first look reads it again.
        self._seen: _Signature | None = None

    def current(self) -> KeyRing:
        """Return the ring as its file has it now. Costs one check of the file's time."""
        try:
            status = self._path.stat() if self._path else None
        except OSError:
            status = None
        seen = (status.st_mtime_ns, status.st_ino, status.st_size) if status else None
        if seen is not None and seen != self._seen:
            self._seen = seen
            self._read()
        return self._ring

    def read_again(self) -> KeyRing:
        """Read the file even if its time looks the same: an envelope names a key that the ring lacks."""
        self._read()
        return self._ring

    def _read(self) -> None:
        if self._path is None:
            return
        try:
            ring = KeyRing.from_file(self._path)
        except KeyRingError as error:
            log.warning("key_file_not_read_again: %s", error)
            return
        before, same = self._ring, set(self._ring.key_ids) & set(ring.key_ids)
        # A wrong file mounted over the right one must not be sealed with: the start would have refused it.
        if hmac.compare_digest(before.audit_key, ring.audit_key) and all(
            hmac.compare_digest(_material(before, key_id), _material(ring, key_id)) for key_id in same
        ):
            self._ring = ring
        else:
            log.warning("key_file_not_read_again: it is not a later state of the ring this process began with")


def _material(ring: KeyRing, key_id: str) -> bytes:
    key = ring.get(key_id)
    return key.material if key else b""


def change_file(path: Path, change: Callable[[KeyRing], KeyRing]) -> KeyRing:
    """Replace the ring in a file with the result of `change`; return the new ring. One process at a time.

    Raises:
        KeyRingError: the file cannot be read or replaced; it is as before.
    """
    path = path.resolve()  # A link stays a link: what it points to is replaced.
    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise KeyRingError(f"The key file {path} cannot be read: {error.strerror}.") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        before = KeyRing.from_file(path)
        after = change(before)
        if after is before:
            return before
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            owner = path.stat()
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                if (owner.st_uid, owner.st_gid) != (os.getuid(), os.getgid()):
                    # Run by root: the portal's own user must still be able to read it.
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                file.write(after.to_text())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync(path.parent)  # Without it a power cut may bring back the old name.
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise KeyRingError(f"The key file {path} cannot be replaced: {error.strerror}.") from None
        return KeyRing.from_file(path)
    finally:
        os.close(folder)


def write_down_audit_key(path: Path) -> None:
    """Write the audit key that a ring without one derives from its oldest key into the file, so that it outlives that
    key.

    A file that cannot be replaced (mounted read-only) is left as it is: the key stays the same as long as its
    oldest key does.
    """
    if not KeyRing.from_file(path).has_own_audit_key:
        with suppress(KeyRingError):
            change_file(path, lambda ring: KeyRing([*ring.keys], ring.audit_key))
