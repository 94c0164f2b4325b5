"""RFC 9207: a server that announces that it names itself in its answers must do so."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from sqlmodel import select

from portal.authorization.attempts import AttemptState, AuthorizationAttempt
from portal.connections.checklist import announces_issuer, run_checklist
from portal.connections.models import Connection
from portal.errors import Card
from portal.health.checks import check_connection
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared, authorize, come_back, pass_gitlab, prepare, principal_of, start

DISCOVERY = "/.well-known/openid-configuration"
ANNOUNCED = "authorization_response_iss_parameter_supported"


def announce(sandbox: RunningSandbox, **more: object) -> None:
    document = {"issuer": sandbox.url, "authorization_endpoint": f"{sandbox.url}/oauth/authorize", **more}
    sandbox.faults.add(DISCOVERY, body=document)


@pytest.fixture
def announcing(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> Prepared:
    """A connection to a GitLab that says its answers name it."""
    announce(sandbox, **{ANNOUNCED: True})
    return prepare(runtime, sandbox, cast.owner)


def newest(runtime: Runtime) -> AuthorizationAttempt:
    with runtime.database.reading() as session:
        return session.exec(select(AuthorizationAttempt).order_by(AuthorizationAttempt.id.desc())).first()  # type: ignore[attr-defined]


def is_announced(runtime: Runtime, prepared: Prepared) -> bool:
    with runtime.database.reading() as session:
        return announces_issuer(session.get_one(Connection, prepared.connection.id))


def test_announced_issuer_that_is_absent_ends_the_attempt_before_any_request(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, announcing: Prepared
) -> None:
    location = pass_gitlab(sandbox, start(owner, announcing.slug), "gatehouse")
    sandbox.requests.clear()

    answer = come_back(owner, location)

    assert answer.status_code == 400
    assert sandbox.requests.all() == []
    attempt = newest(runtime)
    assert (attempt.outcome, attempt.card["code"]) == (AttemptState.FAILED, "issuer_missing")
    assert attempt.verifier_sealed is None
    assert Card.from_json(attempt.card).sentence in owner.get(f"/connections/{announcing.slug}/setup/authorize").text
    assert come_back(owner, f"{location}&iss={quote(sandbox.url, safe='')}").status_code == 303
    assert sandbox.requests.all() == []


def test_announced_issuer_that_is_named_is_accepted(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, announcing: Prepared
) -> None:
    location = pass_gitlab(sandbox, start(owner, announcing.slug), "gatehouse")

    come_back(owner, f"{location}&iss={quote(sandbox.url, safe='')}")

    assert newest(runtime).outcome == AttemptState.SUCCEEDED


@pytest.mark.parametrize(("ending", "is_accepted"), [("/", True), ("", False), ("/evil", False)])
def test_answer_has_to_name_the_issuer_as_gitlab_announced_it(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor, ending: str, is_accepted: bool
) -> None:
    announce(sandbox, **{"issuer": f"{sandbox.url}/", ANNOUNCED: True})
    prepared = prepare(runtime, sandbox, cast.owner)
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")

    come_back(owner, f"{location}&iss={quote(sandbox.url + ending, safe='')}")

    assert (newest(runtime).outcome == AttemptState.SUCCEEDED) == is_accepted


def test_announcement_counts_as_it_was_at_the_start(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor, announcing: Prepared
) -> None:
    location = pass_gitlab(sandbox, start(owner, announcing.slug), "gatehouse")
    sandbox.faults.clear()
    run_checklist(runtime, principal_of(runtime, cast.owner), announcing.slug)
    assert not is_announced(runtime, announcing)

    assert come_back(owner, location).status_code == 400


@pytest.mark.parametrize("spoiled", [{"status": 503}, {"body": {"issuer": 1}}, {"html": True}])
def test_discovery_that_cannot_be_read_takes_no_announcement_back(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, announcing: Prepared, spoiled: dict[str, object]
) -> None:
    sandbox.faults.clear()
    sandbox.faults.add(DISCOVERY, **spoiled)

    run_checklist(runtime, principal_of(runtime, cast.owner), announcing.slug)

    assert is_announced(runtime, announcing)


def test_gitlab_that_begins_to_announce_is_held_to_it_after_the_next_look(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor
) -> None:
    prepared = prepare(runtime, sandbox, cast.owner)
    authorize(owner, sandbox, prepared.slug)
    announce(sandbox, **{ANNOUNCED: True})
    assert not is_announced(runtime, prepared)

    check_connection(runtime, prepared.connection.id)

    assert is_announced(runtime, prepared)
    sandbox.faults.clear()
    check_connection(runtime, prepared.connection.id)
    assert not is_announced(runtime, prepared)
