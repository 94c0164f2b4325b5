"""Find the repositories that are gone by an index: they are few, and pages ask for them."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    gone = sa.text("missing_since IS NOT NULL")
    op.create_index(
        "ix_repository_missing",
        "repository",
        ["connection_id", "path_with_namespace"],
        sqlite_where=gone,
        postgresql_where=gone,
    )
