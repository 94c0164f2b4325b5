"""Objects of an organization, stored directly: one of each kind that an address can name."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

from sqlmodel import Session, select

from portal import audit
from portal.accounts.models import Invitation, Membership, User
from portal.actor import SYSTEM
from portal.audit.models import AuditEvent
from portal.authorization.attempts import AuthorizationAttempt
from portal.connections.models import Application, Connection, ConnectionState, GitLabServer
from portal.connections.steps import Step
from portal.db import utc_now
from portal.jobs.models import Job
from portal.repositories.models import BulkChange, BulkItem, GitLabGroup, ItemResult, Repository, recount
from portal.runtime import Runtime
from portal.sync.models import Site
from portal.webhooks.models import Delivery, Hook, Verdict

# This address is refused at once, so that nothing waits for a network.
UNREACHABLE = "https://127.0.0.1"
MISSING = {
    "slug": "no-such-connection",
    "public_id": "no-such-attempt",
    "state": "no-such-state",
    "job": "no-such-job",
    "change": "no-such-change",
    "membership_id": "999999",
    "invitation_id": "999999",
    "repository": "999999",
    "hook": "999999",
    "delivery": "999999",
    "group": "999999",
    "audit_number": "999999",
    "server_id": "999999",
    "site": "no-such-site",
}


@dataclass(frozen=True)
class Objects:
    """The names that addresses have for them, and the ids of their rows."""

    slug: str
    public_id: str
    state: str
    job: str
    change: str
    membership_id: str
    invitation_id: str
    repository: str
    group: str
    hook: str
    delivery: str
    audit_number: str
    server_id: str
    site: str

    @property
    def names(self) -> dict[str, str]:
        """The placeholders of a path and their values."""
        return dict(vars(self))


def make_objects(runtime: Runtime, organization_id: int, user_id: int) -> Objects:
    """Store a finished connection with an attempt of one person, a job, a member and a repository."""
    mark = secrets.token_hex(4)
    with runtime.database.transaction() as session:
        server = GitLabServer(
            organization_id=organization_id, external_url=UNREACHABLE, api_url=UNREACHABLE, origin=UNREACHABLE
        )
        session.add(server)
        session.flush()
        connection = Connection(
            organization_id=organization_id,
            server_id=server.id,
            slug=f"gitlab-{mark}",
            display_name=f"GitLab {mark}",
            state=ConnectionState.CONNECTED,
            external_url=UNREACHABLE,
            api_url=UNREACHABLE,
            service_username="gatehouse",
            steps_done=list(Step),
            authorized_at=utc_now(),
        )
        person = User(email=f"{mark}@example.com", name=f"Person {mark}")
        job = Job(organization_id=organization_id, name="test.nothing", title=f"Job {mark}", lane="test")
        change = Job(
            organization_id=organization_id,
            name="test.nothing",
            title=f"Change {mark}",
            lane="test",
            finished_at=utc_now(),
        )
        session.add_all([connection, person, job, change])
        session.flush()
        member = Membership(organization_id=organization_id, user_id=person.id, role="team_lead")
        repository = Repository(
            connection_id=connection.id,
            gitlab_project_id=1,
            name=f"repo-{mark}",
            path_with_namespace=f"group/repo-{mark}",
            namespace_path="group",
            access_level=40,
            search_text=f"group/repo-{mark}",
        )
        group = GitLabGroup(connection_id=connection.id, gitlab_group_id=1, name=mark, full_path=f"group-{mark}")
        application = Application(
            connection_id=connection.id, client_id="client", client_secret_sealed=b"sealed", origin=UNREACHABLE
        )
        attempt = _attempt(connection, user_id, mark)
        invitation = Invitation(
            organization_id=organization_id,
            token_hash=secrets.token_hex(32),
            email=f"invited-{mark}@example.com",
            role="auditor",
            invited_by_user_id=user_id,
            created_at=utc_now(),
            expires_at=utc_now() + timedelta(days=1),
        )
        session.add_all([member, repository, group, application, attempt, invitation])
        session.flush()
        hook = Hook(connection_id=connection.id, subject_id=1, repository_id=repository.id)
        session.add(hook)
        session.flush()
        about = {"connection_id": connection.id, "hook_id": hook.id, "verified_by": "token"}
        delivery = Delivery(key=mark, verdict=Verdict.APPLIED, **about)
        session.add(delivery)
        session.flush()
        recount(session, connection.id)
        bulk = BulkChange(
            job_id=change.id,
            organization_id=organization_id,
            connection_id=connection.id,
            user_id=user_id,
            enabled=True,
        )
        session.add(bulk)
        session.flush()
        session.add(BulkItem(bulk_id=bulk.id, repository_id=repository.id, result=ItemResult.CHANGED))
        site = Site(organization_id=organization_id, slug=f"site-{mark}", name=mark, name_key=mark)
        session.add(site)
        _record(session, organization_id, mark)
    ids = (str(row.id) for row in (member, invitation, repository, group, hook, delivery))
    last = (_number_of(runtime, mark), str(server.id), site.slug)
    jobs = (job.public_id, change.public_id)
    return Objects(connection.slug, attempt.public_id, state_of(mark), *jobs, *ids, *last)  # type: ignore[call-arg]


def state_of(mark: str) -> str:
    """Return the `state` of the attempt that was made with a mark."""
    return f"state-of-{mark}"


def _record(session: Session, organization_id: int, mark: str) -> None:
    audit.record(session, SYSTEM, "test.made", audit.Target(organization_id, "test", mark))


def _number_of(runtime: Runtime, mark: str) -> str:
    with runtime.database.reading() as session:
        return str(session.exec(select(AuditEvent.number).where(AuditEvent.object_id == mark)).one())


def _attempt(connection: Connection, user_id: int, mark: str) -> AuthorizationAttempt:
    return AuthorizationAttempt(
        public_id=f"attempt-{mark}",
        connection_id=connection.id,
        user_id=user_id,
        state_hash=hashlib.sha256(state_of(mark).encode()).hexdigest(),
        browser_hash=secrets.token_hex(32),
        expires_at=utc_now() + timedelta(minutes=10),
        row_version=1,
    )
