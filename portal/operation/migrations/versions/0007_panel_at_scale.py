"""Keep counts for each namespace, and the lists of the selection panel in an index."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BLOCKED = sa.text("unavailable_reason != '' OR missing_since IS NOT NULL")
COUNT = """
INSERT INTO namespace (connection_id, path, total, enabled, blocked, enabled_blocked)
SELECT r.connection_id, r.namespace_path, count(*), count(e.id),
    sum(CASE WHEN r.unavailable_reason != '' OR r.missing_since IS NOT NULL THEN 1 ELSE 0 END),
    sum(CASE WHEN e.id IS NOT NULL AND (r.unavailable_reason != '' OR r.missing_since IS NOT NULL) THEN 1 ELSE 0 END)
FROM repository AS r LEFT JOIN enablement AS e ON e.repository_id = r.id
GROUP BY r.connection_id, r.namespace_path
"""
EMPTY_GROUPS = """
INSERT INTO namespace (connection_id, path, total, enabled, blocked, enabled_blocked)
SELECT DISTINCT g.connection_id, g.full_path, 0, 0, 0, 0 FROM gitlab_group AS g
WHERE NOT EXISTS (SELECT 1 FROM namespace AS n WHERE n.connection_id = g.connection_id AND n.path = g.full_path)
"""


def upgrade() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    path = sa.String(1000).with_variant(sa.String(1000, collation="C"), "postgresql")
    op.create_table(
        "namespace",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("connection_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("path", path, nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("enabled", sa.Integer(), nullable=False),
        sa.Column("blocked", sa.Integer(), nullable=False),
        sa.Column("enabled_blocked", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["connection_id"], ["connection.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("connection_id", "path"),
    )
    # Not as a batch: SQLite would rebuild the tables, and delete what refers to their rows. It orders by code point.
    op.add_column("catalogue_run", sa.Column("search_indexed", sa.Boolean(), nullable=False, server_default=sa.false()))
    if postgresql:
        op.alter_column("repository", "path_with_namespace", type_=sa.String(1000, collation="C"))
    op.create_index("ix_repository_path", "repository", ["path_with_namespace", "id"])
    op.create_index(
        "ix_repository_blocked",
        "repository",
        ["connection_id", "path_with_namespace", "id"],
        sqlite_where=BLOCKED,
        postgresql_where=BLOCKED,
    )
    op.execute(COUNT)
    op.execute(EMPTY_GROUPS)
