"""The file that says what a backup holds, sealed with the key ring: a changed backup cannot be made to match it."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import MetaData, Table, func, inspect, select, text
from sqlalchemy.engine import Connection

from portal.vault import Vault
from portal.vault.rotation import count_by_key

NAME = "manifest.json"
FORMAT = 1
LABEL = "backup manifest"
MAX_BYTES = 1_000_000
_CHUNK = 1 << 20
# Where the engine of the jobs keeps its tables on PostgreSQL.
SCHEMAS = (None, "dbos")


class BackupRefused(Exception):
    """It cannot or must not be done; the text is one clear line, and nothing was changed."""


@dataclass(frozen=True)
class Contents:
    """What a database holds.

    Attributes:
        revision: of the schema.
        epoch: of the instance; empty before its first start.
        key_ids: of every key that something is sealed with.
        rows: per table; tables of another schema with its name in front.
        audit_number: of the newest audit event, and its hash.
    """

    revision: str
    epoch: str
    key_ids: tuple[str, ...]
    rows: dict[str, int]
    audit_number: int
    audit_hash: str

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {**asdict(self), "key_ids": list(self.key_ids)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Contents:
        """Read what `to_json` wrote."""
        return cls(**{**data, "key_ids": tuple(data["key_ids"])})


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
        (folder / NAME).write_text(json.dumps({**data, "seal": _seal(data, vault)}, indent=1))

    @classmethod
    def read(cls, folder: Path, vault: Vault) -> Manifest:
        """Read and check the manifest of a backup.

        Raises:
            BackupRefused: there is no manifest, another key ring sealed it, or it was changed.
        """
        path = folder / NAME
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ValueError
            data = dict(json.loads(path.read_text()))
        except OSError as error:
            raise BackupRefused(f"There is no backup here: {path} cannot be read ({error.strerror}).") from None
        except (ValueError, TypeError, RecursionError):
            raise BackupRefused(f"{path} is no manifest of a backup.") from None
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


def read_contents(connection: Connection) -> Contents:
    """Read it all through one connection; in a transaction that sees one moment, it is consistent."""
    number, last = connection.execute(text("SELECT number, hash FROM audit_head")).one()
    counts, looking, rows = count_by_key(connection), inspect(connection), {}
    for schema in {*SCHEMAS} & {None, *looking.get_schema_names()}:
        for name in looking.get_table_names(schema=schema):
            table = Table(name, MetaData(), schema=schema)
            rows[table.fullname] = connection.execute(select(func.count()).select_from(table)).scalar_one()
    return Contents(
        revision=connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one(),
        epoch=connection.execute(text("SELECT epoch FROM instance")).scalar() or "",
        key_ids=tuple(sorted({key_id for counter in counts.values() for key_id in counter if key_id})),
        rows=dict(sorted(rows.items())),
        audit_number=number,
        audit_hash=last,
    )


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _seal(data: dict[str, Any], vault: Vault) -> str:
    told = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hmac.digest(vault.derive_stable_key(LABEL), told.encode(), "sha256").hex()
