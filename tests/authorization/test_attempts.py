"""What one authorization is bound to from its start: a proof key, this browser, the connection as it was."""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import inspect, text
from sqlmodel import col, select

from portal.authorization.attempts import AttemptState, AuthorizationAttempt, open_verifier
from portal.connections.instance import Entered, save_instance
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared, come_back, pass_gitlab, principal_of, start

STARTS = 20


def newest(runtime: Runtime) -> AuthorizationAttempt:
    with runtime.database.reading() as session:
        return session.exec(select(AuthorizationAttempt).order_by(col(AuthorizationAttempt.id).desc()).limit(1)).one()


def asked_in(address: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def challenge_of(verifier: str) -> str:
    """RFC 7636 §4.2, by hand."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def stored_texts(runtime: Runtime) -> str:
    engine = runtime.database.engine
    with engine.connect() as connection:
        rows = [
            row
            for table in inspect(engine).get_table_names()
            for row in connection.execute(text(f'SELECT * FROM "{table}"'))
        ]
    return str([[bytes(cell) if isinstance(cell, memoryview) else cell for cell in row] for row in rows])


def test_each_start_has_a_state_and_a_proof_key_of_its_own(
    runtime: Runtime, owner: Visitor, prepared: Prepared
) -> None:
    asked = []
    for _ in range(STARTS):
        asked.append(asked_in(start(owner, prepared.slug)))
        verifier = open_verifier(runtime, newest(runtime)).reveal()
        assert 43 <= len(verifier) <= 128
        assert asked[-1]["code_challenge"] == challenge_of(verifier)

    assert {(one["response_type"], one["code_challenge_method"]) for one in asked} == {("code", "S256")}
    assert len({one["code_challenge"] for one in asked}) == len({one["state"] for one in asked}) == STARTS
    assert min(len(one["state"]) for one in asked) >= 43


def test_database_holds_neither_state_nor_verifier_nor_the_browsers_cookie(
    runtime: Runtime, owner: Visitor, prepared: Prepared
) -> None:
    state = asked_in(start(owner, prepared.slug))["state"]
    attempt = newest(runtime)
    cookie = owner.http.get_cookie(f"oauth-{attempt.public_id}", domain="127.0.0.1")
    assert cookie is not None

    stored = stored_texts(runtime)

    assert attempt.state_hash in stored
    for secret in (state, cookie.value, open_verifier(runtime, attempt).reveal()):
        assert secret not in stored


def test_domain_that_changes_during_the_trip_voids_the_attempt(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor, prepared: Prepared
) -> None:
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    save_instance(runtime, principal_of(runtime, cast.owner), prepared.slug, Entered("other.example.com"))
    sandbox.requests.clear()

    answer = come_back(owner, location)

    assert answer.status_code == 409
    assert sandbox.requests.all() == []
    assert newest(runtime).outcome == AttemptState.ABANDONED


def test_words_of_gitlab_are_cut_and_show_what_they_hide(runtime: Runtime, owner: Visitor, prepared: Prepared) -> None:
    state = asked_in(start(owner, prepared.slug))["state"]

    owner.get(f"/oauth/callback/{prepared.slug}?state={state}&error=tired&error_description=%E2%80%AE{'x' * 1900}")

    words = newest(runtime).card["words"]
    assert len(words) <= 200
    assert "\u202e" not in words


def test_scopes_beyond_those_asked_for_are_named(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    scope = "read_api read_user read_repository sudo"
    body = {"access_token": "a" * 64, "token_type": "Bearer", "expires_in": 7200, "scope": scope}
    sandbox.faults.add("/oauth/token", status=200, body=body)
    sandbox.faults.add("/api/v4/user", status=200, body={"id": 20, "username": "gatehouse", "state": "active"})

    come_back(owner, location)

    page = owner.get(f"/connections/{prepared.slug}/setup/authorize").text
    assert newest(runtime).outcome == AttemptState.SUCCEEDED
    assert "<code>sudo</code>" in page.partition("No longer needed")[2]
