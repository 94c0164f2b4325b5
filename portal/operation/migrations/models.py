"""Every table of the portal, for Alembic and for nothing else: importing this fills SQLModel's metadata."""

from __future__ import annotations

from importlib import import_module

from sqlalchemy import MetaData
from sqlmodel import SQLModel

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
