"""Resume reads, read what changed, and ask before many repositories are marked as gone."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("catalogue_run", sa.Column("kind", sa.String(10), nullable=False, server_default="complete"))
    op.add_column("catalogue_run", sa.Column("updated_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("catalogue_run", sa.Column("checkpoint", sa.LargeBinary(), nullable=True))
    op.add_column("catalogue_run", sa.Column("doubt", sa.String(10), nullable=False, server_default=""))
    op.add_column("catalogue_run", sa.Column("projects_unseen", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("repository", sa.Column("unseen_since", sa.DateTime(timezone=True), nullable=True))
