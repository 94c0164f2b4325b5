from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import quote

import pytest
from flask import Flask
from sqlmodel import select

from portal.authorization.attempts import AttemptState, AuthorizationAttempt
from portal.connections import store
from portal.connections.models import Connection, ConnectionState, Method
from portal.credentials import demand_access
from portal.credentials.models import Credential, RetiredToken
from portal.credentials.revocation import REVOKE_RETIRED
from portal.db import MAX_ID, utc_now
from portal.errors import Card
from portal.jobs import enqueue
from portal.jobs.models import Job
from portal.jobs.testing import run_pending
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.accounts.at_once import at_once, crowd
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared, authorize, come_back, pass_gitlab, prepare, principal_of, start

TOKEN = "/oauth/token"


def newest(runtime: Runtime) -> AuthorizationAttempt:
    with runtime.database.reading() as session:
        return session.exec(select(AuthorizationAttempt).order_by(AuthorizationAttempt.id.desc())).first()  # type: ignore[attr-defined]


def stored(runtime: Runtime) -> list[Credential]:
    with runtime.database.reading() as session:
        return list(session.exec(select(Credential)))


def connection_of(runtime: Runtime, prepared: Prepared) -> Connection:
    with runtime.database.reading() as session:
        return session.get_one(Connection, prepared.connection.id)


def let_pauses_pass(runtime: Runtime) -> None:
    """Make every pair that waits for its revocation due, and queue the job that revokes."""
    with runtime.database.transaction() as session:
        for row in session.exec(select(RetiredToken)):
            row.next_try_at = utc_now() - timedelta(seconds=1)
        enqueue(session, REVOKE_RETIRED, organization_id=None, title="Revoke", key=f"every:{REVOKE_RETIRED}")


def test_authorizing_stores_a_sealed_pair_and_starts_the_catalogue_read(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    answer = authorize(owner, sandbox, prepared.slug)

    assert answer.status_code == 303
    assert answer.headers["Location"] == f"/connections/{prepared.slug}/setup/authorize"
    credential = stored(runtime)[0]
    assert (credential.gitlab_username, credential.scopes) == (
        "gatehouse",
        ["read_api", "read_user", "read_repository"],
    )
    assert connection_of(runtime, prepared).state == ConnectionState.CONNECTED
    token = demand_access(runtime, prepared.connection.id, reason="test").token.reveal()
    assert sandbox.world.oauth.find_access_token(token) is not None
    assert token.encode() not in credential.access_token_sealed
    with runtime.database.reading() as session:
        assert [job.name for job in session.exec(select(Job))] == ["repositories.read_catalogue"]


def test_consent_page_leads_to_the_same_end(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor
) -> None:
    prepared = prepare(runtime, sandbox, cast.owner, trusted=False)

    authorize(owner, sandbox, prepared.slug)

    assert newest(runtime).outcome == AttemptState.SUCCEEDED


def test_token_request_carries_verifier_and_secret(sandbox: RunningSandbox, owner: Visitor, prepared: Prepared) -> None:
    authorize(owner, sandbox, prepared.slug)

    sent = [request for request in sandbox.requests.all() if request.path.endswith(TOKEN)]
    assert len(sent) == 1
    assert {"code_verifier", "client_secret", "code", "redirect_uri"} <= set(sent[0].form)


def test_wrong_person_stores_nothing_and_revokes_the_fresh_token(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    authorize(owner, sandbox, prepared.slug, "root")

    page = owner.get(f"/connections/{prepared.slug}/setup/authorize")
    assert newest(runtime).outcome == AttemptState.WRONG_PERSON
    assert stored(runtime) == []
    assert "@gatehouse" in page.text
    assert "@root" in page.text
    assert "Nothing was stored" in page.text
    assert [token.is_revoked for token in sandbox.world.oauth.tokens()] == [True]


def test_failed_revocation_is_told_on_the_wrong_person_page(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    sandbox.faults.add("/oauth/revoke", status=503)

    authorize(owner, sandbox, prepared.slug, "root")

    page = f"/connections/{prepared.slug}/setup/authorize"
    assert "is not revoked yet" in owner.get(page).text
    sandbox.faults.clear()
    let_pauses_pass(runtime)
    run_pending(runtime)
    assert [token.is_revoked for token in sandbox.world.oauth.tokens()] == [True]
    assert "GitLab has revoked the token" in owner.get(page).text


def test_other_user_can_be_made_the_expected_one_and_has_to_authorize_again(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    authorize(owner, sandbox, prepared.slug, "dev")

    owner.post(f"/connections/{prepared.slug}/authorization/expected-user")

    assert connection_of(runtime, prepared).service_username == "dev"
    assert stored(runtime) == []
    authorize(owner, sandbox, prepared.slug, "dev")
    assert stored(runtime)[0].gitlab_username == "dev"


def test_administrator_cannot_be_made_the_expected_user(
    sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    authorize(owner, sandbox, prepared.slug, "root")

    page = owner.get(f"/connections/{prepared.slug}/setup/authorize").text

    assert "Make @root the expected user" not in page


def test_denial_is_told_and_stores_nothing(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor
) -> None:
    prepared = prepare(runtime, sandbox, cast.owner, trusted=False)
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse", button="Deny")
    sandbox.requests.clear()

    come_back(owner, location)

    assert newest(runtime).outcome == AttemptState.DENIED
    assert "denied" in owner.get(f"/connections/{prepared.slug}/setup/authorize").text
    assert sandbox.requests.count(TOKEN) == 0


def test_callback_link_of_an_attacker_is_refused_in_another_browser(
    runtime: Runtime, sandbox: RunningSandbox, app: Flask, cast: Cast, owner: Visitor, prepared: Prepared
) -> None:
    """Attack story 1: the administrator is sent a callback that an attacker started and authorized."""
    attacker = Visitor(app).sign_in(cast.administrator)
    location = pass_gitlab(sandbox, start(attacker, prepared.slug), "gatehouse")
    sandbox.requests.clear()

    answer = come_back(owner, location)

    assert answer.status_code == 400
    assert "another browser" in answer.text
    assert sandbox.requests.count(TOKEN) == 0
    assert stored(runtime) == []


def test_state_of_another_person_is_refused_even_in_the_same_browser(
    sandbox: RunningSandbox, app: Flask, cast: Cast, owner: Visitor, prepared: Prepared
) -> None:
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    owner.sign_in(cast.administrator)
    sandbox.requests.clear()

    answer = come_back(owner, location)

    assert answer.status_code == 400
    assert "someone else" in answer.text
    assert sandbox.requests.count(TOKEN) == 0


def test_malformed_callback_is_a_clear_400_and_asks_gitlab_nothing(
    sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    for query in (
        "",
        "code=x",
        "code=x&state=",
        "state=unknown&code=x",
        "code=x&state=a&state=b",
        "code=x&code=y&state=a",
        "code=x&error=access_denied&state=a",
        "error=access_denied",
        "code=x&state=%ED%A0%80",
        "code=x&state=" + "a" * 3000,
        "code=x&state=%00",
    ):
        assert owner.get(f"/oauth/callback/{prepared.slug}?{query}").status_code == 400, query

    assert sandbox.requests.count(TOKEN) == 0


def test_head_and_prefetch_do_not_spend_the_code(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    path = location[location.index("/oauth/callback") :]

    head = owner.http.head(path, base_url=owner.base_url)
    prefetch = owner.get(path, headers={"Sec-Purpose": "prefetch"})
    visit = owner.get(path)

    assert (head.status_code, prefetch.status_code, visit.status_code) == (405, 405, 303)
    assert newest(runtime).outcome == AttemptState.SUCCEEDED


def test_reload_of_the_callback_exchanges_the_code_once(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    path = location[location.index("/oauth/callback") :]
    cookies = {cookie.key: cookie.value for cookie in owner.http._cookies.values()}

    first = owner.get(path)
    for name, value in cookies.items():
        owner.http.set_cookie(name, value, domain="127.0.0.1")
    second = owner.get(path)

    assert first.headers["Location"] == second.headers["Location"]
    assert sandbox.requests.count(TOKEN) == 1


def test_fifty_callbacks_at_once_exchange_the_code_once(
    sandbox: RunningSandbox, app: Flask, owner: Visitor, prepared: Prepared, runtime: Runtime
) -> None:
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    path = location[location.index("/oauth/callback") :]
    cookies = "; ".join(f"{cookie.key}={cookie.value}" for cookie in owner.http._cookies.values())

    def call() -> int:
        client = app.test_client(use_cookies=False)
        return client.get(path, base_url=owner.base_url, headers={"Cookie": cookies}).status_code

    # At most as many at the same time as there are database connections.
    statuses = crowd(runtime.database, "authorization_attempt", *[call] * 12) + at_once(*[call] * 38)

    assert set(statuses) == {303}
    assert sandbox.requests.count(TOKEN) == 1


def test_attempt_older_than_ten_minutes_is_refused(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    with runtime.database.transaction() as session:
        session.get_one(AuthorizationAttempt, newest(runtime).id).expires_at = utc_now() - timedelta(seconds=1)
    sandbox.requests.clear()

    answer = come_back(owner, location)

    assert answer.status_code == 400
    assert "10 minutes" in answer.text
    assert sandbox.requests.count(TOKEN) == 0


def test_new_attempt_kills_the_old_state(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    old = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    start(owner, prepared.slug)
    sandbox.requests.clear()

    come_back(owner, old)

    assert sandbox.requests.count(TOKEN) == 0
    assert stored(runtime) == []


def test_edit_during_the_trip_voids_the_attempt(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor, prepared: Prepared
) -> None:
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    principal = principal_of(runtime, cast.owner)
    with runtime.database.transaction() as session:
        connection = store.get_connection_for_admin(session, principal, prepared.slug)
        store.expect_user(session, principal, connection, "somebody-else")
    sandbox.requests.clear()

    answer = come_back(owner, location)

    assert answer.status_code == 409
    assert sandbox.requests.count(TOKEN) == 0
    assert newest(runtime).outcome == AttemptState.ABANDONED


@pytest.mark.parametrize("issuer", ["https://evil.example", "{url}.evil.example", "{url}/", "{url}@evil.example", ""])
def test_wrong_issuer_is_refused_before_any_request(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared, issuer: str
) -> None:
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    sandbox.requests.clear()

    answer = come_back(owner, f"{location}&iss={quote(issuer.format(url=sandbox.url), safe='')}")

    assert answer.status_code == 400
    assert sandbox.requests.all() == []
    assert newest(runtime).outcome == AttemptState.FAILED


def test_session_that_ended_during_the_trip_voids_the_attempt(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    owner.http.delete_cookie("gatehouse", domain="127.0.0.1")
    sandbox.requests.clear()

    answer = come_back(owner, location)

    assert answer.status_code == 401
    assert "Nothing was stored" in answer.text
    assert newest(runtime).outcome == AttemptState.ABANDONED
    assert sandbox.requests.count(TOKEN) == 0


def test_callback_of_another_connection_is_refused(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor, prepared: Prepared
) -> None:
    other = prepare(runtime, sandbox, cast.owner, name="Second")
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    sandbox.requests.clear()

    answer = come_back(owner, location.replace(f"/callback/{prepared.slug}", f"/callback/{other.slug}"))

    assert answer.status_code == 400
    assert sandbox.requests.count(TOKEN) == 0


def test_error_text_of_gitlab_stays_text(sandbox: RunningSandbox, owner: Visitor, prepared: Prepared) -> None:
    address = start(owner, prepared.slug)
    state = re.search(r"state=([^&]+)", address)[1]

    owner.get(
        f"/oauth/callback/{prepared.slug}?state={state}&error=%3Csvg+onload%3Dalert(1)%3E"
        "&error_description=%E2%80%AE%3Cimg+src%3Dx%3E"
    )

    page = owner.get(f"/connections/{prepared.slug}/setup/authorize").text
    assert "<svg onload" not in page
    assert "<img src=x" not in page
    assert "\u202e" not in page


def test_lost_answer_of_the_exchange_is_told_and_not_repeated(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    sandbox.requests.clear()
    sandbox.faults.add(TOKEN, drop="after")

    come_back(owner, location)

    attempt = newest(runtime)
    assert attempt.outcome == AttemptState.FAILED
    assert Card.from_json(attempt.card).layer == "HTTP"
    assert sandbox.requests.count(TOKEN) == 1


def test_fewer_scopes_than_asked_are_refused_by_name(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    body = {"access_token": "a" * 64, "token_type": "Bearer", "expires_in": 7200, "scope": "read_user"}
    sandbox.faults.add(TOKEN, status=200, body=body)
    sandbox.faults.add("/api/v4/user", status=200, body={"id": 20, "username": "gatehouse", "state": "active"})

    come_back(owner, location)

    attempt = newest(runtime)
    assert attempt.outcome == AttemptState.FAILED
    assert attempt.card["params"]["scopes"] == "read_api, read_repository"
    assert stored(runtime) == []


@pytest.mark.parametrize(("user_id", "outcome"), [(MAX_ID, AttemptState.SUCCEEDED), (MAX_ID + 1, AttemptState.FAILED)])
def test_user_id_may_be_the_largest_a_database_takes_and_a_larger_one_is_no_answer(
    runtime: Runtime,
    sandbox: RunningSandbox,
    owner: Visitor,
    prepared: Prepared,
    user_id: int,
    outcome: AttemptState,
) -> None:
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    sandbox.faults.add("/api/v4/user", body={"id": user_id, "username": "gatehouse", "state": "active"})

    assert come_back(owner, location).status_code == 303

    assert newest(runtime).outcome == outcome
    assert [row.gitlab_user_id for row in stored(runtime)] == ([user_id] if outcome == AttemptState.SUCCEEDED else [])
    assert owner.get(f"/connections/{prepared.slug}").status_code == 200


def test_popup_ends_on_the_page_that_closes_it(sandbox: RunningSandbox, owner: Visitor, prepared: Prepared) -> None:
    answer = come_back(owner, pass_gitlab(sandbox, start(owner, prepared.slug, in_popup=True), "gatehouse"))

    done = owner.get(answer.headers["Location"])
    assert "data-authorization-finished" in done.text
    assert "code=" not in answer.headers["Location"]


def test_status_fragment_polls_only_while_waiting(sandbox: RunningSandbox, owner: Visitor, prepared: Prepared) -> None:
    path = f"/connections/{prepared.slug}/authorization/status"
    before = owner.get(path, htmx=True).text
    address = start(owner, prepared.slug)
    waiting = owner.get(path, htmx=True).text
    come_back(owner, pass_gitlab(sandbox, address, "gatehouse"))
    after = owner.get(path, htmx=True).text

    assert ["every 1s" in text for text in (before, waiting, after)] == [False, True, False]
    assert "@gatehouse" in after


@pytest.mark.parametrize("path", ["setup/authorize", "authorization/status"])
def test_pages_are_404_for_others_and_sign_in_for_visitors(
    owner: Visitor, outsider: Visitor, auditor: Visitor, visitor: Visitor, prepared: Prepared, path: str
) -> None:
    address = f"/connections/{prepared.slug}/{path}"

    assert outsider.get(address).status_code == 404
    assert auditor.get(address).status_code == 404
    assert visitor.get(address).status_code == 303


def test_start_needs_the_application_first(runtime: Runtime, cast: Cast, owner: Visitor) -> None:
    draft = store.create_draft(runtime, principal_of(runtime, cast.owner), "Empty", Method.OAUTH)

    assert owner.post(f"/connections/{draft.slug}/authorization").status_code == 409
    assert owner.get(f"/connections/{draft.slug}/setup/authorize").headers["Location"].endswith("/setup/instance")
