"""One row about the database itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel

from portal.db import BigId, UTCDateTime, utc_now


class Instance(SQLModel, table=True):
    """The life of this database. `restored_at` is set while it is a copy that no one has confirmed.

    A migration that makes PostgreSQL rewrite this table has to set `written_by` as `service.py` does.
    """

    __tablename__ = "instance"

    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False}, sa_type=BigId)
    # A new one after every restore: which line of token pairs this database continues.
    epoch: str = Field(max_length=32)
    # The lives before this one, oldest first: another machine's witness may still be about one of them.
    former_epochs: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    # Where the database is, by name of the sign: distinguishes a copy from the original.
    signs: dict[str, str] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))
    # How the server is reached: several machines may use several names for it. Empty on SQLite.
    addresses: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    # The transaction that wrote this row, on PostgreSQL: a row that was loaded from a dump was written by another one.
    written_by: str = Field(default="", max_length=20)
    # Whether a witness was ever written. On SQLite one must then be there.
    has_witness: bool = Field(default=False)
    made_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    restored_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # Which signs of a copy were seen, as JSON: see `portal.installation.findings`.
    seen: list[dict[str, Any]] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    # When the backup was made that this was restored from; null for a copy that was made by other means.
    backup_made_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    confirmed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
