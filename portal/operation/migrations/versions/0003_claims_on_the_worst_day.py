"""Give every id 64 bits on PostgreSQL, GitLab's among them; SQLite's INTEGER has them already.

Credentials get the columns of their state machine, invitations the groups that come with them, and the steps of
drafts the names that the walkthrough has now. The database remembers where it is and how far it was, so that a copy
is told from its original.
"""

import json
import re

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# The columns that were INTEGER.
IDS: dict[str, tuple[str, ...]] = {
    "alarm_mail": ("id", "incident_id", "user_id"),
    "application": ("id", "connection_id"),
    "audit_event": ("number", "organization_id", "actor_user_id"),
    "audit_head": ("id", "number"),
    "audit_verification": ("id", "checked", "fault_number"),
    "authorization_attempt": ("id", "connection_id", "user_id"),
    "catalogue_run": ("id", "connection_id"),
    "connection": ("id", "organization_id", "created_by_user_id"),
    "credential": ("id", "connection_id", "gitlab_user_id", "authorized_by_user_id"),
    "credential_event": ("id", "credential_id"),
    "disconnection": ("id", "connection_id", "requested_by_user_id"),
    "enablement": ("id", "repository_id", "connection_id", "enabled_by_user_id"),
    "gitlab_group": ("id", "connection_id", "seen_in_run_id"),
    "group_grant": ("id", "membership_id", "connection_id", "granted_by_user_id"),
    "health_check": ("id", "connection_id"),
    "health_watch": ("connection_id",),
    "incident": ("id", "connection_id"),
    "instance": ("id",),
    "invitation": ("id", "organization_id", "invited_by_user_id"),
    "job": ("id", "organization_id", "requested_by_user_id"),
    "job_item": ("id", "job_id"),
    "membership": ("id", "organization_id", "user_id"),
    "organization": ("id",),
    "outbound_try": ("id", "organization_id"),
    "repository": ("id", "connection_id", "access_level"),
    "retired_token": ("id", "organization_id", "connection_id"),
    "session": ("id", "user_id", "organization_id"),
    "setup_token": ("id",),
    "sign_in_attempt": ("id",),
    "user": ("id",),
}


# Application ID and Secret were their own step; what a connection is used for was asked last.
STEPS = ("purpose", "instance", "application", "service-user", "authorize", "repositories")
FORMER_STEPS = {"method": "purpose", "credentials": "application"}


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        _widen_ids()
        for table, column in (("gitlab_group", "full_path"), ("repository", "namespace_path")):
            op.execute(f'ALTER TABLE {table} ALTER COLUMN {column} TYPE VARCHAR(1000) COLLATE "C"')
    _add_proof_of_revocation()
    _add_doubts()
    _name_steps()
    _know_copies()
    _add_findings_of_reads()
    _add_groups_of_invitations()
    _keep_ways()


def _add_groups_of_invitations() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "invited_group",
        sa.Column("id", big, primary_key=True),
        sa.Column("invitation_id", big, sa.ForeignKey("invitation.id", ondelete="CASCADE"), nullable=False),
        sa.Column("connection_id", big, nullable=False),
        sa.Column("gitlab_group_id", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("invitation_id", "connection_id", "gitlab_group_id"),
    )
    op.create_index("ix_invited_group_connection_id", "invited_group", ["connection_id"])


def _add_proof_of_revocation() -> None:
    op.add_column("retired_token", sa.Column("access_token_sealed", sa.LargeBinary(), nullable=True))
    op.add_column("retired_token", sa.Column("proof", sa.String(length=40), nullable=False, server_default=""))
    op.add_column("retired_token", sa.Column("refresh_sent_at", sa.DateTime(timezone=True), nullable=True))


def _add_doubts() -> None:
    for name in ("may_be_spent", "is_access_refused", "is_stateless"):
        op.add_column("credential", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    for name in ("refusals", "client_refusals"):
        op.add_column("credential", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    for name in ("refused_at", "client_refused_at"):
        op.add_column("credential", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.add_column("credential", sa.Column("lease_holder", sa.JSON(), nullable=True))
    # A request whose outcome no one knows.
    op.execute(sa.text("UPDATE credential SET may_be_spent = true WHERE intent_id <> ''"))


def _name_steps() -> None:
    connection = sa.table("connection", sa.column("id", sa.BigInteger), sa.column("steps_done", sa.JSON))
    bind = op.get_bind()
    for row_id, stored in bind.execute(sa.select(connection.c.id, connection.c.steps_done)).all():
        former = json.loads(stored) if isinstance(stored, str) else stored
        # The step "application" alone only said that the form in GitLab was filled in.
        named = {FORMER_STEPS.get(step, step) for step in former if step != "application"}
        done = [step for step in STEPS if step in named]
        bind.execute(connection.update().where(connection.c.id == row_id).values(steps_done=done))


def _add_findings_of_reads() -> None:
    op.add_column("catalogue_run", sa.Column("projects_counted", sa.Integer(), nullable=True))
    for name in ("projects_known", "projects_lost"):
        op.add_column("catalogue_run", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    op.add_column("catalogue_run", sa.Column("defects", sa.JSON(), nullable=False, server_default="[]"))


def _widen_ids() -> None:
    # PostgreSQL changes no column that a trigger's condition names.
    op.execute("DROP TRIGGER audit_head_only_grows ON audit_head")
    for table, columns in IDS.items():
        changes = ", ".join(f'ALTER COLUMN "{column}" TYPE BIGINT' for column in columns)
        op.execute(f'ALTER TABLE "{table}" {changes}')
    op.execute(
        """CREATE TRIGGER audit_head_only_grows BEFORE UPDATE ON audit_head
           FOR EACH ROW WHEN (NEW.number <= OLD.number) EXECUTE FUNCTION audit_refuse()"""
    )
    # What numbers the rows has its own type, which ends where INTEGER ends.
    for table in IDS:
        op.execute(f'ALTER SEQUENCE IF EXISTS "{table}_id_seq" AS BIGINT')


def _know_copies() -> None:
    op.add_column("instance", sa.Column("former_epochs", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("instance", sa.Column("signs", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("instance", sa.Column("addresses", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column(
        "instance",
        sa.Column("written_by", sqlmodel.sql.sqltypes.AutoString(length=20), nullable=False, server_default=""),
    )
    op.add_column("instance", sa.Column("has_witness", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("instance", sa.Column("seen", sa.JSON(), nullable=False, server_default="[]"))
    place = op.get_bind().execute(sa.text("SELECT place FROM instance")).scalar() or ""
    signs = {}
    if found := re.fullmatch(r"inode (\d+)", place):
        signs = {"inode": found[1]}
    elif found := re.fullmatch(r"server (\d+), database (\d+)", place):
        signs = {"server": found[1], "number": found[2]}
    op.get_bind().execute(
        sa.text("UPDATE instance SET signs = :signs").bindparams(sa.bindparam("signs", type_=sa.JSON())),
        {"signs": signs},
    )
    op.drop_column("instance", "place")


def _keep_ways() -> None:
    op.add_column("connection", sa.Column("authorized_via", sa.JSON(), nullable=True))
    names = ("external_url", "api_url", "ca_certificate", "proxy")
    connection = sa.table("connection", *map(sa.column, ("id", *names)), sa.column("authorized_via", sa.JSON))
    credential = sa.table("credential", sa.column("connection_id"), sa.column("origin"))
    bind = op.get_bind()
    joined = sa.select(credential.c.origin, connection).where(credential.c.connection_id == connection.c.id)
    for row in bind.execute(joined).mappings().all():
        # One that was moved since: how its pair was reached is not known any more.
        if f"{row['api_url']}/".startswith(f"{row['origin']}/"):
            way = {name: row[name] for name in names}
            bind.execute(connection.update().where(connection.c.id == row["id"]).values(authorized_via=way))
