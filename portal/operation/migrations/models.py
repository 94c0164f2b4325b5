"""What only Alembic asks: every table of the portal, and how a migration writes our column types."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal

from sqlalchemy import MetaData
from sqlmodel import SQLModel
from sqlmodel.sql.sqltypes import AutoString

from portal.db import BigId, UTCDateTime

WITH_TABLES = (
    "vault",
    "installation",
    "accounts",
    "audit",
    "jobs",
    "connections",
    "credentials",
    "authorization",
    "repositories",
    "disconnection",
    "health",
)


def load_metadata() -> MetaData:
    """Import every capability's tables and return the metadata they registered in."""
    for capability in WITH_TABLES:
        import_module(f"portal.{capability}.models")
    return SQLModel.metadata


def render_item(kind: str, item: Any, _autogen: object) -> str | Literal[False]:
    """Return a column type as what it stores: a migration stands on its own, and stays true when our types change."""
    if kind != "type":
        return False
    if isinstance(item, UTCDateTime):
        return "sa.DateTime(timezone=True)"
    if isinstance(item, BigId):
        return 'sa.BigInteger().with_variant(sa.Integer(), "sqlite")'
    return f"sa.String({item.length or ''})" if isinstance(item, AutoString) else False
