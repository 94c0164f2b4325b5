"""What step 5 shows: the state of the newest attempt, and who the connection acts as."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from sqlmodel import Session, col, select

from portal.accounts.models import User as PortalUser
from portal.actor import Principal, Right
from portal.authorization import attempts
from portal.authorization.attempts import AttemptState, AuthorizationAttempt
from portal.authorization.exchange import TITLES, Doubt
from portal.connections import panels
from portal.connections.checklist import wanted_scopes
from portal.connections.models import Connection, Method
from portal.credentials.models import Credential, CredentialEvent, CredentialState, RetiredToken
from portal.credentials.store import get_credential
from portal.db import utc_now
from portal.errors import Card
from portal.gitlab import links
from portal.gitlab.identification import missing_scopes, parse_version, unused_scopes
from portal.runtime import Runtime


class Phase(StrEnum):
    """Which view the status panel shows."""

    READY = "ready"
    WAITING = "waiting"
    WRONG_PERSON = "wrong_person"
    FAILED = "failed"
    AUTHORIZED = "authorized"


@dataclass(frozen=True)
class Status:
    """A snapshot of a connection's authorization.

    Attributes:
        fresh_token: what happened to a token that GitLab issued and that was not kept: `revoked`, `pending` while the
            portal keeps trying, `unknown` if only a person can end it; empty if there was none.
        credential: what is stored; None before the first success and after a disconnection.
        missing_scopes: wanted now, but not granted then.
        unused_scopes: granted, but no longer wanted.
        manage_url: where the service user, signed in to GitLab, sees and revokes what it authorized.
    """

    phase: Phase
    attempt: AuthorizationAttempt | None
    credential: Credential | None
    authorized_by: str
    card: Card | None
    fresh_token: str
    wanted_scopes: list[str]
    missing_scopes: list[str]
    unused_scopes: list[str]
    gitlab_url: str
    user_url: str
    manage_url: str

    @property
    def title_of_doubt(self) -> str:
        """What the panel is called if the user who authorized may not be the service user."""
        doubts = self.attempt.details.get("doubts", []) if self.attempt else []
        return TITLES[Doubt(doubts[0]) if doubts else Doubt.OTHER_USER]

    @property
    def latest(self) -> str:
        """The newest attempt and its state, which changes whenever anything happens; empty before the first."""
        return f"{self.attempt.public_id}.{self.attempt.outcome}" if self.attempt else ""

    def after(self, seen: str) -> Status:
        """Return what a person sees who pressed the button when `seen` was the newest: waiting, until that changes."""
        is_started = bool(self.attempt) and self.latest.partition(".")[0] != seen.partition(".")[0]
        return self if is_started or self.phase == Phase.WAITING else replace(self, phase=Phase.WAITING)


_PHASES = {
    AttemptState.WRONG_PERSON: Phase.WRONG_PERSON,
    AttemptState.DENIED: Phase.FAILED,
    AttemptState.FAILED: Phase.FAILED,
}


def load_status(runtime: Runtime, principal: Principal, connection: Connection) -> Status:
    """Read the newest attempt of this person and the stored credential."""
    with runtime.database.reading() as session:
        attempt = attempts.latest_attempt(session, principal, attempts.id_of(connection))
        credential = _in_use(get_credential(session, attempts.id_of(connection)))
        authorized_by = user_name(session, credential.authorized_by_user_id) if credential else ""
        if credential and credential.authorized_by_user_id is None:
            # Through a hand-over link; the history has the name for as long as it is kept.
            mine = (CredentialEvent.credential_id == credential.id, CredentialEvent.kind == "authorized")
            found = select(CredentialEvent.reason).where(*mine).order_by(col(CredentialEvent.id).desc()).limit(1)
            told = (session.exec(found).first() or "").removeprefix("by ")
            authorized_by = told or "someone without an account"
        held = attempt.details.get("retired_token_id") if attempt else None
        retired = session.get(RetiredToken, held) if held else None
    fresh_token = ""
    if retired is not None:
        unproved = "unknown" if retired.token_sealed is None else "pending"
        fresh_token = unproved if retired.revoked_at is None else "revoked"
    card = Card.from_json(attempt.card) if attempt and attempt.card else None
    if attempt and attempts.is_interrupted(attempt):
        card = attempts.interruption_card(attempt)
    wanted = wanted_scopes(connection)
    is_known = credential is not None and credential.are_scopes_known
    granted = credential.scopes if credential and is_known else []
    return Status(
        phase=_phase(attempt, credential),
        attempt=attempt,
        credential=credential,
        authorized_by=authorized_by,
        card=card,
        fresh_token=fresh_token,
        wanted_scopes=wanted,
        missing_scopes=missing_scopes(granted, wanted) if is_known else [],
        unused_scopes=unused_scopes(granted, wanted),
        gitlab_url=connection.external_url,
        user_url=links.user(connection.external_url, connection.service_username),
        manage_url=links.own_applications(connection.external_url, parse_version(connection.version_seen)),
    )


def granted_scopes(session: Session, connection_id: int) -> frozenset[str] | None:
    """Return what the credential in use was granted; None if there is none, or if GitLab does not say."""
    credential = _in_use(get_credential(session, connection_id))
    return frozenset(credential.scopes) if credential and credential.are_scopes_known else None


def _in_use(credential: Credential | None) -> Credential | None:
    # A credential whose tokens were taken out of use is only a record; it gives no access.
    return None if credential is None or credential.state == CredentialState.ERASED else credential


def _phase(attempt: AuthorizationAttempt | None, credential: Credential | None) -> Phase:
    if attempt and attempts.is_interrupted(attempt):
        return Phase.FAILED
    if attempt and attempt.outcome in {AttemptState.STARTED, AttemptState.CLAIMED} and not attempts.is_over(attempt):
        return Phase.WAITING
    if attempt and AttemptState(attempt.outcome) in _PHASES:
        return _PHASES[AttemptState(attempt.outcome)]
    return Phase.AUTHORIZED if credential and credential.method == Method.OAUTH else Phase.READY


def user_name(session: Session, user_id: int | None) -> str:
    """Return the name of one of the portal's people; empty if they are gone."""
    user = session.get(PortalUser, user_id) if user_id else None
    return user.name if user else ""


def authorization_panels(runtime: Runtime, principal: Principal, connection: Connection) -> list[panels.Panel]:
    """Return who it acts as and the state of its access, for the overview and the settings; nothing without a
    credential.
    """
    status = load_status(runtime, principal, connection)
    if status.credential is None:
        return []
    may_authorize = principal.may(Right.MANAGE_CONNECTIONS)
    fact = {"authorization": status, "access": access_of(status.credential)}
    return [
        panels.Panel(panels.Place.FACT, "authorization/_fact.html", fact),
        panels.Panel(
            panels.Place.SETTING,
            "authorization/_setting.html",
            {"authorization": status, "may_authorize": may_authorize},
        ),
    ]


@dataclass(frozen=True)
class AccessFact:
    """The state of the access, in a word and a note; `at` completes the note."""

    word: str
    note: str
    at: datetime | None = None
    is_failing: bool = False


def access_of(credential: Credential) -> AccessFact:
    """Return the state of a credential as the overview words it."""
    if credential.state == CredentialState.SECRET_CHANGED:
        return AccessFact("Secret refused", "enter the application's Secret again", is_failing=True)
    is_token, ends_at = credential.method == Method.ACCESS_TOKEN, credential.expires_at
    if credential.state != CredentialState.ALIVE:
        return AccessFact("Ended", "replace the token" if is_token else "authorize again", is_failing=True)
    if is_token and ends_at is not None and ends_at <= utc_now():
        return AccessFact("Ended", "replace the token; it ended", ends_at, is_failing=True)
    if is_token and credential.refresh_at is None:
        if ends_at is None and not (credential.token_details or {}).get("is_expiry_known", True):
            return AccessFact("Access token", "its end is not known")
        return AccessFact("Access token", "ends", ends_at) if ends_at else AccessFact("Does not expire", "")
    if is_token and not credential.failures:
        return AccessFact("Rotates itself", "next", credential.refresh_at)
    if credential.failures:
        return AccessFact("Still valid", "renews when GitLab answers")
    if credential.refresh_at is None:
        return AccessFact("Does not expire", "")
    return AccessFact("Renews itself", "next", credential.refresh_at)
