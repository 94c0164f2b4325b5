"""Find the next delivery of each hook that waits by an index."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    waiting = sa.text("verdict = 'waiting'")
    op.create_index(
        "ix_delivery_turn", "delivery", ["hook_id", "id"], sqlite_where=waiting, postgresql_where=waiting
    )
