"""Have GitLab revoke retired tokens, and erase each once it has (RFC 7009).

A row may be revoked twice, which GitLab answers as if it were the first time (gitlab-contract §1.6).
"""

from __future__ import annotations

from datetime import timedelta

from sqlmodel import Session, col, select

from portal import audit
from portal.authorization.models import RetiredToken
from portal.authorization.service.retire import TABLE_OF_APPLICATION, open_secret, place_of, unreadable_card
from portal.connections.models import Application
from portal.crash_points import crash_point
from portal.db import utc_now
from portal.errors import Card
from portal.gitlab import oauth
from portal.gitlab.errors import GitLabError
from portal.net import OutboundError, parse_address
from portal.runtime import Runtime
from portal.vault import Secret, SecretUnreadable

FIRST_WAIT_SECONDS = 5.0
MAX_WAIT_SECONDS = 3600.0
BATCH = 50


def due_revocations(runtime: Runtime) -> list[int]:
    """Return the ids of the rows whose time has come."""
    statement = select(RetiredToken.id).where(
        col(RetiredToken.revoked_at).is_(None),
        col(RetiredToken.token_sealed).is_not(None),
        col(RetiredToken.next_try_at) <= utc_now(),
    )
    with runtime.database.reading() as session:
        return [row_id for row_id in session.exec(statement.order_by(col(RetiredToken.id)).limit(BATCH)) if row_id]


def revoke_one(runtime: Runtime, row_id: int) -> bool:
    """Have GitLab revoke one token, then erase it here; return whether it is done."""
    with runtime.database.reading() as session:
        row = session.get(RetiredToken, row_id)
    if row is None or row.revoked_at is not None:
        return True
    crash_point("disconnect:before_revoke")
    card = _revoke_at_gitlab(runtime, row)
    crash_point("disconnect:revoked")
    with runtime.database.transaction() as session:
        row = session.get(RetiredToken, row_id, with_for_update=True)
        if row is None or row.revoked_at is not None:
            return True
        _note_outcome(session, row, card)
    crash_point("disconnect:erased")
    return card is None


def _revoke_at_gitlab(runtime: Runtime, row: RetiredToken) -> Card | None:
    """Return None once the token is dead, else why it may live."""
    frozen = row.frozen
    try:
        token = runtime.vault.open(row.token_sealed or b"", place_of(row, "token_sealed"), row.origin)
        secret = _present_secret(runtime, row) or runtime.vault.open(
            row.client_secret_sealed or b"", place_of(row, "client_secret_sealed"), row.origin
        )
    except SecretUnreadable:
        return unreadable_card()
    address = parse_address(frozen["api_url"], allow_http=True)
    line = runtime.door.line(address, ca_certificate=frozen["ca_certificate"], proxy=frozen["proxy"])
    try:
        with line:
            oauth.revoke(line, oauth.ClientCredentials(frozen["client_id"], secret), token)
    except (GitLabError, OutboundError) as error:
        return error.card()
    return None


def _present_secret(runtime: Runtime, row: RetiredToken) -> Secret | None:
    """Return the Secret that is stored now for the same application: it may have been renewed in GitLab since."""
    with runtime.database.reading() as session:
        application = session.exec(select(Application).where(Application.connection_id == row.connection_id)).first()
    if application is None or application.client_secret_sealed is None:
        return None
    if (application.client_id, application.origin) != (row.frozen["client_id"], row.origin):
        return None
    sealed = application.client_secret_sealed
    return open_secret(runtime, TABLE_OF_APPLICATION, application.id, sealed, row.origin)


def _note_outcome(session: Session, row: RetiredToken, card: Card | None) -> None:
    row.tries += 1
    if card is None:
        row.token_sealed = row.client_secret_sealed = None
        row.failure, row.revoked_at = None, utc_now()
    else:
        row.failure = card.to_json()
        wait = min(FIRST_WAIT_SECONDS * 2 ** (row.tries - 1), MAX_WAIT_SECONDS)
        row.next_try_at = utc_now() + timedelta(seconds=wait)
    # Every further failure looks like the first; the row itself counts them.
    if card is None or row.tries == 1:
        _record(session, row, "token.revoked" if card is None else "token.revocation_failed", card)


def _record(session: Session, row: RetiredToken, action: str, card: Card | None) -> None:
    audit.record(
        session,
        action=action,
        organization_id=row.organization_id,
        actor_user_id=None,
        actor_name=audit.PORTAL,
        object_type="connection",
        object_id=row.connection_id,
        object_name=row.connection_name,
        result="failed" if card else "ok",
        details={"reason": row.reason, "tries": row.tries, **({"code": card.code} if card else {})},
    )
