"""The key ring: data-encryption keys with ids, from a file or the environment, never from the database (S28)."""

from __future__ import annotations

import base64
import json
import os
import secrets
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from portal.durable import sync

KEY_BYTES = 32
KEYS_VARIABLE = "GATEHOUSE_KEYS"
FORMAT_VERSION = 1


class KeyRingError(Exception):
    """The key ring is missing, readable by others or malformed; the text is one clear line."""


@dataclass(frozen=True, repr=False)
class DataKey:
    """One AES-256 key; `key_id` is in every envelope it sealed. `created_at` is ISO 8601; empty if unknown."""

    key_id: str
    material: bytes
    created_at: str = ""


class KeyRing:
    """Keys in order: the first seals, all of them open. Beside them one for the audit log, which never changes."""

    def __init__(self, keys: list[DataKey], audit: bytes | None = None) -> None:
        if not keys:
            raise KeyRingError("The key ring holds no key.")
        self._keys = {key.key_id: key for key in keys}
        if len(self._keys) != len(keys):
            raise KeyRingError("Two keys of the key ring have the same id.")
        self.newest = keys[0]
        self.has_own_audit_key = audit is not None
        # From the oldest key if the ring has none: every process gets the same one, whichever records it first.
        self.audit_key = audit or derive(keys[-1].material, "audit")

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self._keys)})"

    @property
    def keys(self) -> list[DataKey]:
        """All keys, the sealing one first."""
        return list(self._keys.values())

    @property
    def key_ids(self) -> list[str]:
        """Ids of all keys, the sealing one first."""
        return list(self._keys)

    def get(self, key_id: str) -> DataKey | None:
        """Return a key by id."""
        return self._keys.get(key_id)

    @staticmethod
    def is_configured(path: Path) -> bool:
        """Return whether there is a key ring to read, in the environment or at `path`."""
        return is_in_environment() or path.exists()

    @classmethod
    def from_settings(cls, path: Path) -> KeyRing:
        """Read the ring from the environment variable `GATEHOUSE_KEYS` if set, otherwise from the file."""
        text = os.environ.get(KEYS_VARIABLE)
        return cls.from_text(text, KEYS_VARIABLE) if text else cls.from_file(path)

    @classmethod
    def from_file(cls, path: Path) -> KeyRing:
        """Read a key file that only its owner may read.

        Raises:
            KeyRingError: missing, open to others, or malformed.
        """
        try:
            mode = path.stat().st_mode
            text = path.read_bytes().decode("utf-8", "replace")  # Binary content is not JSON either, reported below.
        except OSError as error:
            raise KeyRingError(f"The key file {path} cannot be read: {error.strerror}.") from None
        if stat.S_IMODE(mode) & 0o077:
            raise KeyRingError(f"The key file {path} may be read by others: set its mode to 0600.")
        return cls.from_text(text, str(path))

    @classmethod
    def from_text(cls, text: str, source: str) -> KeyRing:
        """Read the JSON form; `source` is named in errors.

        Raises:
            KeyRingError: it is malformed, or a key has the wrong length.
        """
        try:
            data = json.loads(text)
            audit = _read_material(data["audit"], source) if "audit" in data else None
            keys = []
            for item in data["keys"]:
                key_id = str(item["id"])
                if not key_id.isascii() or not key_id.isprintable() or not 0 < len(key_id) <= 16:
                    raise KeyRingError(f"A key id in {source} is not 1 to 16 printable ASCII characters.")
                keys.append(DataKey(key_id, _read_material(item["key"], source), str(item.get("created_at", ""))))
            return cls(keys, audit)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise KeyRingError(f"The key ring in {source} is not in the portal's format.") from None

    @classmethod
    def create_file(cls, path: Path) -> KeyRing:
        """Create a new ring with one random key in a file with mode 0600; never overwrites.

        Raises:
            KeyRingError: the file exists or cannot be written.
        """
        ring = cls.generate()
        ring.write_file(path)
        return ring

    @classmethod
    def generate(cls) -> KeyRing:
        """Return a ring with one random key and a random audit key, which are nowhere else yet."""
        return cls([new_key()], secrets.token_bytes(KEY_BYTES))

    def write_file(self, path: Path) -> None:
        """Write the ring into a new file with mode 0600.

        Raises:
            KeyRingError: the file exists or cannot be written.
        """
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise KeyRingError(f"The key file {path} cannot be created: {error.strerror}.") from None
        with os.fdopen(descriptor, "w") as file:
            file.write(self.to_text())
            file.flush()
            os.fsync(file.fileno())
        sync(path.parent)  # Otherwise a power cut may undo the new name, and with it every secret sealed since.

    def to_text(self) -> str:
        """Return the JSON form, keys included: for the key file and nothing else."""
        keys = [
            {"id": key.key_id, "key": _encode(key.material), "created_at": key.created_at}
            for key in self._keys.values()
        ]
        return json.dumps({"version": FORMAT_VERSION, "keys": keys, "audit": _encode(self.audit_key)}, indent=1)


def is_in_environment() -> bool:
    """Return whether the environment holds the ring; if so, the key file is not read."""
    return bool(os.environ.get(KEYS_VARIABLE))


def new_key() -> DataKey:
    """Return a random key under a random id."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return DataKey(f"k{secrets.token_hex(3)}", secrets.token_bytes(KEY_BYTES), now)


def derive(material: bytes, label: str) -> bytes:
    """Return 32 bytes for another purpose, from which the key cannot be derived (HKDF, RFC 5869)."""
    info = f"gatehouse {label}".encode()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(material)


def _encode(material: bytes) -> str:
    return base64.b64encode(material).decode()


def _read_material(text: str, source: str) -> bytes:
    material = base64.b64decode(text, validate=True)
    if len(material) != KEY_BYTES:
        raise KeyRingError(f"A key in {source} has {len(material)} bytes instead of {KEY_BYTES}.")
    return material
