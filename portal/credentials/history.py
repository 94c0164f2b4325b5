"""The flight recorder: the history of a credential, pair by pair, without any secret."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func
from sqlmodel import col, select

from portal.connections.models import Connection, Method
from portal.credentials.access_tokens import why_not_rotated
from portal.credentials.models import Credential, CredentialEvent, CredentialState, RetiredToken
from portal.credentials.revocation import pending_revocations
from portal.credentials.store import get_credential
from portal.db import utc_now
from portal.errors import Card
from portal.runtime import Runtime

SHOWN = 100
# Of one credential; at twelve refreshes a day that is half a year.
MAX_EVENTS = 2000
KEEP_REVOKED = timedelta(days=30)


@dataclass(frozen=True)
class Kind:
    """How one kind of event is worded; `tone` is the badge's."""

    word: str
    sentence: str
    tone: str
    icon: str


KINDS = {
    "authorized": Kind("Authorized", "Someone authorized the connection, and GitLab issued a new pair.", "pass", "key"),
    "linked": Kind("Linked", "Someone entered an access token that works.", "pass", "key"),
    "refreshed": Kind("Renewed", "GitLab issued the next token, and it was stored.", "pass", "refresh"),
    "rotation_given_up": Kind(
        "Not rotated", "The access token was not rotated and is not asked for again. It still works.", "warn", "ban"
    ),
    "deferred": Kind("Deferred", "GitLab gave no clear answer. What is stored is kept.", "warn", "clock"),
    "asked_again": Kind(
        "Asked again", "An answer had been lost; the old token showed that the pair is unused.", "info", "refresh"
    ),
    "settled": Kind(
        "Settled", "GitLab confirmed the access token. It is used until shortly before it expires.", "info", "refresh"
    ),
    "refused": Kind(
        "Refused", "A call was answered with 401, so Gatehouse asks GitLab about the token.", "warn", "ban"
    ),
    CredentialState.LOST: Kind(
        "Lost", "GitLab issued the next token, but its answer never arrived.", "fail", "alert-triangle"
    ),
    CredentialState.REVOKED: Kind("Revoked", "GitLab no longer accepts the token.", "fail", "circle-x"),
    CredentialState.SECRET_CHANGED: Kind(
        "Secret changed", "GitLab no longer accepts the application's Secret. The pair is kept.", "fail", "lock"
    ),
    CredentialState.UNREADABLE: Kind("Unreadable", "The stored token cannot be opened.", "fail", "lock"),
    CredentialState.ERASED: Kind(
        "Erased", "The token was taken out of use and will be revoked at GitLab.", "neutral", "trash"
    ),
}
_OTHER = Kind("Noted", "", "neutral", "circle-dot")

STATES = {
    CredentialState.ALIVE: ("Alive", "pass", "circle-check"),
    CredentialState.SECRET_CHANGED: ("Secret changed", "warn", "alert-triangle"),
    CredentialState.REVOKED: ("Revoked", "fail", "circle-x"),
    CredentialState.LOST: ("Lost", "fail", "circle-x"),
    CredentialState.UNREADABLE: ("Unreadable", "fail", "lock"),
    CredentialState.ERASED: ("Erased", "neutral", "trash"),
}


# For a credential that people were told is alive.
IN_DOUBT = ("In doubt", "warn", "alert-triangle")


@dataclass(frozen=True)
class CredentialHistory:
    """What the credential's page shows.

    Attributes:
        credential: None before the first authorization.
        events: newest first, at most 100.
        is_resting: no request before `credential.cooldown_until`.
        pending: tokens that GitLab has not revoked yet.
        why_not_rotated: why Gatehouse cannot rotate the access token; empty if it can, or if it is a pair.
    """

    credential: Credential | None
    events: list[CredentialEvent]
    card: Card | None
    is_resting: bool
    pending: list[RetiredToken]
    now: datetime
    why_not_rotated: str = ""

    @property
    def state(self) -> tuple[str, str, str]:
        """The state's word, tone and icon."""
        assert self.credential is not None
        is_in_doubt = self.credential.state == CredentialState.ALIVE and self.doubts
        return IN_DOUBT if is_in_doubt else STATES[CredentialState(self.credential.state)]

    @property
    def doubts(self) -> list[str]:
        """What is unknown about the pair, or speaks against it, and what follows; nothing once there is a verdict."""
        found, told = self.credential, []
        if found is None or found.state not in {CredentialState.ALIVE, CredentialState.SECRET_CHANGED}:
            return []
        if found.method == Method.ACCESS_TOKEN:
            if found.intent_id and found.lease_until is None:
                told.append(
                    "Gatehouse asked GitLab to rotate the token and does not know whether GitLab did. Until GitLab "
                    "says that it still works, the token is not used."
                )
            elif found.may_be_spent:
                told.append(
                    "A rotation got no answer. GitLab still accepted the token afterwards, so it is used. Gatehouse "
                    "does not rotate it again: replace it before it expires."
                )
            return told
        if found.intent_id and found.lease_until is None:
            told.append(
                "Gatehouse asked for a renewal and does not know whether GitLab did it. Until GitLab says that the "
                "access token still works, the token is not used."
            )
        elif found.may_be_spent:
            told.append(
                "An earlier renewal got no answer, so the pair may be used up. Gatehouse tries it again as late as "
                "possible, after asking GitLab once more whether the access token works."
            )
        if found.is_access_refused:
            told.append("GitLab no longer accepts the access token, so it is not used. The pair is renewed first.")
        if found.refusals:
            told.append(
                f"GitLab refused to renew the pair ({_times(found.refusals)}). If this continues, someone is asked to "
                "authorize again ten minutes after the access token's end at the earliest."
            )
        if found.client_refusals and found.state == CredentialState.ALIVE:
            told.append(
                f"GitLab refused the application's ID and Secret ({_times(found.client_refusals)}). If this continues "
                "for ten minutes, someone is asked for the current Secret. The access token is used in the meantime."
            )
        return told

    def kind(self, event: CredentialEvent) -> Kind:
        """Return how an event is worded."""
        return KINDS.get(event.kind, _OTHER)


def load_history(runtime: Runtime, connection: Connection) -> CredentialHistory:
    """Read a connection's credential and its history."""
    assert connection.id is not None
    now = utc_now()
    with runtime.database.reading() as session:
        credential = get_credential(session, connection.id)
        newest = select(CredentialEvent).order_by(col(CredentialEvent.id).desc()).limit(SHOWN)
        own = newest.where(CredentialEvent.credential_id == credential.id) if credential else None
        events = list(session.exec(own)) if own is not None else []
        pending = pending_revocations(session, connection.id)
    is_token = credential is not None and credential.method == Method.ACCESS_TOKEN
    failure = credential.failure if credential else None
    until = credential.cooldown_until if credential else None
    return CredentialHistory(
        credential=credential,
        events=events,
        card=Card.from_json(failure) if failure else None,
        is_resting=until is not None and until > now,
        pending=pending,
        now=now,
        why_not_rotated=why_not_rotated(connection, credential) if credential and is_token else "",
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times in a row"


def thin(runtime: Runtime, before_batch: Callable[[], object] = lambda: None) -> int:
    """Delete surplus events and tokens that GitLab revoked long ago; return how many."""
    number = func.row_number().over(
        partition_by=col(CredentialEvent.credential_id), order_by=col(CredentialEvent.id).desc()
    )
    numbered = select(col(CredentialEvent.id).label("id"), number.label("number")).subquery()
    events = select(numbered.c.id).where(numbered.c.number > MAX_EVENTS)
    # The newest of a connection stays: the page of a disconnected one says when its token was revoked.
    newest = select(func.max(RetiredToken.id)).group_by(col(RetiredToken.connection_id))
    revoked = col(RetiredToken.revoked_at) < utc_now() - KEEP_REVOKED
    tokens = select(RetiredToken.id).where(revoked, col(RetiredToken.id).not_in(newest))
    delete = runtime.database.delete_in_batches
    return delete(CredentialEvent, events, before_batch) + delete(RetiredToken, tokens, before_batch)
