"""A server that is not a GitLab, or no longer one, never gets a Secret, a token or a code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import delete
from sqlmodel import select

from portal.connections.models import Application, Connection, OutboundTry
from portal.connections.steps import Step
from portal.net import origin_of
from portal.runtime import Runtime
from portal.vault import Place, Secret
from tests.connections.drafts import connection_named, draft
from tests.connections.peers import let_through
from tests.gitlab.impostors import GITLABS, IMPOSTORS, VERSION, Impostor, Reply, playing
from tests.support.visitor import Visitor

TYPED, STORED = "gloas-typed-canary", "gloas-stored-canary"
CREDENTIALS = {"application_id": "a" * 64, "secret": TYPED}


@pytest.fixture
def server(runtime: Runtime) -> Iterator[Impostor]:
    with playing(GITLABS["new"]) as impostor:
        let_through(runtime, impostor.url)
        yield impostor


@pytest.fixture
def setup(owner: Visitor, runtime: Runtime, server: Impostor) -> str:
    """A connection to a GitLab that passed its checks and holds a Secret."""
    setup = f"/connections/{draft(owner)}/setup"
    owner.post(f"{setup}/instance", {"domain": server.url})
    owner.post(f"{setup}/instance/checks")
    with runtime.database.transaction() as session:
        connection = session.exec(select(Connection)).one()
        assert Step.INSTANCE in connection.steps_done
        connection.steps_done, connection.service_username = list(Step)[:5], "gatehouse"
        application = Application(connection_id=connection.id, client_id="a" * 64, origin=origin_of(server.url))
        session.add(application)
        session.flush()
        place = Place("application", application.id, "client_secret_sealed")
        application.client_secret_sealed = runtime.vault.seal(Secret(STORED), place, application.origin)
    return setup


def forget_tries(runtime: Runtime) -> None:
    with runtime.database.transaction() as session:
        session.execute(delete(OutboundTry))


@pytest.mark.parametrize("is_looked_at", [True, False])
def test_no_impostor_gets_a_secret_whether_or_not_it_was_a_gitlab_before(
    owner: Visitor, runtime: Runtime, server: Impostor, setup: str, is_looked_at: bool
) -> None:
    for name, table in IMPOSTORS.items():
        server.table = table
        for secret in (TYPED, ""):
            forget_tries(runtime)
            if not is_looked_at:
                with runtime.database.transaction() as session:
                    session.exec(select(Connection)).one().checks = None
            page = owner.post(f"{setup}/credentials", {**CREDENTIALS, "secret": secret})
            assert page.status_code == 422, name

        assert "POST" not in server.sent(), name
        assert "canary" not in server.sent(), name
        assert "authorization:" not in server.sent().lower(), name


def test_authorization_does_not_start_at_an_address_that_is_no_gitlab(
    owner: Visitor, runtime: Runtime, server: Impostor, setup: str
) -> None:
    with runtime.database.transaction() as session:
        connection = session.exec(select(Connection)).one()
        connection.checks, connection.steps_done = None, [step for step in list(Step)[:5] if step != Step.INSTANCE]
    server.table = IMPOSTORS["Kong without a key"]

    answer = owner.post(setup.replace("/setup", "/authorization"))

    assert answer.status_code == 502
    assert "not the way GitLab&#39;s does" in answer.text


@pytest.mark.parametrize("table", ["Gitea", "a gateway that says what GitLab says, to everything"])
def test_secret_does_not_move_to_a_path_where_no_gitlab_answers(
    owner: Visitor, runtime: Runtime, server: Impostor, setup: str, table: str
) -> None:
    server.table = IMPOSTORS[table]

    answer = owner.post(f"{setup}/instance", {"domain": f"{server.url}/other"})

    assert answer.status_code == 422
    assert "must be one where GitLab answers" in answer.text
    assert connection_named(runtime, "GitLab").api_url == server.url
    assert "canary" not in server.sent()


def test_secret_moves_along_to_a_path_where_a_gitlab_answers(
    owner: Visitor, runtime: Runtime, server: Impostor, setup: str
) -> None:
    server.table = {**GITLABS["new"], f"/git{VERSION}": GITLABS["new"][VERSION]}

    answer = owner.post(f"{setup}/instance", {"domain": f"{server.url}/git"})

    assert answer.status_code == 303
    assert connection_named(runtime, "GitLab").api_url == f"{server.url}/git"


def test_root_is_found_from_the_top_down_at_every_level(owner: Visitor, runtime: Runtime, server: Impostor) -> None:
    setup = f"/connections/{draft(owner)}/setup"
    server.table = {f"/git{path}": reply for path, reply in GITLABS["new"].items()} | {"*": Reply(404, "")}
    owner.post(f"{setup}/instance", {"domain": f"{server.url}/git/platform/backend/api/service/-/merge_requests"})

    found = owner.post(f"{setup}/instance/checks", htmx=True).text

    assert f"GitLab answers at {server.url}/git." in found


def test_root_is_read_from_where_gitlab_sends_a_stranger_to_sign_in(
    owner: Visitor, runtime: Runtime, server: Impostor
) -> None:
    setup, root = f"/connections/{draft(owner)}/setup", "/a/b/c/d/e/f/g/h/i/gitlab"
    to_sign_in = Reply(302, "", {"Location": f"{server.url}{root}/users/sign_in"})
    server.table = {f"{root}{path}": reply for path, reply in GITLABS["new"].items()} | {"*": to_sign_in}
    owner.post(f"{setup}/instance", {"domain": f"{server.url}{root}/group/project/-/merge_requests/1"})

    found = owner.post(f"{setup}/instance/checks", htmx=True).text

    assert f"GitLab answers at {server.url}{root}." in found
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "answer",
    [
        Reply(403, "<html>challenge</html>", {"cf-mitigated": "challenge"}),
        Reply(404, "<html>nothing here</html>"),
        Reply(404, {"error": "404 Not Found"}),
        Reply(405, {"message": "405 Method Not Allowed"}),
        Reply(422, "<html>The change you wanted was rejected.</html>"),
        Reply(401, {"message": "No API key found in request"}),
        Reply(200, "<html>Sign in</html>"),
    ],
    ids=lambda reply: f"{reply.status} {reply.content_type.partition(';')[0]}",
)
def test_oauth_that_is_blocked_is_named_and_the_domain_is_not_blamed(
    owner: Visitor, server: Impostor, setup: str, answer: Reply
) -> None:
    server.table = {**GITLABS["new"], "/oauth/token": answer}

    page = owner.post(f"{setup}/credentials", CREDENTIALS).text

    assert "API can be reached, but /oauth/token cannot: something else answered" in page
    assert "let /oauth/ through" in page
    assert "Check the domain" not in page
