"""Keep when enabled repositories were reviewed, how often that is due, and what people were mailed about requests."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("enablement", sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("enablement", sa.Column("reviewed_by_user_id", BIG, nullable=True))
    op.create_table(
        "request_news",
        sa.Column("membership_id", BIG, nullable=False),
        sa.Column("told_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("mailed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["membership_id"], ["membership.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("membership_id"),
    )
    op.create_table(
        "review_schedule",
        sa.Column("organization_id", BIG, nullable=False),
        sa.Column("every_months", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organization.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("organization_id"),
    )
