"""Alembic's entry point: runs on the connection that `portal.operation.migrations.upgrade` passes."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

from portal.operation.migrations.types import render_item

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_item=render_item,
    render_as_batch=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
