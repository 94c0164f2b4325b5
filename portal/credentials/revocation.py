"""Pairs that must end at GitLab: kept sealed until they are proved to be dead there, then erased (S33; RFC 7009).

Desired state first: the row is written in the transaction that takes the credential away, or as soon as GitLab has
given a pair that may not be kept; a job makes GitLab match.

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
from typing import Any

from sqlmodel import Session, col, select

from portal import audit
from portal.actor import SYSTEM
from portal.connections.models import Application, Connection, Method, way_of
from portal.connections.servers import open_way
from portal.connections.store import application_of
from portal.crash_points import crash_point
from portal.credentials.methods import NO_KEY, Key, method_of, open_secret
from portal.credentials.models import Credential, CredentialState, RetiredToken
from portal.db import utc_now
from portal.errors import Card
from portal.gitlab import oauth
from portal.gitlab.answers import GitLabError, OAuthRefused, Unauthorized
from portal.gitlab.client import GitLabClient
from portal.jobs import enqueue
from portal.net import HostSession, OutboundError, origin_of
from portal.runtime import Runtime
from portal.vault import Place, Secret, SecretUnreadable

TABLE = "retired_token"
REVOKE_RETIRED = "credentials.revoke_retired"
# If a pair has been held longer than any check takes, its process is gone.
HOLD_SECONDS = 300.0
FIRST_WAIT_SECONDS = 5.0
MAX_WAIT_SECONDS = 3600.0
# Longer than one attempt takes: revoke, check, refresh, then revoke and check once more.
CLAIM_SECONDS = 180.0
# A pair younger than this may be unknown to the database replica that GitLab asked.
SETTLED_SECONDS = 60.0
BATCH = 50
DISCONNECTED = "disconnected"
# What cannot be removed from GitLab within this time stays there: the token must end.
LEAVING_TIME = timedelta(days=7)
LOST = "revocation_unknown"
BY_HAND = "by_hand"
UNREADABLE = Card("secret_unreadable", {"case": "revocation"})


class Proof(StrEnum):
    """How it is known that a pair is dead."""

    REVOKED = "access_token_revoked"
    EXPIRED = "access_token_expired"
    REFUSED = "refresh_token_refused"


@dataclass(frozen=True)
class Revoker:
    """What revoking one pair needs, whatever happens to the connection: address, application, its Secret."""

    organization_id: int
    connection_id: int
    connection_name: str
    origin: str
    snapshot: dict[str, Any]
    client_secret: Secret | None
    method: str = Method.OAUTH


@dataclass
class _Pair:
    """The opened contents of a row while GitLab is asked about it."""

    key: Key
    token: Secret
    access_token: Secret | None

    @property
    def refresh_token(self) -> Secret | None:
        return None if self.token == self.access_token else self.token


# Taking a pair out of use.


def revoker_for(connection: Connection, origin: str, username: str, key: Key, method: str = Method.OAUTH) -> Revoker:
    """Return what revokes a pair that GitLab now issues for a key; `username` is who could revoke it by hand.

    An origin alone is not an address: another application may answer at the root of a server whose GitLab has a path.
    So if the path is unknown, `api_url` is empty, and nothing is sent.
    """
    return _make_revoker(connection, origin, username, key.client_id, key.client_secret, method)


def revoker_of(
    runtime: Runtime, connection: Connection, application: Application | None, credential: Credential
) -> Revoker:
    """Return what a revocation of a credential's pair needs, as it is now."""
    key_id, secret = method_of(credential).find_kept_key(runtime, application, credential)
    return _make_revoker(connection, credential.origin, credential.gitlab_username, key_id, secret, credential.method)


def _make_revoker(
    connection: Connection, origin: str, username: str, key_id: str, secret: Secret | None, method: str
) -> Revoker:
    assert connection.id is not None
    ways = (way_of(connection), connection.authorized_via or {})
    known = [way for way in ways if way.get("api_url") and origin_of(way["api_url"]) == origin]
    way = known[0] if known else {**way_of(connection), "api_url": ""}
    return Revoker(
        organization_id=connection.organization_id,
        connection_id=connection.id,
        connection_name=connection.display_name,
        origin=origin,
        snapshot={**way, "server_id": connection.server_id, "client_id": key_id, "gitlab_username": username},
        client_secret=secret or None,
        method=method,
    )


def retire_tokens(
    session: Session, runtime: Runtime, connection: Connection, credential: Credential, reason: str
) -> RetiredToken | None:
    """Take a credential's pair away in the caller's transaction, to be revoked at GitLab by a job.

    Args:
        session: the transaction that disconnects, or that stores another pair.
        runtime: its vault seals the tokens for their new row.
        connection: whose application revokes.
        credential: loses both tokens; its state becomes `erased`.
        reason: `disconnected` or `replaced`.

    Returns:
        The row that waits for its revocation; None if there was no token.
    """
    token, access_token = _open_pair(runtime, credential)
    had_token = credential.access_token_sealed is not None
    credential.access_token_sealed = credential.refresh_token_sealed = None
    credential.state = CredentialState.ERASED
    credential.refresh_at = credential.expires_at = None
    session.add(credential)
    if not had_token:
        return None
    if method_of(credential).is_once and access_token is not None:
        # A person can enter one access token twice: another connection may use it.
        same = (Credential.origin == credential.origin, Credential.method == credential.method)
        others = session.exec(select(Credential).where(*same, Credential.id != credential.id)).all()
        if any(_open_pair(runtime, other)[1] == access_token for other in others):
            return None
    revoker = revoker_of(runtime, connection, application_of(session, connection.id), credential)
    credential.client_secret_sealed = None
    row = _add_row(session, runtime, revoker, reason)
    if token is None:
        row.failure = UNREADABLE.of(row.method).to_json()
    elif not revoker.snapshot["api_url"]:
        row.failure = Card("address_unknown", {"origin": revoker.origin}).of(row.method).to_json()
    else:
        _seal_tokens(runtime, row, token, access_token)
    _enqueue(session, revoker)
    return row


def hold_pair(session: Session, runtime: Runtime, revoker: Revoker, tokens: oauth.TokenAnswer) -> int:
    """Put a pair that GitLab has just issued on record before it is checked; return its row's id.

    Without `take_held` or `let_go` it is revoked a few minutes later.
    """
    row = _add_row(session, runtime, revoker, "stray")
    _seal_tokens(runtime, row, tokens.stands_for_both, tokens.access_token)
    row.next_try_at = utc_now() + timedelta(seconds=HOLD_SECONDS)
    assert row.id is not None
    return row.id


def take_held(session: Session, row_id: int) -> bool:
    """Take a held pair off the record, in the transaction that stores it; return whether it may still be stored."""
    row = session.get(RetiredToken, row_id, with_for_update=True)
    if row is None or not _is_held(row):
        return False
    session.delete(row)
    return True


def let_go(session: Session, row_id: int, username: str) -> None:
    """Have a held pair revoked, in the transaction that decides against it; `username` is who could do it by hand."""
    row = session.get(RetiredToken, row_id, with_for_update=True)
    if row is None or not _is_held(row):
        return
    row.next_try_at = utc_now()
    row.snapshot = {**row.snapshot, "gitlab_username": username}
    session.add(row)
    _enqueue(session, row)


def retire_stray(runtime: Runtime, revoker: Revoker, tokens: oauth.TokenAnswer) -> None:
    """Have a pair revoked that GitLab issued and no one stored, even if the connection is gone by now.

    Nothing happens if it is the stored one.
    """
    token = tokens.stands_for_both
    with runtime.database.transaction() as session:
        statement = select(Credential).where(Credential.connection_id == revoker.connection_id).with_for_update()
        credential = session.exec(statement).first()
        if credential is not None and _open_pair(runtime, credential)[0] == token:
            return
        row = _add_row(session, runtime, revoker, "stray")
        _seal_tokens(runtime, row, token, tokens.access_token)
        _enqueue(session, revoker)


def pending_revocations(session: Session, connection_id: int, *, with_held: bool = False) -> list[RetiredToken]:
    """Return the pairs of a connection that are not known to be dead at GitLab yet, oldest first."""
    statement = select(RetiredToken).where(
        RetiredToken.connection_id == connection_id, col(RetiredToken.revoked_at).is_(None)
    )
    rows = session.exec(statement.order_by(col(RetiredToken.id)))
    return [row for row in rows if with_held or not _is_held(row)]


def try_again_now(session: Session, connection: Connection) -> None:
    """Make every pending revocation of a connection due, and start the job."""
    rows = pending_revocations(session, connection.id or 0)
    for row in rows:
        row.next_try_at = utc_now()
    if rows:
        _enqueue(session, rows[0])


def confirm_by_hand(session: Session, connection: Connection) -> int:
    """Accept a person's confirmation that a connection's pending pairs were revoked in GitLab; return how many."""
    rows = pending_revocations(session, connection.id or 0)
    for row in rows:
        _erase_tokens(row)
        row.revoked_at, row.proof = utc_now(), BY_HAND
    return len(rows)


def _is_held(row: RetiredToken) -> bool:
    """Return whether a pair is still being checked."""
    return row.tries == 0 and row.revoked_at is None and row.next_try_at > utc_now()


def _add_row(session: Session, runtime: Runtime, revoker: Revoker, reason: str) -> RetiredToken:
    row = RetiredToken(
        organization_id=revoker.organization_id,
        connection_id=revoker.connection_id,
        connection_name=revoker.connection_name,
        origin=revoker.origin,
        reason=reason,
        method=revoker.method,
        snapshot=revoker.snapshot,
    )
    session.add(row)
    session.flush()
    if revoker.client_secret is not None:
        place = _place(row, "client_secret_sealed")
        row.client_secret_sealed = runtime.vault.seal(revoker.client_secret, place, row.origin)
    return row


def _seal_tokens(runtime: Runtime, row: RetiredToken, token: Secret, access_token: Secret | None) -> None:
    """Store in a row what is posted to be revoked, and what shows whether it was."""
    row.token_sealed = runtime.vault.seal(token, _place(row, "token_sealed"), row.origin)
    row.access_token_sealed = None
    if access_token is not None:
        row.access_token_sealed = runtime.vault.seal(access_token, _place(row, "access_token_sealed"), row.origin)


def _erase_tokens(row: RetiredToken) -> None:
    row.token_sealed = row.access_token_sealed = row.client_secret_sealed = None


def _open_pair(runtime: Runtime, credential: Credential) -> tuple[Secret | None, Secret | None]:
    """Return the half whose revocation covers both, and the access token; None for what cannot be read."""
    halves: list[Secret | None] = []
    for column in ("refresh_token_sealed", "access_token_sealed"):
        sealed = getattr(credential, column)
        try:
            assert credential.id is not None
            place = Place("credential", credential.id, column)
            halves.append(runtime.vault.open(sealed, place, credential.origin) if sealed else None)
        except SecretUnreadable:
            halves.append(None)
    return halves[0] or halves[1], halves[1]


def _enqueue(session: Session, about: Revoker | RetiredToken) -> None:
    enqueue(
        session,
        REVOKE_RETIRED,
        organization_id=about.organization_id,
        title=f"Revoke the token of {about.connection_name} at GitLab",
        key=f"revoke:{about.connection_id}",
        subject=f"connection:{about.connection_id}",
    )


def _place(row: RetiredToken, column: str) -> Place:
    assert row.id is not None
    return Place(TABLE, row.id, column)


# Ending it at GitLab.


def due_revocations(runtime: Runtime) -> list[int]:
    """Return the ids of the rows that are due."""
    statement = select(RetiredToken.id).where(
        col(RetiredToken.revoked_at).is_(None),
        col(RetiredToken.token_sealed).is_not(None),
        col(RetiredToken.next_try_at) <= utc_now(),
    )
    statement = statement.order_by(col(RetiredToken.next_try_at)).limit(BATCH)
    with runtime.database.reading() as session:
        return [row_id for row_id in session.exec(statement) if row_id]


def revoke_one(runtime: Runtime, row_id: int) -> bool:
    """Try to end one pair at GitLab; return whether it is known to be dead and has been erased here."""
    with runtime.database.transaction() as session:
        row = session.get(RetiredToken, row_id, with_for_update=True)
        if row is None or row.revoked_at is not None or row.token_sealed is None or row.next_try_at > utc_now():
            return False
        # So that no two processes spend its refresh token.
        row.tries += 1
        row.next_try_at = utc_now() + timedelta(seconds=CLAIM_SECONDS)
        session.add(row)
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


def _end_at_gitlab(runtime: Runtime, row: RetiredToken) -> Proof | Card:
    """Return the proof that the pair is dead, or why it may be alive."""
    way = row.snapshot
    try:
        pair = _open(runtime, row)
    except SecretUnreadable:
        return UNREADABLE
    try:
        with open_way(runtime, way, way.get("server_id")) as http:
            # Once more for each pair that a refresh token which still worked was exchanged for.
            for _ in range(3):
                outcome = _leave(runtime, row, http, pair) or _revoke_and_look(runtime, row, http, pair)
                if not isinstance(outcome, _Pair):
                    return outcome
                pair = outcome
            return Card("revocation_unproved")
    except (GitLabError, OutboundError) as error:
        return error.card()


def _leave(runtime: Runtime, row: RetiredToken, http: HostSession, pair: _Pair) -> Proof | Card | _Pair | None:
    """Remove what a disconnected connection has at GitLab, while its pair still works; None once that is done.

    Raises:
        GitLabError, OutboundError: GitLab cannot be asked now, so it cannot revoke anything either.
    """
    is_late = utc_now() - row.created_at > LEAVING_TIME
    if row.reason != DISCONNECTED or pair.access_token is None or is_late:
        return None
    try:
        for capability in runtime.capabilities.all:
            if capability.on_leaving and not capability.on_leaving(runtime, row.connection_id, http, pair.access_token):
                return Card("revocation_leaves")
    except Unauthorized as error:
        # A pair that is dead cannot remove anything; one whose access token has expired can after a refresh.
        if error.reason == "revoked" or pair.refresh_token is None or row.refresh_sent_at is not None:
            return None
        return _spend(runtime, row, http, pair, pair.refresh_token)
    return None


def _open(runtime: Runtime, row: RetiredToken) -> _Pair:
    token = runtime.vault.open(row.token_sealed or b"", _place(row, "token_sealed"), row.origin)
    access_token = None
    if row.access_token_sealed is not None:
        access_token = runtime.vault.open(row.access_token_sealed, _place(row, "access_token_sealed"), row.origin)
    if not method_of(row).has_key:
        return _Pair(NO_KEY, token, access_token)
    # The Secret that is stored now for the same application: it may have been renewed in GitLab since.
    with runtime.database.reading() as session:
        application = application_of(session, row.connection_id)
    is_same = application is not None and (application.client_id, application.origin) == (
        row.snapshot["client_id"],
        row.origin,
    )
    secret = open_secret(runtime, "application", application) if application is not None and is_same else None
    secret = secret or runtime.vault.open(
        row.client_secret_sealed or b"", _place(row, "client_secret_sealed"), row.origin
    )
    return _Pair(Key(row.snapshot["client_id"], secret), token, access_token)


def _revoke_and_look(runtime: Runtime, row: RetiredToken, http: HostSession, pair: _Pair) -> Proof | Card | _Pair:
    refusal: OAuthRefused | None = None
    try:
        method_of(row).revoke(http, pair.key, pair.token)
    except OAuthRefused as error:
        refusal = error  # GitLab does not accept the client: the pair may be dead all the same, see below.
    seen = "unknown"
    if pair.access_token is not None:
        try:
            GitLabClient(http, pair.access_token, tries=1).current_user()
            seen = "alive"
        except Unauthorized as error:
            seen = error.reason
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


def _spend(
    runtime: Runtime, row: RetiredToken, http: HostSession, pair: _Pair, refresh_token: Secret
) -> Proof | Card | _Pair:
    """Learn from the refresh token whether the pair is dead; if not, return the pair that GitLab issued for it."""
    _note_spending(runtime, row, None, is_under_way=True)
    crash_point("disconnect:spent")
    try:
        tokens = method_of(row).renew(runtime, None, http, pair.key, refresh_token, utc_now())
    except (GitLabError, OutboundError) as error:
        if oauth.may_have_issued(error):
            return Card(LOST)
        _note_spending(runtime, row, None, is_under_way=False)
        return Proof.REFUSED if isinstance(error, OAuthRefused) and error.error == "invalid_grant" else error.card()
    _note_spending(runtime, row, tokens, is_under_way=False)
    return _Pair(pair.key, tokens.stands_for_both, tokens.access_token)


def _note_spending(
    runtime: Runtime, row: RetiredToken, tokens: oauth.TokenAnswer | None, *, is_under_way: bool
) -> None:
    with runtime.database.transaction() as session:
        found = session.get_one(RetiredToken, row.id, with_for_update=True)
        found.refresh_sent_at = utc_now() if is_under_way else None
        if tokens is not None:
            _seal_tokens(runtime, found, tokens.stands_for_both, tokens.access_token)
        session.add(found)


def _note_outcome(session: Session, row: RetiredToken, outcome: Proof | Card) -> None:
    is_dead = isinstance(outcome, Proof)
    if isinstance(outcome, Proof):
        _erase_tokens(row)
        row.failure, row.revoked_at, row.proof = None, utc_now(), str(outcome)
        told = {"proof": str(outcome)}
    else:
        row.failure = outcome.of(row.method).to_json()
        wait = min(FIRST_WAIT_SECONDS * 2 ** min(row.tries - 1, 20), MAX_WAIT_SECONDS)
        row.next_try_at = utc_now() + timedelta(seconds=wait)
        if outcome.code == LOST:
            _erase_tokens(row)  # Spent: there is nothing left to try.
        elif row.tries > 1:
            return  # Further failures look like the first; the row counts them.
        told = {"code": outcome.code}
    audit.record(
        session,
        SYSTEM,
        "token.revoked" if is_dead else "token.revocation_failed",
        audit.Target(row.organization_id, "connection", row.connection_id, row.connection_name),
        result="ok" if is_dead else "failed",
        reason=row.reason,
        tries=row.tries,
        **told,
    )
