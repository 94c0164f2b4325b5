"""What the pages show about a disconnected connection, and about tokens that GitLab still has to revoke."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlmodel import col, select

from portal.actor import Principal, Right
from portal.authorization.status import user_name
from portal.connections import panels
from portal.connections.models import Connection, ConnectionState, Method
from portal.credentials.models import Credential, RetiredToken
from portal.credentials.revocation import pending_revocations
from portal.db import utc_now
from portal.disconnection.disconnect import get_disconnection
from portal.disconnection.erase import ERASE
from portal.disconnection.models import Choice, Disconnection
from portal.errors import Card
from portal.gitlab import links
from portal.gitlab.identification import parse_version
from portal.jobs.models import Job
from portal.runtime import Runtime


class Revocation(StrEnum):
    """How far GitLab is with the tokens of a connection."""

    NOTHING = "nothing"
    REVOKING = "revoking"
    PENDING = "pending"
    REVOKED = "revoked"


@dataclass(frozen=True)
class DisconnectStatus:
    """A snapshot of a connection that is disconnected, or that has tokens left over from earlier.

    Attributes:
        desired: None while the connection is in use; then this is about left-over tokens only.
        card: why GitLab has not revoked them yet, as of the last attempt.
        next_try_at: when the portal asks again by itself; None if it cannot, because the token is unreadable.
        revoked_at: when the newest one was found to be dead.
        proof: how that is known, as on its row.
        erasure: the newest job that erases it.
        manage_url: where the service user sees and revokes its authorized applications in GitLab.
        tokens_url: where the service user sees and revokes its access tokens.
        is_access_token: whether what must be revoked is one.
        applications_url: where an administrator deletes the application, which ends all its tokens.
        user_url: the service user in GitLab's Admin area, to impersonate it.
    """

    desired: Disconnection | None
    requested_by: str
    username: str
    revocation: Revocation
    pending: int
    card: Card | None
    next_try_at: datetime | None
    revoked_at: datetime | None
    proof: str
    erasure: Job | None
    manage_url: str
    tokens_url: str
    applications_url: str
    user_url: str
    is_access_token: bool

    @property
    def is_erasing(self) -> bool:
        """Whether everything will be erased."""
        return self.desired is not None and self.desired.choice == Choice.ERASE

    @property
    def poll_seconds(self) -> int:
        """How soon the panel has to poll again; 0 if nothing will change by itself."""
        if self.revocation == Revocation.REVOKING or (self.erasure and not self.erasure.is_finished):
            return 1
        if self.next_try_at is not None and self.next_try_at <= utc_now():
            return 2
        return 10 if self.revocation == Revocation.PENDING or self.is_erasing else 0


def load_disconnect_status(runtime: Runtime, connection: Connection) -> DisconnectStatus | None:
    """Read how far disconnecting has got; None if the connection is in use and no token is left over."""
    mine = RetiredToken.connection_id == connection.id
    newest = select(RetiredToken).where(mine, col(RetiredToken.revoked_at).is_not(None))
    newest = newest.order_by(col(RetiredToken.revoked_at).desc()).limit(1)
    erasures = select(Job).where(Job.name == ERASE, Job.subject == f"connection:{connection.id}")
    with runtime.database.reading() as session:
        pending = pending_revocations(session, connection.id or 0)
        failed = next((row.failure for row in pending if row.failure), None)
        if connection.state != ConnectionState.DISCONNECTED and not failed:
            return None
        desired = get_disconnection(session, connection)
        credential = session.exec(select(Credential).where(Credential.connection_id == connection.id)).first()
        revoked = session.exec(newest).first()
        erasure = session.exec(erasures.order_by(col(Job.id).desc()).limit(1)).first()
        requested_by = user_name(session, desired.requested_by_user_id) if desired else ""
    username = credential.gitlab_username if credential else connection.service_username
    revocation = Revocation.REVOKED if revoked else Revocation.NOTHING
    if pending:
        # A token that was not kept may be another user's.
        username = pending[0].snapshot.get("gitlab_username") or username
        revocation = Revocation.PENDING if failed else Revocation.REVOKING
    base = connection.external_url
    return DisconnectStatus(
        desired=desired,
        requested_by=requested_by,
        username=username,
        revocation=revocation,
        pending=len(pending),
        card=Card.from_json(failed) if failed else None,
        next_try_at=min((row.next_try_at for row in pending if row.token_sealed is not None), default=None),
        revoked_at=revoked.revoked_at if revoked else None,
        proof=revoked.proof if revoked else "",
        erasure=erasure,
        manage_url=links.own_applications(base, parse_version(connection.version_seen)),
        tokens_url=links.own_tokens(base, parse_version(connection.version_seen)),
        applications_url=links.applications(base),
        user_url=links.user(base, username),
        is_access_token=(pending[0].method if pending else connection.method) == Method.ACCESS_TOKEN,
    )


def state_panel(runtime: Runtime, principal: Principal, connection: Connection) -> list[panels.Panel]:
    """Return how far disconnecting has got; nothing while the connection is in use and no token is left over."""
    found = load_disconnect_status(runtime, connection)
    if found is None:
        return []
    context = {"disconnect_status": found, "may_manage": principal.may(Right.MANAGE_CONNECTIONS)}
    return [panels.Panel(panels.Place.NEEDS, "disconnection/_state.html", context)]


def way_panel(runtime: Runtime, principal: Principal, connection: Connection) -> list[panels.Panel]:
    """Return the link to the page that disconnects; nothing for drafts and for people who may not."""
    if not principal.may(Right.MANAGE_CONNECTIONS) or connection.authorized_at is None:
        return []
    found = load_disconnect_status(runtime, connection)
    if found is not None and found.is_erasing:
        return []
    is_over = connection.state == ConnectionState.DISCONNECTED
    return [panels.Panel(panels.Place.SETTING, "disconnection/_way.html", {"is_over": is_over})]
