"""The file that says what a backup holds, sealed with the key ring: a changed backup cannot be made to match it."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portal.operation.backup.errors import BackupRefused
from portal.operation.backup.snapshot import Contents
from portal.vault import Vault

NAME = "manifest.json"
FORMAT = 1
LABEL = "backup manifest"
MAX_BYTES = 1_000_000
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Manifest:
    """What a backup holds. `files` maps a name to its SHA-256 in hex; `made_at` is ISO 8601 in UTC."""

    made_at: str
    database: str
    contents: Contents
    files: dict[str, str]

    def write(self, folder: Path, vault: Vault) -> None:
        """Write it into the backup's folder."""
        data = {
            "format": FORMAT,
            "made_at": self.made_at,
            "database": self.database,
            "contents": self.contents.to_json(),
            "files": self.files,
        }
        text = json.dumps({**data, "seal": _seal(data, vault)}, indent=1)
        (folder / NAME).write_text(text)

    @classmethod
    def read(cls, folder: Path, vault: Vault) -> Manifest:
        """Read and check the manifest of a backup.

        Raises:
            BackupRefused: there is no manifest, another key ring sealed it, or it was changed.
        """
        data = _load(folder / NAME)
        seal = str(data.pop("seal", ""))
        if not hmac.compare_digest(seal.encode(), _seal(data, vault).encode()):
            raise BackupRefused("The manifest was changed, or the backup belongs to a different key ring.")
        if data["format"] != FORMAT:
            raise BackupRefused("This backup was made by a different version of the portal.")
        contents = Contents.from_json(data["contents"])
        return cls(data["made_at"], data["database"], contents, data["files"])

    def check_files(self, folder: Path) -> None:
        """Compare every file with its hash.

        Raises:
            BackupRefused: one is missing or was changed.
        """
        for name, expected in self.files.items():
            if not (folder / name).is_file():
                raise BackupRefused(f"The backup's file {name} is missing.")
            if hash_of(folder / name) != expected:
                raise BackupRefused(f"The backup's file {name} is not as it was written.")


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _load(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError
        data = json.loads(path.read_text())
        return dict(data)
    except OSError as error:
        raise BackupRefused(f"There is no backup here: {path} cannot be read ({error.strerror}).") from None
    except (ValueError, TypeError, RecursionError):
        raise BackupRefused(f"{path} is no manifest of a backup.") from None


def _seal(data: dict[str, Any], vault: Vault) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hmac.digest(vault.derive_stable_key(LABEL), text.encode(), "sha256").hex()
