"""The same answers, seen from the pages: no 5xx, no state change, a card that names the layer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

import pytest
from sqlalchemy import delete
from sqlmodel import col, select

from portal.authorization.attempts import AttemptState, AuthorizationAttempt
from portal.connections.checks import Checklist
from portal.connections.models import Application, Connection, Method, OutboundTry
from portal.connections.steps import STEPS_OF, Step
from portal.credentials.models import Credential
from portal.db import utc_now
from portal.errors import Layer
from portal.failures import FAILURES
from portal.jobs.models import Job, JobState
from portal.jobs.testing import run_pending
from portal.net import NetworkPolicy, OutboundClient, origin_of, parse_address
from portal.net.retry import retry_idempotent
from portal.repositories.models import Repository
from portal.runtime import Runtime
from portal.vault import Place, Secret
from tests.gitlab.malformed import CASES, ScriptedServer, response, scripted_server
from tests.support.connected import connect
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import start

TOKENS = response(b'{"access_token":"' + b"a" * 64 + b'","token_type":"Bearer","expires_in":7200,"scope":"read_api"}')
GITLAB = response(b'{"message":"401 Unauthorized"}', status="401 Unauthorized", headers=("X-Request-Id: 01HF",))
LAYERS = {str(layer) for layer in Layer}
CODES = {key.partition("/")[0] for key in FAILURES}


@pytest.fixture
def server(runtime: Runtime) -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        policy = NetworkPolicy(exempt=parse_address(server.url, allow_http=True), own_origin=runtime.settings.base_url)
        object.__setattr__(runtime, "outbound", OutboundClient(policy))
        yield server


@pytest.fixture
def slug(runtime: Runtime, server: ScriptedServer, cast: Cast) -> str:
    with runtime.database.transaction() as session:
        connection = Connection(
            organization_id=1,
            slug="scripted",
            display_name="Scripted",
            external_url=server.url,
            api_url=server.url,
            service_username="gatehouse",
            steps_done=list(STEPS_OF[Method.OAUTH])[:4],
        )
        session.add(connection)
        session.flush()
        application = Application(connection_id=connection.id, client_id="a" * 64, origin=origin_of(server.url))
        session.add(application)
        session.flush()
        place = Place("application", application.id, "client_secret_sealed")
        application.client_secret_sealed = runtime.vault.seal(Secret("s" * 64), place, application.origin)
    return "scripted"


def skip_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try as often as usual, but without the waits in between, which have their own tests."""
    hasty = partial(retry_idempotent, sleep=lambda seconds: None)
    monkeypatch.setattr("portal.gitlab.client.retry_idempotent", lambda *given: hasty(*given[:2], tries=given[3]))


def connection_of(runtime: Runtime) -> Connection:
    with runtime.database.reading() as session:
        return session.exec(select(Connection)).one()


def test_checklist_names_what_is_wrong(runtime: Runtime, server: ScriptedServer, owner: Visitor, slug: str) -> None:
    for case, answer in CASES.items():
        server.answer = answer
        with runtime.database.transaction() as session:
            session.exec(select(Connection)).one().checks = None
            session.execute(delete(OutboundTry))  # What matters here is the answers, not how many.

        page = owner.post(f"/connections/{slug}/setup/instance/checks", htmx=True)

        assert page.status_code == 200, case
        honest = case == "header_injection"
        assert 'id="check-gitlab"' in page.text, case
        assert honest or "Something is in the way" in page.text, case
        assert "evil.example" not in page.text or "https://evil.example/" in page.text
        assert "<script>alert" not in page.text
        assert "SSH-2.0" not in page.text


def test_credentials_are_not_accepted(runtime: Runtime, server: ScriptedServer, owner: Visitor, slug: str) -> None:
    server.answers = {"/api/v4/version": GITLAB}
    for case, answer in CASES.items():
        server.answer = answer
        with runtime.database.transaction() as session:
            connection = session.exec(select(Connection)).one()
            connection.steps_done = list(STEPS_OF[Method.OAUTH])[:2]
            connection.checks = Checklist(checks=[], chain=[], checked_at=utc_now()).to_json()
            session.execute(delete(OutboundTry))

        page = owner.post(f"/connections/{slug}/setup/credentials", {"application_id": "a" * 64, "secret": "s" * 64})

        assert page.status_code == 422, case
        assert "gh-result-fail" in page.text, case
        assert Step.APPLICATION not in connection_of(runtime).steps_done, case


@pytest.mark.parametrize("broken", ["/oauth/token", "/api/v4/user"])
def test_authorization_fails_with_a_card_and_stores_nothing(
    runtime: Runtime,
    server: ScriptedServer,
    owner: Visitor,
    slug: str,
    broken: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    skip_waits(monkeypatch)
    server.answer = response(b"{}")
    for case, answer in CASES.items():
        server.answers = {"/oauth/token": TOKENS, broken: answer}
        state = re.search(r"state=([^&]+)", start(owner, slug))[1]

        came_back = owner.get(f"/oauth/callback/{slug}?code=x&state={state}")

        assert came_back.status_code == 303, case
        with runtime.database.reading() as session:
            newest = select(AuthorizationAttempt).order_by(col(AuthorizationAttempt.id).desc()).limit(1)
            attempt = session.exec(newest).one()
            assert session.exec(select(Credential)).all() == []
        assert attempt.outcome == AttemptState.FAILED, case
        assert attempt.card["code"] in CODES, case
        assert connection_of(runtime).authorized_at is None


@pytest.mark.parametrize("broken", ["/api/v4/metadata", "/api/v4/groups", "/api/v4/projects"])
def test_catalogue_read_ends_with_a_card_and_marks_nothing(
    runtime: Runtime, server: ScriptedServer, cast: Cast, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_waits(monkeypatch)
    with runtime.database.transaction() as session:
        session.add(Connection(id=99, organization_id=1, slug="x", display_name="x"))

    class Served:
        url = server.url

        def access_token(self, _username: str) -> str:
            return "t" * 20

    connection_id = connect(runtime, Served(), cast.owner, enqueue=True)
    with runtime.database.transaction() as session:
        session.add(
            Repository(
                connection_id=connection_id,
                gitlab_project_id=7,
                name="kept",
                path_with_namespace="a/kept",
                namespace_path="a",
            )
        )
    good = {
        "/api/v4/metadata": response(b'{"version":"18.5.0-ee"}'),
        "/api/v4/groups": response(b"[]"),
        "/api/v4/projects": response(b"[]"),
    }
    for case, answer in CASES.items():
        server.answers = {broken: answer, **{path: body for path, body in good.items() if path != broken}}
        with runtime.database.transaction() as session:
            job = session.exec(select(Job)).one()
            job.state, job.finished_at, job.attempts = JobState.QUEUED, None, 4

        run_pending(runtime)

        with runtime.database.reading() as session:
            job = session.exec(select(Job)).one()
            kept = session.exec(select(Repository).where(Repository.gitlab_project_id == 7)).one()
            attention = session.get_one(Connection, connection_id).attention
        if job.state == JobState.FAILED:
            assert job.failure["code"] in CODES, case
        else:  # Version, groups and rows may be missing; an empty list of projects without a count is not complete.
            assert attention["code"] == "catalogue_incomplete", case
        assert kept.missing_since is None, case
