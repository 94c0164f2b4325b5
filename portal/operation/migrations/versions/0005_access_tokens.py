"""Keep access tokens, their rotation and the warnings about their end."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Not as a batch: SQLite would rebuild the tables, and delete what refers to their rows.
    op.add_column("credential", sa.Column("token_details", sa.JSON(), nullable=True))
    op.add_column("credential", sa.Column("is_rotated", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("incident", sa.Column("warned_days", sa.Integer(), nullable=True))
