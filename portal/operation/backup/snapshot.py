"""Describe a database at one moment: what a manifest says about it, and what a restore compares."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import MetaData, Table, func, inspect, select, text
from sqlalchemy.engine import Connection

from portal.vault.rotation import count_by_key

# Where the engine of the jobs keeps its tables on PostgreSQL.
SCHEMAS = (None, "dbos")


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


def read_contents(connection: Connection) -> Contents:
    """Read it all through one connection; in a transaction that sees one moment, it is consistent."""
    number, last = connection.execute(text("SELECT number, hash FROM audit_head")).one()
    counts = count_by_key(connection)
    return Contents(
        revision=connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one(),
        epoch=connection.execute(text("SELECT epoch FROM instance")).scalar() or "",
        key_ids=tuple(sorted({key_id for counter in counts.values() for key_id in counter if key_id})),
        rows=_count_rows(connection),
        audit_number=number,
        audit_hash=last,
    )


def _count_rows(connection: Connection) -> dict[str, int]:
    looking = inspect(connection)
    present = looking.get_schema_names()
    rows = {}
    for schema in SCHEMAS:
        if schema is None or schema in present:
            for name in sorted(looking.get_table_names(schema=schema)):
                table = Table(name, MetaData(), schema=schema)
                rows[table.fullname] = connection.execute(select(func.count()).select_from(table)).scalar_one()
    return rows
