"""What older versions of GitLab ignore, refuse or do not have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.rest import api, ids, with_token

ASCENDING = {"order_by": "id", "sort": "asc", "membership": "true"}


@pytest.fixture
def client(sandbox: RunningSandbox) -> Iterator[httpx2.Client]:
    with api(sandbox) as client:
        yield client


def before_and_since(
    sandbox: RunningSandbox, client: httpx2.Client, versions: tuple[str, str], path: str, **query: str
) -> tuple[httpx2.Response, httpx2.Response]:
    """Ask the last version without something, and the first version with it."""
    answers = []
    for version in versions:
        sandbox.world.settings.version = version
        answers.append(client.get(path, params=query))
    return answers[0], answers[1]


def test_ids_as_bounds_are_ignored_at_first(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    bounds = ASCENDING | {"id_after": "10", "id_before": "20"}

    before, since = before_and_since(sandbox, client, ("12.5.9", "12.6.0"), "/projects", **bounds)

    assert (ids(before)[0], before.headers["x-total"]) == (1, "57")
    assert ids(since) == [11, 12, 13, 14, 15, 17, 18, 19]


def test_keyset_is_ignored_at_first(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    keyset = ASCENDING | {"pagination": "keyset"}

    before, since = before_and_since(sandbox, client, ("12.6.0", "12.7.0"), "/projects", **keyset)

    assert ("x-total" in before.headers, "x-total" in since.headers) == (True, False)


def test_groups_by_id_are_refused_at_first(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    before, since = before_and_since(sandbox, client, ("10.8.7", "11.0.0"), "/groups", order_by="id")

    assert (before.status_code, before.json()) == (400, {"error": "order_by does not have a valid value"})
    assert ids(since) == sorted(ids(since))


@pytest.mark.parametrize("path", ["/groups", "/projects"])
def test_least_role_is_ignored_at_first(sandbox: RunningSandbox, client: httpx2.Client, path: str) -> None:
    role = {"membership": "true", "min_access_level": "50"}

    before, since = before_and_since(sandbox, client, ("11.1.8", "11.2.0"), path, **role)
    unknown, _ = before_and_since(sandbox, client, ("11.1.8", "11.2.0"), path, min_access_level="41")

    assert (len(before.json()) > 0, since.json(), unknown.status_code) == (True, [], 200)


@pytest.mark.parametrize(
    ("path", "versions"),
    [
        ("/groups/1/subgroups", ("10.2.8", "10.3.0")),
        ("/groups/1/descendant_groups", ("13.4.7", "13.5.0")),
        ("/groups/1/members/all", ("11.1.8", "11.2.0")),
        ("/projects/1/members/all/20", ("12.3.9", "12.4.0")),
        ("/projects/1/languages", ("10.7.7", "10.8.0")),
    ],
)
def test_addresses_that_came_later(
    sandbox: RunningSandbox, client: httpx2.Client, path: str, versions: tuple[str, str]
) -> None:
    before, since = before_and_since(sandbox, client, versions, path)

    assert (before.status_code, before.json()) == (404, {"error": "404 Not Found"})
    assert since.status_code == 200


def test_group_has_its_projects_embedded_whatever_was_asked(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    before, since = before_and_since(sandbox, client, ("11.1.8", "11.2.0"), "/groups/1", with_projects="false")

    assert ("projects" in before.json(), "projects" in since.json()) == (True, False)


@pytest.mark.parametrize(
    ("version", "missing"),
    [
        ("9.0.0", {"public_email", "private_profile", "commit_email", "job_title", "bot", "pronouns", "locked"}),
        ("12.10.14", {"bot", "pronouns", "locked", "discord", "github"}),
        ("18.5.0", set()),
    ],
)
def test_members_of_a_user_by_version(
    sandbox: RunningSandbox, client: httpx2.Client, version: str, missing: set[str]
) -> None:
    newest: dict[str, Any] = client.get("/user").json()

    sandbox.world.settings.version = version

    assert newest.keys() - client.get("/user").json().keys() >= missing
    assert {"id", "username", "name", "state", "email", "external"} <= client.get("/user").json().keys()


def test_version_9_has_no_scope_to_read_only(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    sandbox.world.settings.version = "9.0.0"

    supported = client.get(f"{sandbox.url}/.well-known/openid-configuration").json()["scopes_supported"]

    assert "api" in supported
    assert not {"read_api", "write_repository"} & set(supported)


def test_personal_token_is_no_bearer_token_at_first(sandbox: RunningSandbox) -> None:
    with with_token(sandbox, sandbox.token("root")) as personal, with_token(sandbox, sandbox.access_token()) as oauth:
        answers = [before_and_since(sandbox, client, ("12.1.17", "12.2.0"), "/user") for client in (personal, oauth)]

    assert [[answer.status_code for answer in pair] for pair in answers] == [[401, 200], [200, 200]]


def test_read_user_was_not_enough_to_read_the_user(sandbox: RunningSandbox) -> None:
    with with_token(sandbox, sandbox.access_token("gatehouse", "read_user")) as client:
        before, since = before_and_since(sandbox, client, ("9.2.10", "9.4.0"), "/user")

    assert (before.status_code, before.json()["scope"]) == (403, "api")
    assert since.json()["username"] == "gatehouse"


def test_page_may_be_smaller_than_asked(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    sandbox.world.settings.max_per_page = 50

    page = client.get("/projects", params=ASCENDING | {"per_page": "100"})
    rest = client.get("/projects", params=ASCENDING | {"per_page": "100", "page": "2"})

    assert (len(page.json()), page.headers["x-per-page"], page.headers["x-next-page"]) == (50, "50", "2")
    assert len(rest.json()) == 7
