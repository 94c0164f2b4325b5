"""Count deliveries by hour, say what each was about, and let each say what its hook may report."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "delivery_count",
        sa.Column("id", big, nullable=False),
        sa.Column("connection_id", big, nullable=False),
        sa.Column("hook_id", big, nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["connection_id"], ["connection.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["hook_id"], ["hook.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("hook_id", "hour", "outcome"),
    )
    op.create_index("ix_delivery_count_hour", "delivery_count", ["connection_id", "hour"])
    op.add_column("delivery", sa.Column("level", sa.String(10), nullable=False, server_default=""))
    op.add_column("delivery", sa.Column("subject_id", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("delivery", sa.Column("copies", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("delivery", sa.Column("copied_at", sa.DateTime(timezone=True)))
    op.add_column("delivery", sa.Column("happening", sa.JSON()))
    op.add_column("delivery", sa.Column("occurrence", sa.String(64)))
    overlaps = sa.text("occurrence IS NOT NULL")
    op.create_index(
        "ix_delivery_occurrence",
        "delivery",
        ["connection_id", "occurrence"],
        sqlite_where=overlaps,
        postgresql_where=overlaps,
    )
    # Those that wait are applied with what their hooks may report; of the others no one asks.
    op.execute(
        "UPDATE delivery SET level = (SELECT level FROM hook WHERE hook.id = hook_id), "
        "subject_id = (SELECT subject_id FROM hook WHERE hook.id = hook_id) "
        "WHERE verdict = 'waiting' AND hook_id IS NOT NULL"
    )
