"""The key ring of a running process: it follows the key file, so that a rotation needs no restart."""

from __future__ import annotations

import hmac
import logging
from pathlib import Path

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
        seen = _signature(self._path)
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
        if _is_successor(self._ring, ring):
            self._ring = ring
        else:
            log.warning("key_file_not_read_again: it is not a later state of the ring this process began with")


def _is_successor(before: KeyRing, after: KeyRing) -> bool:
    # A wrong file mounted over the right one must not be sealed with: the start would have refused it.
    same = set(before.key_ids) & set(after.key_ids)
    return hmac.compare_digest(before.audit_key, after.audit_key) and all(
        hmac.compare_digest(_material(before, key_id), _material(after, key_id)) for key_id in same
    )


def _material(ring: KeyRing, key_id: str) -> bytes:
    key = ring.get(key_id)
    return key.material if key else b""


def _signature(path: Path | None) -> _Signature | None:
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_ino, status.st_size) if status else None
