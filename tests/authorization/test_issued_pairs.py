"""Every pair that GitLab issues is stored, or on record until it is dead there; nothing else in an answer loses one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlmodel import col, select

from portal.audit.models import AuditEvent
from portal.authorization.attempts import AttemptState, AuthorizationAttempt
from portal.credentials import TIMES
from portal.credentials.models import Credential, RetiredToken
from portal.credentials.revocation import REVOKE_RETIRED
from portal.credentials.store import sweep_spool
from portal.db import utc_now
from portal.errors import Card
from portal.jobs import enqueue
from portal.jobs.testing import run_pending
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared, authorize, come_back, pass_gitlab, start

TOKEN, INFO, USER, REVOKE = "/oauth/token", "/oauth/token/info", "/api/v4/user", "/oauth/revoke"
SCOPES = ["read_api", "read_user", "read_repository"]


def newest(runtime: Runtime) -> AuthorizationAttempt:
    with runtime.database.reading() as session:
        return session.exec(select(AuthorizationAttempt).order_by(col(AuthorizationAttempt.id).desc())).first()


def stored(runtime: Runtime) -> list[Credential]:
    with runtime.database.reading() as session:
        return list(session.exec(select(Credential)))


def retired(runtime: Runtime) -> list[RetiredToken]:
    with runtime.database.reading() as session:
        return list(session.exec(select(RetiredToken)))


def actions(runtime: Runtime) -> list[str]:
    with runtime.database.reading() as session:
        return [row.action for row in session.exec(select(AuditEvent).order_by(AuditEvent.number))]


def alive(sandbox: RunningSandbox) -> int:
    return sum(not token.is_revoked for token in sandbox.world.oauth.tokens())


def let_pauses_pass(runtime: Runtime) -> None:
    """Do what the periodic job does once the next attempt is due."""
    with runtime.database.transaction() as session:
        for row in session.exec(select(RetiredToken)):
            row.next_try_at = utc_now() - timedelta(seconds=1)
        enqueue(session, REVOKE_RETIRED, organization_id=None, title="Revoke", key=f"every:{REVOKE_RETIRED}")
    run_pending(runtime)


@contextmanager
def failing(runtime: Runtime, *texts: str) -> Iterator[None]:
    """Make the database fail at statements with this beginning, like one that is locked or full."""

    def fail(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if statement.lstrip().startswith(texts):
            raise OperationalError(statement, {}, psycopg.errors.DiskFull("no"))

    event.listen(runtime.database.engine, "before_cursor_execute", fail)
    try:
        yield
    finally:
        event.remove(runtime.database.engine, "before_cursor_execute", fail)


@pytest.mark.parametrize(
    "odd",
    [
        {"drop_members": ("scope",)},
        {"set_members": {"scope": None}},
        {"set_members": {"expires_in": 0}},
        {"set_members": {"expires_in": -1}},
        {"set_members": {"expires_in": 7200.5}},
        {"set_members": {"expires_in": "two hours"}},
        {"set_members": {"expires_in": 400 * 86400}},
        {"drop_members": ("expires_in",)},
        {"drop_members": ("token_type", "created_at")},
        {"content_type": "text/html"},
        {"encoding": "deflate"},
        {"encoding": "br"},
    ],
    ids=str,
)
def test_pair_is_kept_whatever_stands_beside_it(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared, odd: dict[str, Any]
) -> None:
    sandbox.faults.add(TOKEN, **odd)

    authorize(owner, sandbox, prepared.slug)

    assert newest(runtime).outcome == AttemptState.SUCCEEDED
    (credential,) = stored(runtime)
    assert sorted(credential.scopes) == sorted(SCOPES)
    assert credential.expires_at is not None
    assert credential.expires_at > utc_now() + timedelta(minutes=100)
    assert (retired(runtime), alive(sandbox)) == ([], 1)


def test_scopes_that_are_not_told_are_asked_for_and_else_as_asked(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    sandbox.faults.add(TOKEN, drop_members=("scope",))
    sandbox.faults.add(INFO, set_members={"scope": ["read_user"]}, times=1)

    authorize(owner, sandbox, prepared.slug)

    assert newest(runtime).card["code"] == "scopes_missing"
    assert (stored(runtime), alive(sandbox)) == ([], 0)
    sandbox.faults.add(INFO, status=404)
    authorize(owner, sandbox, prepared.slug)
    assert sorted(stored(runtime)[0].scopes) == sorted(SCOPES)


def test_token_that_is_no_bearer_token_is_revoked(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    sandbox.faults.add(TOKEN, set_members={"token_type": "mac"})

    authorize(owner, sandbox, prepared.slug)

    assert newest(runtime).card["code"] == "no_bearer_token"
    assert (stored(runtime), alive(sandbox)) == ([], 0)


def test_refresh_token_that_comes_without_an_access_token_is_revoked(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    sandbox.faults.add(TOKEN, set_members={"access_token": None})
    sandbox.faults.add(REVOKE, status=502, html=True, times=1)

    authorize(owner, sandbox, prepared.slug)

    assert newest(runtime).card["code"] == "no_access_token"
    assert "An earlier token is not revoked yet" in owner.get(f"/connections/{prepared.slug}").text
    let_pauses_pass(runtime)
    assert (stored(runtime), alive(sandbox)) == ([], 0)


def test_process_that_ends_exchanges_no_code_and_finishes_one_that_it_has_sent(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    sandbox.faults.hold(TOKEN)
    coming_back = threading.Thread(target=come_back, args=(owner, location))
    coming_back.start()
    sandbox.requests.wait_for(TOKEN)
    runtime.shutdown.begin()

    assert not runtime.shutdown.wait(0.01)
    sandbox.faults.release()
    coming_back.join()
    assert runtime.shutdown.wait(0)
    assert newest(runtime).outcome == AttemptState.SUCCEEDED

    authorize(owner, sandbox, prepared.slug)
    assert newest(runtime).card["code"] == "portal_stopping"
    assert sandbox.requests.count(TOKEN) == 1


def test_pair_of_a_gitlab_that_fails_right_after_it_is_revoked_when_it_is_back(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    sandbox.faults.add(USER, status=502, html=True)
    sandbox.faults.add(REVOKE, status=502, html=True)

    authorize(owner, sandbox, prepared.slug)

    assert newest(runtime).card["code"] == "gitlab_unavailable"
    (row,) = retired(runtime)
    assert (row.reason, row.tries, row.revoked_at) == ("stray", 1, None)
    assert row.failure["code"] == "gitlab_unavailable"
    assert "token.revocation_failed" in actions(runtime)
    assert "An earlier token is not revoked yet" in owner.get(f"/connections/{prepared.slug}").text
    sandbox.faults.clear()
    let_pauses_pass(runtime)
    assert alive(sandbox) == 0
    assert actions(runtime)[-1] == "token.revoked"
    assert "An earlier token is not revoked yet" not in owner.get(f"/connections/{prepared.slug}").text


def test_token_of_a_wrong_person_is_shown_until_it_is_dead_and_names_whose_it_is(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    sandbox.faults.add(REVOKE, status=502, html=True)

    authorize(owner, sandbox, prepared.slug, "root")

    page = owner.get(f"/connections/{prepared.slug}").text
    assert "An earlier token is not revoked yet" in page
    assert "@root" in page
    assert retired(runtime)[0].snapshot["gitlab_username"] == "root"
    sandbox.faults.clear()
    let_pauses_pass(runtime)
    assert alive(sandbox) == 0


@pytest.mark.parametrize(
    "lost", [{"drop": "after"}, {"status": 502, "html": True, "processed": True}, {"truncate": 40}], ids=str
)
def test_lost_answer_says_that_gitlab_may_hold_a_token_and_where_to_revoke_it(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared, lost: dict[str, Any]
) -> None:
    sandbox.faults.add(TOKEN, **lost)

    authorize(owner, sandbox, prepared.slug)

    assert newest(runtime).card["code"] == "exchange_lost"
    assert alive(sandbox) == 1
    page = owner.get(f"/connections/{prepared.slug}/setup/authorize").text
    assert "which Gatehouse does not know" in page
    assert f"{sandbox.url}/-/user_settings/applications" in page


@pytest.mark.parametrize("is_gitlab_there", [True, False])
def test_pair_that_the_database_does_not_take_is_revoked_now_or_from_the_spool(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared, is_gitlab_there: bool
) -> None:
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    if not is_gitlab_there:
        sandbox.faults.add(REVOKE, status=502, html=True)

    with failing(runtime, "INSERT INTO retired_token"):
        assert come_back(owner, location).status_code == 503

    assert alive(sandbox) == (0 if is_gitlab_there else 1)
    sandbox.faults.clear()
    sweep_spool(runtime, TIMES)
    run_pending(runtime)
    assert alive(sandbox) == 0
    assert stored(runtime) == []
    assert all(row.revoked_at for row in retired(runtime))


def test_pair_that_cannot_be_stored_in_the_end_is_revoked_once_it_is_nobodys(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")

    with failing(runtime, "INSERT INTO credential "):
        assert come_back(owner, location).status_code == 503

    (row,) = retired(runtime)
    assert (row.tries, row.failure) == (0, None)
    let_pauses_pass(runtime)
    assert alive(sandbox) == 0


def test_pair_whose_judgement_took_too_long_is_not_stored_while_it_is_being_revoked(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    later = "UPDATE retired_token SET next_try_at = '2020-01-01 00:00:00+00:00'"

    def pass_time(_connection: Any, cursor: Any, statement: str, *_more: Any) -> None:
        if "FROM credential" in statement:
            cursor.connection.cursor().execute(later)

    event.listen(runtime.database.engine, "before_cursor_execute", pass_time)
    come_back(owner, location)
    event.remove(runtime.database.engine, "before_cursor_execute", pass_time)

    assert newest(runtime).outcome == AttemptState.FAILED
    assert stored(runtime) == []
    run_pending(runtime)
    assert alive(sandbox) == 0


# None of these writes differ between the two databases; they wait for GitLab.
@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize(("seconds", "looks"), [(0.9, 2), (3600, 3)])
def test_token_that_is_unknown_for_a_moment_is_looked_at_three_times(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared, seconds: float, looks: int
) -> None:
    sandbox.world.settings.refuse_fresh_tokens_seconds = seconds
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    sandbox.faults.add(REVOKE, status=503)

    come_back(owner, location)

    assert sandbox.requests.count(USER) == looks
    attempt = newest(runtime)
    if looks == 2:
        assert attempt.outcome == AttemptState.SUCCEEDED
    else:
        assert attempt.card["code"] == "fresh_token_refused"
        assert "issued a token and did not accept it" in Card.from_json(attempt.card).sentence
        assert len(retired(runtime)) == 1


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize("reason", ["Token is expired.", "Token was revoked."])
def test_token_that_gitlab_calls_dead_is_not_looked_at_again(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared, reason: str
) -> None:
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    sandbox.faults.add(USER, status=401, body={"error": "invalid_token", "error_description": reason}, times=1)

    come_back(owner, location)

    assert newest(runtime).outcome == AttemptState.FAILED
    assert sandbox.requests.count(USER) == 2  # The second one proves that it was revoked.
    assert alive(sandbox) == 0
