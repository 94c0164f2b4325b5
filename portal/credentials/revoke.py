"""Have GitLab revoke retired pairs, verify that each is dead there, and only then erase it (RFC 7009).

`/oauth/revoke` answers 200 whatever it does, and Doorkeeper before 5.8.1 does nothing for a pair whose access token has
expired, although its refresh token keeps working (docs/gitlab.md). So every revocation is followed by a check:

- GitLab calls the access token revoked: the pair is dead.
- GitLab still accepts the access token: it is alive, and the revocation is tried again later.
- It is expired or unknown: only the refresh token can show. It is spent once. If GitLab refuses it, the pair is dead;
if it accepts,
  GitLab has given another pair, which takes the row's place and is revoked in turn. If that answer is lost, no one
  knows the pair, and only a person can end it, in GitLab.

A row may be revoked twice, which GitLab answers as if it were the first time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from sqlmodel import Session, col, select

from portal import audit
from portal.actor import SYSTEM
from portal.connections.store import application_of
from portal.crash_points import crash_point
from portal.credentials.models import RetiredToken
from portal.credentials.retire import TABLE_OF_APPLICATION, open_secret, place_of, seal_tokens, unreadable_card
from portal.db import utc_now
from portal.errors import Card
from portal.gitlab import oauth
from portal.gitlab.client import GitLabClient
from portal.gitlab.errors import GitLabError, OAuthRefused, Unauthorized
from portal.net import HostSession, OutboundError, parse_address
from portal.runtime import Runtime
from portal.vault import Secret, SecretUnreadable

FIRST_WAIT_SECONDS = 5.0
MAX_WAIT_SECONDS = 3600.0
# Longer than one attempt takes: revoke, check, refresh, then revoke and check once more.
CLAIM_SECONDS = 180.0
# A pair younger than this may be unknown to the database replica that GitLab asked.
SETTLED_SECONDS = 60.0
BATCH = 50
LOST = "revocation_unknown"


class Proof(StrEnum):
    """How it is known that a pair is dead."""

    REVOKED = "access_token_revoked"
    EXPIRED = "access_token_expired"
    REFUSED = "refresh_token_refused"


@dataclass
class _Pair:
    """The opened contents of a row while GitLab is asked about it."""

    application: oauth.ClientCredentials
    token: Secret
    access_token: Secret | None

    @property
    def refresh_token(self) -> Secret | None:
        return None if self.token == self.access_token else self.token


def due_revocations(runtime: Runtime) -> list[int]:
    """Return the ids of the rows that are due."""
    statement = select(RetiredToken.id).where(
        col(RetiredToken.revoked_at).is_(None),
        col(RetiredToken.token_sealed).is_not(None),
        col(RetiredToken.next_try_at) <= utc_now(),
    )
    with runtime.database.reading() as session:
        return [
            row_id for row_id in session.exec(statement.order_by(col(RetiredToken.next_try_at)).limit(BATCH)) if row_id
        ]


def revoke_one(runtime: Runtime, row_id: int) -> bool:
    """Try to end one pair at GitLab; return whether it is known to be dead and has been erased here."""
    row = _claim(runtime, row_id)
    if row is None:
        return False
    crash_point("disconnect:before_revoke")
    outcome = _end_at_gitlab(runtime, row)
    crash_point("disconnect:revoked")
    with runtime.database.transaction() as session:
        found = session.get(RetiredToken, row_id, with_for_update=True)
        if found is None or found.revoked_at is not None:
            return found is not None
        _note_outcome(session, found, outcome)
    crash_point("disconnect:erased")
    return isinstance(outcome, Proof)


def _claim(runtime: Runtime, row_id: int) -> RetiredToken | None:
    """Claim a row for one attempt, so that only one process spends its refresh token; None if it is not due."""
    with runtime.database.transaction() as session:
        row = session.get(RetiredToken, row_id, with_for_update=True)
        if row is None or row.revoked_at is not None or row.token_sealed is None or row.next_try_at > utc_now():
            return None
        row.tries += 1
        row.next_try_at = utc_now() + timedelta(seconds=CLAIM_SECONDS)
        session.add(row)
        return row


def _end_at_gitlab(runtime: Runtime, row: RetiredToken) -> Proof | Card:
    """Return the proof that the pair is dead, or why it may be alive."""
    frozen = row.frozen
    try:
        pair = _open(runtime, row)
    except SecretUnreadable:
        return unreadable_card()
    address = parse_address(frozen["api_url"], allow_http=True)
    try:
        with runtime.outbound.session(address, ca_certificate=frozen["ca_certificate"], proxy=frozen["proxy"]) as http:
            # A second time for what a refresh token that still worked was exchanged for.
            for _ in range(2):
                outcome = _revoke_and_look(runtime, row, http, pair)
                if not isinstance(outcome, _Pair):
                    return outcome
                pair = outcome
            return Card("revocation_unproved")
    except (GitLabError, OutboundError) as error:
        return error.card()


def _revoke_and_look(runtime: Runtime, row: RetiredToken, http: HostSession, pair: _Pair) -> Proof | Card | _Pair:
    refusal: OAuthRefused | None = None
    try:
        oauth.revoke(http, pair.application, pair.token)
    except OAuthRefused as error:
        refusal = error  # GitLab does not accept the client: the pair may be dead all the same, see below.
    seen = _look(http, pair.access_token) if pair.access_token else "unknown"
    if seen == "revoked":
        return Proof.REVOKED
    if seen == "alive":
        return refusal.card() if refusal else Card("revocation_ignored")
    if pair.refresh_token is None:
        return Proof.EXPIRED if seen == "expired" else (refusal.card() if refusal else Card("revocation_unproved"))
    if row.refresh_sent_at is not None:
        return Card(LOST)
    if seen == "unknown" and utc_now() - row.created_at < timedelta(seconds=SETTLED_SECONDS):
        return refusal.card() if refusal else Card("revocation_unproved")
    return _spend(runtime, row, http, pair, pair.refresh_token)


def _look(http: HostSession, access_token: Secret) -> str:
    """Return what GitLab says about an access token: `alive`, or why not.

    Raises:
        GitLabError, OutboundError: nothing.
    """
    try:
        GitLabClient(http, access_token, tries=1).current_user()
    except Unauthorized as error:
        return error.reason
    return "alive"


def _spend(
    runtime: Runtime, row: RetiredToken, http: HostSession, pair: _Pair, refresh_token: Secret
) -> Proof | Card | _Pair:
    """Learn from the refresh token whether the pair is dead; return the pair that GitLab gave for it if it was not."""
    _note_spending(runtime, row, None, is_under_way=True)
    crash_point("disconnect:spent")
    try:
        tokens = oauth.refresh(http, pair.application, refresh_token)
    except (GitLabError, OutboundError) as error:
        if oauth.may_have_issued(error):
            return Card(LOST)
        _note_spending(runtime, row, None, is_under_way=False)
        return Proof.REFUSED if isinstance(error, OAuthRefused) and error.error == "invalid_grant" else error.card()
    _note_spending(runtime, row, tokens, is_under_way=False)
    return _Pair(pair.application, tokens.stands_for_both, tokens.access_token)


def _note_spending(
    runtime: Runtime, row: RetiredToken, tokens: oauth.TokenAnswer | None, *, is_under_way: bool
) -> None:
    with runtime.database.transaction() as session:
        found = session.get_one(RetiredToken, row.id, with_for_update=True)
        found.refresh_sent_at = utc_now() if is_under_way else None
        if tokens is not None:
            seal_tokens(runtime, found, tokens.stands_for_both, tokens.access_token)
        session.add(found)


def _open(runtime: Runtime, row: RetiredToken) -> _Pair:
    token = runtime.vault.open(row.token_sealed or b"", place_of(row, "token_sealed"), row.origin)
    secret = _present_secret(runtime, row) or runtime.vault.open(
        row.client_secret_sealed or b"", place_of(row, "client_secret_sealed"), row.origin
    )
    access_token = None
    if row.access_token_sealed is not None:
        access_token = runtime.vault.open(row.access_token_sealed, place_of(row, "access_token_sealed"), row.origin)
    return _Pair(oauth.ClientCredentials(row.frozen["client_id"], secret), token, access_token)


def _present_secret(runtime: Runtime, row: RetiredToken) -> Secret | None:
    """Return the Secret that is stored now for the same application: it may have been renewed in GitLab since."""
    with runtime.database.reading() as session:
        application = application_of(session, row.connection_id)
    if application is None or application.client_secret_sealed is None:
        return None
    if (application.client_id, application.origin) != (row.frozen["client_id"], row.origin):
        return None
    sealed = application.client_secret_sealed
    return open_secret(runtime, TABLE_OF_APPLICATION, application.id, sealed, row.origin)


def _note_outcome(session: Session, row: RetiredToken, outcome: Proof | Card) -> None:
    if isinstance(outcome, Proof):
        row.token_sealed = row.access_token_sealed = row.client_secret_sealed = None
        row.failure, row.revoked_at, row.proof = None, utc_now(), str(outcome)
    else:
        row.failure = outcome.to_json()
        wait = min(FIRST_WAIT_SECONDS * 2 ** min(row.tries - 1, 20), MAX_WAIT_SECONDS)
        row.next_try_at = utc_now() + timedelta(seconds=wait)
        if outcome.code == LOST:
            # Spent: there is nothing left to try.
            row.token_sealed = row.access_token_sealed = row.client_secret_sealed = None
    # Further failures look like the first; the row counts them.
    if isinstance(outcome, Proof) or row.tries == 1 or outcome.code == LOST:
        _record(session, row, outcome)


def _record(session: Session, row: RetiredToken, outcome: Proof | Card) -> None:
    is_dead = isinstance(outcome, Proof)
    audit.record(
        session,
        SYSTEM,
        "token.revoked" if is_dead else "token.revocation_failed",
        audit.Target(row.organization_id, "connection", row.connection_id, row.connection_name),
        result="ok" if is_dead else "failed",
        reason=row.reason,
        tries=row.tries,
        **({"proof": str(outcome)} if isinstance(outcome, Proof) else {"code": outcome.code}),
    )
