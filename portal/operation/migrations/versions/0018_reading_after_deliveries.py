"""Find the deliveries whose projects have to be read by an index."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    reading = sa.text("verdict = 'reading'")
    op.create_index(
        "ix_delivery_reading", "delivery", ["connection_id", "id"], sqlite_where=reading, postgresql_where=reading
    )
