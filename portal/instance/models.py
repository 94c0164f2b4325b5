"""One row about the database itself."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Field, SQLModel

from portal.db import BigId, UTCDateTime, utc_now


class Instance(SQLModel, table=True):
    """The life of this database. `restored_at` is set while it is a copy that nobody has confirmed."""

    __tablename__ = "instance"

    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False}, sa_type=BigId)
    # Another one after every restore: which line of token pairs this database goes on with.
    epoch: str = Field(max_length=32)
    # Where the database physically is: tells a copy from the original. Empty when the server does not say.
    place: str = Field(default="", max_length=100)
    made_at: datetime = Field(default_factory=utc_now, sa_type=UTCDateTime)
    restored_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    # When the backup was made that this was restored from; null for a copy that was made by other means.
    backup_made_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
    confirmed_at: datetime | None = Field(default=None, sa_type=UTCDateTime)
