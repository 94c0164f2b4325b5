"""A process dies at each point of an authorization: the pair is stored or not, never half, and the next one works."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlmodel import select

from portal.authorization.attempts import CLAIM_MINUTES, AttemptState, AuthorizationAttempt
from portal.crash_points import POINTS
from portal.credentials import demand_access
from portal.credentials.models import Credential, RetiredToken
from portal.credentials.revocation import REVOKE_RETIRED
from portal.db import utc_now
from portal.jobs import enqueue
from portal.jobs.testing import run_pending
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.children import DIED, run_child
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import authorize, pass_gitlab, prepare, start

CHILD = "tests.crash.take_code"
REVOKED_LATER = {
    "authorize:claimed": [],
    "authorize:exchanged": [False],
    "authorize:held": [True],
    "authorize:judged": [True],
    "authorize:stored": [False],
}


@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith("authorize:")])
def test_process_dies_in_an_authorization(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, cast: Cast, point: str
) -> None:
    prepared = prepare(runtime, sandbox, cast.owner)
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    query = parse_qs(urlsplit(location).query)
    given = {
        "slug": prepared.slug,
        "user_id": cast.owner.user_id,
        "organization_id": cast.owner.organization_id,
        "state": query["state"][0],
        "code": query["code"][0],
        "browser_token": browser_token(owner, runtime),
    }
    assert run_child(runtime, sandbox, CHILD, given, f"{point}:1") == DIED

    stored = credentials(runtime)
    assert len(stored) == (1 if point == "authorize:stored" else 0)
    attempt = attempts(runtime)[0]
    assert attempt.outcome == (AttemptState.SUCCEEDED if stored else AttemptState.CLAIMED)
    page = f"/connections/{prepared.slug}/setup/authorize"
    assert "Waiting for GitLab" in owner.get(page).text or stored
    let_minutes_pass(runtime)
    if not stored:
        is_on_record = True in REVOKED_LATER[point]
        assert ("which Gatehouse does not know" in owner.get(page).text) != is_on_record
        assert ("before it could store the token" in owner.get(page).text) == is_on_record
    run_pending(runtime)
    issued = sandbox.world.oauth.tokens(application_id=prepared.application.id)
    # Between GitLab's answer and the record of it no one can know the pair; from then on none stays alive.
    assert [token.is_revoked for token in issued] == REVOKED_LATER[point]

    authorize(owner, sandbox, prepared.slug)
    issued = sandbox.world.oauth.tokens(application_id=prepared.application.id)
    token = demand_access(runtime, prepared.connection.id, reason="test").token.reveal()
    assert token == issued[-1].access_token


def let_minutes_pass(runtime: Runtime) -> None:
    """Count the dead process as gone, and make what it held due."""
    with runtime.database.transaction() as session:
        for attempt in session.exec(select(AuthorizationAttempt)):
            attempt.claimed_at = utc_now() - timedelta(minutes=CLAIM_MINUTES, seconds=1)
        for row in session.exec(select(RetiredToken)):
            row.next_try_at = utc_now() - timedelta(seconds=1)
        enqueue(session, REVOKE_RETIRED, organization_id=None, title="Revoke", key=f"every:{REVOKE_RETIRED}")


def browser_token(visitor: Visitor, runtime: Runtime) -> str:
    public_id = attempts(runtime)[-1].public_id
    found = [cookie for cookie in visitor.http._cookies.values() if public_id in cookie.key]
    return found[0].value


def attempts(runtime: Runtime) -> list[AuthorizationAttempt]:
    with runtime.database.reading() as session:
        return list(session.exec(select(AuthorizationAttempt).order_by(AuthorizationAttempt.id)))


def credentials(runtime: Runtime) -> list[Credential]:
    with runtime.database.reading() as session:
        return list(session.exec(select(Credential)))
