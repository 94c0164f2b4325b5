"""How migrations write the portal's column types."""

from __future__ import annotations

from typing import Any, Literal

from sqlmodel.sql.sqltypes import AutoString

from portal.db import BigId, UTCDateTime


def render_item(kind: str, item: Any, _autogen: object) -> str | Literal[False]:
    """Return a column type as what it stores: a migration is self-contained, and stays true when our types change."""
    if kind != "type":
        return False
    if isinstance(item, UTCDateTime):
        return "sa.DateTime(timezone=True)"
    if isinstance(item, BigId):
        return 'sa.BigInteger().with_variant(sa.Integer(), "sqlite")'
    return f"sa.String({item.length or ''})" if isinstance(item, AutoString) else False
