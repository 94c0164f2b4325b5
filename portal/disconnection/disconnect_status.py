"""What the pages show about a disconnected connection, and about tokens that GitLab still has to revoke."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlmodel import Session, col, select

from portal.authorization.status import user_name
from portal.connections.models import Connection, ConnectionState
from portal.credentials.models import Credential, RetiredToken
from portal.credentials.revocation import pending_revocations
from portal.db import utc_now
from portal.disconnection.disconnect import get_disconnection
from portal.disconnection.erase import ERASE
from portal.disconnection.models import Choice, Disconnection
from portal.errors import Card
from portal.gitlab import links
from portal.gitlab.version import parse_version
from portal.jobs.models import Job
from portal.runtime import Runtime


class Phase(StrEnum):
    """How far GitLab is with the tokens of a connection."""

    NOTHING = "nothing"
    REVOKING = "revoking"
    PENDING = "pending"
    REVOKED = "revoked"


@dataclass(frozen=True)
class DisconnectStatus:
    """A snapshot of a connection that is disconnected, or that has tokens left over from earlier.

    Attributes:
        wish: None while the connection is in use; then this is about left-over tokens only.
        card: why GitLab has not revoked them yet, as of the last attempt.
        next_try_at: when the portal asks again by itself; None if it cannot, because the token is unreadable.
        revoked_at: when the newest one was found to be dead.
        proof: how that is known, as on its row.
        erasure: the newest job that erases it.
        manage_url: where the service user sees and revokes its authorized applications in GitLab.
        applications_url: where an administrator deletes the application, which ends all its tokens.
        user_url: the service user in GitLab's Admin area, to impersonate it.
    """

    wish: Disconnection | None
    requested_by: str
    username: str
    phase: Phase
    pending: int
    card: Card | None
    next_try_at: datetime | None
    revoked_at: datetime | None
    proof: str
    erasure: Job | None
    manage_url: str
    applications_url: str
    user_url: str

    @property
    def is_erasing(self) -> bool:
        """Whether everything will be erased."""
        return self.wish is not None and self.wish.choice == Choice.ERASE

    @property
    def poll_seconds(self) -> int:
        """How soon the panel has to poll again; 0 if nothing will change by itself."""
        if self.phase == Phase.REVOKING or (self.erasure and not self.erasure.is_finished):
            return 1
        if self.next_try_at is not None and self.next_try_at <= utc_now():
            return 2
        return 10 if self.phase == Phase.PENDING or self.is_erasing else 0


def load_disconnect_status(runtime: Runtime, connection: Connection) -> DisconnectStatus | None:
    """Read how far disconnecting has got; None if the connection is in use and no token is left over."""
    with runtime.database.reading() as session:
        pending = pending_revocations(session, connection.id or 0)
        if connection.state != ConnectionState.DISCONNECTED and not any(row.failure for row in pending):
            return None
        return _look(session, connection, pending)


def _look(session: Session, connection: Connection, pending: list[RetiredToken]) -> DisconnectStatus:
    wish = get_disconnection(session, connection)
    credential = session.exec(select(Credential).where(Credential.connection_id == connection.id)).first()
    failed = next((row.failure for row in pending if row.failure), None)
    planned = [row.next_try_at for row in pending if row.token_sealed is not None]
    revoked = _newest_revocation(session, connection)
    username = credential.gitlab_username if credential else connection.service_username
    if pending:
        # A token that was not kept may be another user's.
        username = pending[0].snapshot.get("gitlab_username") or username
    base = connection.external_url
    return DisconnectStatus(
        wish=wish,
        requested_by=user_name(session, wish.requested_by_user_id) if wish else "",
        username=username,
        phase=_phase(pending, failed is not None, revoked is not None),
        pending=len(pending),
        card=Card.from_json(failed) if failed else None,
        next_try_at=min(planned, default=None),
        revoked_at=revoked.revoked_at if revoked else None,
        proof=revoked.proof if revoked else "",
        erasure=_erasure(session, connection),
        manage_url=links.own_applications(base, parse_version(connection.version_seen)),
        applications_url=links.applications(base),
        user_url=links.user(base, username),
    )


def _phase(pending: list[RetiredToken], has_failed: bool, is_revoked: bool) -> Phase:
    if pending:
        return Phase.PENDING if has_failed else Phase.REVOKING
    return Phase.REVOKED if is_revoked else Phase.NOTHING


def _newest_revocation(session: Session, connection: Connection) -> RetiredToken | None:
    statement = (
        select(RetiredToken)
        .where(RetiredToken.connection_id == connection.id, col(RetiredToken.revoked_at).is_not(None))
        .order_by(col(RetiredToken.revoked_at).desc())
        .limit(1)
    )
    return session.exec(statement).first()


def _erasure(session: Session, connection: Connection) -> Job | None:
    statement = (
        select(Job)
        .where(Job.name == ERASE, Job.subject == f"connection:{connection.id}")
        .order_by(col(Job.id).desc())
        .limit(1)
    )
    return session.exec(statement).first()
