"""The flight recorder of a credential that lives for years stays small."""

from __future__ import annotations

from datetime import timedelta

from sqlmodel import Session, select

from portal.authorization.attempts import AuthorizationAttempt
from portal.credentials.history import MAX_EVENTS, thin
from portal.credentials.models import CredentialEvent, RetiredToken
from portal.db import utc_now
from portal.jobs import enqueue
from portal.jobs.testing import run_pending
from portal.runtime import Runtime
from tests.support.paired import Paired
from tests.support.people import Cast

LONG_AGO = utc_now() - timedelta(days=400)


def add_events(session: Session, credential_id: int, count: int) -> None:
    session.add_all(CredentialEvent(credential_id=credential_id, kind="refreshed", generation=n) for n in range(count))


def retired(connection_id: int, revoked: bool) -> RetiredToken:
    at = LONG_AGO if revoked else None
    return RetiredToken(
        organization_id=1,
        connection_id=connection_id,
        connection_name="x",
        origin="x",
        reason="replaced",
        revoked_at=at,
    )


def attempt(paired: Paired, cast: Cast, number: int, **details: object) -> AuthorizationAttempt:
    return AuthorizationAttempt(
        public_id=f"p{number}",
        state_hash=f"h{number}",
        browser_hash="b",
        connection_id=paired.connection_id,
        user_id=cast.owner.user_id,
        row_version=1,
        expires_at=utc_now(),
        **details,
    )


def test_only_what_is_old_or_too_much_goes(paired: Paired, runtime: Runtime, cast: Cast) -> None:
    with runtime.database.transaction() as session:
        add_events(session, paired.credential.id, MAX_EVENTS + 7)
        # Of the first connection the newest stays, and what is not revoked stays however old it is.
        session.add_all([retired(1, True), retired(1, True), retired(2, True), retired(2, False), retired(2, False)])

    assert thin(runtime) == 7 + 2

    with runtime.database.reading() as session:
        kept = list(session.exec(select(CredentialEvent.generation).order_by(CredentialEvent.id)))
        assert (len(kept), kept[0]) == (MAX_EVENTS, 7)
        left = [(row.connection_id, row.revoked_at is None) for row in session.exec(select(RetiredToken))]
        assert sorted(left) == [(1, False), (2, True), (2, True)]
    assert thin(runtime) == 0


def test_old_attempts_are_deleted_by_their_own_job(paired: Paired, runtime: Runtime, cast: Cast) -> None:
    with runtime.database.transaction() as session:
        session.add_all([attempt(paired, cast, 1), attempt(paired, cast, 2, created_at=LONG_AGO)])
        enqueue(session, "authorization.forget", organization_id=None, title="Delete old attempts")

    run_pending(runtime)

    with runtime.database.reading() as session:
        assert [row.public_id for row in session.exec(select(AuthorizationAttempt))] == ["p1"]
