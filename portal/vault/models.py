"""What the database remembers about the keys: not the keys, but enough to notice a wrong one."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Field, SQLModel

from portal.db import UTCDateTime, utc_now


class VaultKey(SQLModel, table=True):
    """A key that sealed something in this database; `check_value` is a known text sealed with it."""

    __tablename__ = "vault_key"

    key_id: str = Field(primary_key=True, max_length=16)
    check_value: str = Field(max_length=64)
    created_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
