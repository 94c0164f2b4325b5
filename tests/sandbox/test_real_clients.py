"""python-gitlab, the client most people use, treats the sandbox as a GitLab."""

from __future__ import annotations

from collections.abc import Iterator

import gitlab
import pytest
from gitlab.exceptions import GitlabAuthenticationError, GitlabCreateError, GitlabGetError, GitlabHttpError

from portal.sandbox.testing import RunningSandbox

URL = "https://portal.example.com/webhooks/1"


@pytest.fixture
def client(sandbox: RunningSandbox) -> Iterator[gitlab.Gitlab]:
    with gitlab.Gitlab(sandbox.url, private_token=sandbox.token("gatehouse")) as client:
        client.session.trust_env = False
        yield client


def test_client_knows_who_it_is_and_what_it_speaks_to(client: gitlab.Gitlab) -> None:
    client.auth()

    assert client.user is not None
    assert client.user.username == "gatehouse"
    assert client.version()[0] == "18.5.0-ee"


def test_all_projects_by_offset(client: gitlab.Gitlab) -> None:
    projects = list(client.projects.list(iterator=True, membership=True, per_page=10))

    assert len({project.id for project in projects}) == len(projects) == 57


def test_all_projects_by_key(client: gitlab.Gitlab) -> None:
    projects = client.projects.list(
        iterator=True, membership=True, pagination="keyset", order_by="id", sort="asc", per_page=10
    )

    numbers = [project.id for project in projects]

    assert (len(numbers), numbers) == (57, sorted(numbers))


def test_range_of_ids(client: gitlab.Gitlab) -> None:
    # As keyword arguments they would be sent again with every next link and read page one forever.
    query = {"membership": True, "pagination": "keyset", "order_by": "id", "sort": "asc", "per_page": 5}
    rows = client.http_list("/projects", iterator=True, query_parameters=query | {"id_after": 20, "id_before": 40})

    assert [row["id"] for row in rows] == [number for number in range(21, 40) if number % 8]


def test_hook_is_created_changed_and_deleted(client: gitlab.Gitlab) -> None:
    project = client.projects.get("web/shop/storefront")
    hook = project.hooks.create({"url": URL, "token": "s3cret", "merge_requests_events": True})
    hook.push_events = False
    hook.save()
    (stored,) = project.hooks.list(get_all=True)
    hook.delete()

    assert (stored.url, stored.push_events, stored.merge_requests_events) == (URL, False, True)
    assert project.hooks.list(get_all=True) == []


def test_refusals_become_the_clients_errors(sandbox: RunningSandbox, client: gitlab.Gitlab) -> None:
    with pytest.raises(GitlabCreateError, match="Invalid url given"):
        client.projects.get(1, lazy=True).hooks.create({"url": "http://127.0.0.1/"})
    with pytest.raises(GitlabGetError, match="404 Project Not Found"):
        client.projects.get("security/key-ceremony")
    with pytest.raises(GitlabHttpError, match="maximum allowed offset"):
        client.http_list("/projects", query_parameters={"page": 600, "per_page": 100})
    with gitlab.Gitlab(sandbox.url, private_token="wrong") as stranger:
        stranger.session.trust_env = False
        with pytest.raises(GitlabAuthenticationError):
            stranger.auth()


def test_throttled_client_waits_and_goes_on(sandbox: RunningSandbox, client: gitlab.Gitlab) -> None:
    sandbox.faults.throttle("/api/v4/user", retry_after_seconds=1)

    client.auth()

    assert [seen.status for seen in sandbox.requests.all("/api/v4/user")] == [429, 200]


def test_groups_and_tokens(client: gitlab.Gitlab) -> None:
    group = client.groups.get("platform")

    assert {row.path for row in group.subgroups.list(get_all=True)} == {"infrastructure", "identity", "build"}
    assert len(group.projects.list(include_subgroups=True, get_all=True)) == 16
    assert client.personal_access_tokens.get("self").scopes == ["api"]


def test_administrator_sets_up_user_and_application(sandbox: RunningSandbox) -> None:
    with gitlab.Gitlab(sandbox.url, oauth_token=sandbox.token("root")) as root:
        root.session.trust_env = False
        details = {"email": "p@example.com", "name": "P", "username": "portal", "password": "long-enough"}
        user = root.users.create(details | {"skip_confirmation": True})
        token = user.personal_access_tokens.create({"name": "t", "scopes": ["read_api"]}).token
        application = root.applications.create({"name": "P", "redirect_uri": URL, "scopes": "api"})
        root.applications.delete(application.id)

    assert application.secret.startswith("gloas-")
    assert sandbox.world.personal_access_tokens.find(token) is not None
