"""A connection in full use, and helpers to see what happens to it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import select as rows_of
from sqlmodel import SQLModel, select

from portal.accounts.models import GroupGrant, Invitation, InvitedGroup
from portal.audit.models import AuditEvent
from portal.authorization.attempts import AuthorizationAttempt
from portal.connections.models import Connection
from portal.credentials.models import CredentialEvent, RetiredToken
from portal.credentials.revocation import REVOKE_RETIRED
from portal.db import utc_now
from portal.disconnection.erase import FOLLOW
from portal.disconnection.models import Disconnection
from portal.jobs import enqueue
from portal.jobs.models import Job
from portal.jobs.schedule import enqueue_due
from portal.jobs.testing import run_pending
from portal.repositories.catalogue.run import enqueue_catalogue_read
from portal.repositories.models import CatalogueRun, Enablement, GitLabGroup, Repository, recount
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.paired import Paired, pair
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import principal_of

REVOKE = "/oauth/revoke"
NAME = "Gitlab"
ADDRESS = "/connections/gitlab"
# In group A three repositories are enabled, in group B one, and C has none.
PATHS = ("a/one", "a/two", "a/deep/three", "b/four", "c/five")
ENABLED = 4
GROUP_NUMBER = 77


@dataclass
class World:
    """The connection, its sandbox, and who is who."""

    runtime: Runtime
    sandbox: RunningSandbox
    cast: Cast
    paired: Paired

    @property
    def connection_id(self) -> int:
        return self.paired.connection_id

    @property
    def is_revoked_at_gitlab(self) -> bool:
        return all(token.is_revoked for token in self.paired.issued)

    def disconnect(self, visitor: Visitor, choice: str = "keep", confirmation: str = NAME) -> Any:
        return visitor.post(f"{ADDRESS}/disconnect", {"choice": choice, "confirmation": confirmation})

    def run(self) -> None:
        """Run everything that is queued."""
        run_pending(self.runtime)

    def run_periodic(self) -> None:
        """Run every periodic job the portal has, as after a long pause."""
        enqueue_due(self.runtime)
        run_pending(self.runtime)

    def let_pauses_pass(self) -> None:
        """Make every pending revocation due, as well as the two periodic jobs that handle it."""
        with self.runtime.database.transaction() as session:
            for row in session.exec(select(RetiredToken)):
                row.next_try_at = utc_now() - timedelta(seconds=1)
            for name in (REVOKE_RETIRED, FOLLOW):
                enqueue(session, name, organization_id=None, title=name, key=f"every:{name}")

    def connection(self) -> Connection | None:
        with self.runtime.database.reading() as session:
            return session.get(Connection, self.connection_id)

    def retired(self) -> list[RetiredToken]:
        with self.runtime.database.reading() as session:
            return list(session.exec(select(RetiredToken).order_by(RetiredToken.id)))

    def desired(self) -> Disconnection | None:
        with self.runtime.database.reading() as session:
            return session.exec(select(Disconnection)).first()

    def actions(self) -> list[str]:
        with self.runtime.database.reading() as session:
            return [row.action for row in session.exec(select(AuditEvent).order_by(AuditEvent.number))]

    def jobs(self, name: str) -> list[Job]:
        with self.runtime.database.reading() as session:
            return list(session.exec(select(Job).where(Job.name == name).order_by(Job.id)))

    def count(self, table: type[SQLModel]) -> int:
        with self.runtime.database.reading() as session:
            return len(session.exec(select(table)).all())


def make_world(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> World:
    """Store it."""
    paired = pair(runtime, sandbox, cast.owner.organization_id)
    with runtime.database.transaction() as session:
        connection = session.get_one(Connection, paired.connection_id)
        run = CatalogueRun(connection_id=connection.id, complete=True)
        group = GitLabGroup(connection_id=connection.id, gitlab_group_id=GROUP_NUMBER, name="A", full_path="a")
        grant = GroupGrant(
            membership_id=cast.lead.membership_id, connection_id=connection.id, gitlab_group_id=GROUP_NUMBER
        )
        invitation = _invitation(cast.owner.organization_id)
        session.add(invitation)
        session.flush()
        invited = InvitedGroup(invitation_id=invitation.id, connection_id=connection.id, gitlab_group_id=GROUP_NUMBER)
        event = CredentialEvent(credential_id=paired.credential.id, kind="authorized", generation=1)
        session.add_all([run, group, grant, invited, event, _attempt(connection, cast.owner.user_id)])
        for number, path in enumerate(PATHS, start=1):
            repository = _repository(connection, number, path)
            session.add(repository)
            session.flush()
            if number <= ENABLED:
                session.add(Enablement(repository_id=repository.id, connection_id=connection.id))
        session.flush()
        recount(session, connection.id)
        enqueue_catalogue_read(session, connection, principal_of(runtime, cast.owner).actor)
    return World(runtime, sandbox, cast, paired)


def rows_of_connection(world: World) -> dict[str, int]:
    """Count the rows of every table that refers to the connection, by a column of that name or a foreign key."""
    found = {}
    with world.runtime.database.reading() as session:
        for table in SQLModel.metadata.sorted_tables:
            columns = [
                column
                for column in table.columns
                if column.name == "connection_id"
                or any(key.column.table.name == "connection" for key in column.foreign_keys)
            ]
            if table.name == "connection":
                columns = [table.c.id]
            for column in columns:
                found[table.name] = len(session.execute(rows_of(column).where(column == world.connection_id)).all())
    return found


def _repository(connection: Connection, number: int, path: str) -> Repository:
    return Repository(
        connection_id=connection.id,
        gitlab_project_id=number,
        name=path.rpartition("/")[2],
        path_with_namespace=path,
        namespace_path=path.rpartition("/")[0],
        access_level=40,
        search_text=path,
    )


def _invitation(organization_id: int) -> Invitation:
    return Invitation(
        organization_id=organization_id,
        token_hash=secrets.token_hex(8),
        email="invited@example.com",
        role="team_lead",
        created_at=utc_now(),
        expires_at=utc_now() + timedelta(days=1),
    )


def _attempt(connection: Connection, user_id: int) -> AuthorizationAttempt:
    return AuthorizationAttempt(
        public_id=secrets.token_hex(8),
        connection_id=connection.id,
        user_id=user_id,
        state_hash=secrets.token_hex(32),
        browser_hash=secrets.token_hex(32),
        expires_at=utc_now() + timedelta(minutes=10),
        row_version=1,
    )
