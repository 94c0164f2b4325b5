"""What each version of GitLab has, and the modes an instance may be in."""

from __future__ import annotations

import pytest

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.rest import anonymous, api

PROFILES = (
    "9.5.10",
    "11.11.8",
    "12.10.14",
    "13.12.15",
    "14.10.5",
    "15.11.13",
    "16.11.10",
    "17.11.6",
    "18.5.0",
    "19.0.0",
)


@pytest.mark.parametrize("version", PROFILES)
def test_every_profile_serves_the_basics(version: str) -> None:
    with RunningSandbox(version=version, with_service_user=True) as sandbox, api(sandbox) as client:
        assert client.get("/version").json()["version"] == f"{version}-ee"
        assert client.get("/user").json()["username"] == "gatehouse"
        assert len(client.get("/projects", params={"membership": "true", "per_page": "100"}).json()) == 57


@pytest.mark.parametrize(
    ("path", "last_without", "first_with"),
    [
        ("/metadata", "15.1.0", "15.2.0"),
        ("/personal_access_tokens/self", "15.4.0", "15.5.0"),
        ("/applications", "10.4.0", "10.5.0"),
    ],
)
def test_endpoint_appears_with_its_version(path: str, last_without: str, first_with: str) -> None:
    with RunningSandbox() as sandbox, api(sandbox, "root") as client:
        sandbox.world.settings.version = last_without
        before = client.get(path)
        sandbox.world.settings.version = first_with
        after = client.get(path)

    assert (before.status_code, before.json()) == (404, {"error": "404 Not Found"})
    assert after.status_code == 200


@pytest.mark.parametrize(
    ("member", "last_without", "first_with"),
    [
        ("repository_object_format", "16.8.0", "16.9.0"),
        ("topics", "13.12.0", "14.0.0"),
        ("empty_repo", "11.10.0", "11.11.0"),
    ],
)
def test_member_of_projects_appears_with_its_version(member: str, last_without: str, first_with: str) -> None:
    with RunningSandbox() as sandbox, api(sandbox, "root") as client:
        sandbox.world.settings.version = last_without
        before = client.get("/projects/1").json()
        sandbox.world.settings.version = first_with
        after = client.get("/projects/1").json()

    assert member not in before
    assert member in after


def test_edition_is_told_three_ways() -> None:
    with RunningSandbox(edition="ce") as community, api(community, "root") as client:
        body = client.get("/metadata").json()
        assert (body["version"], body["enterprise"], client.get("/license").status_code) == ("18.5.0", False, 404)
    with RunningSandbox() as enterprise, api(enterprise, "root") as client:
        body = client.get("/metadata").json()
        assert (body["version"], body["enterprise"], client.get("/license").status_code) == ("18.5.0-ee", True, 200)


def test_old_version_answer_has_version_and_revision_only() -> None:
    with RunningSandbox(version="14.10.5") as sandbox, api(sandbox, "root") as client:
        assert set(client.get("/version").json()) == {"version", "revision"}


def test_empty_repository_has_no_default_branch_in_old_versions() -> None:
    for version, expected in (("14.10.5", None), ("18.5.0", "main")):
        with RunningSandbox(version=version) as sandbox, api(sandbox, "root") as client:
            assert client.get("/projects/15").json()["default_branch"] == expected


def test_deletion_pending_was_for_enterprise_before_18() -> None:
    for version, edition, told in (("17.11.6", "ce", False), ("17.11.6", "ee", True), ("18.5.0", "ce", True)):
        with RunningSandbox(version=version, edition=edition) as sandbox, api(sandbox, "root") as client:
            assert ("marked_for_deletion_on" in client.get("/projects/44").json()) is told


def test_unknown_routes_and_the_old_api(sandbox: RunningSandbox) -> None:
    with anonymous(sandbox) as client:
        unknown, old = client.get("/nothing/here"), client.get(f"{sandbox.url}/api/v3/projects")
        wrong_method = client.delete("/version")

    assert (unknown.status_code, unknown.json()) == (404, {"error": "404 Not Found"})
    assert (old.status_code, old.json()) == (410, {"error": "API V3 is no longer supported. Use API V4 instead."})
    assert (wrong_method.status_code, wrong_method.json()) == (405, {"error": "405 Not Allowed"})


def test_everything_lives_below_a_relative_root() -> None:
    with RunningSandbox(relative_root="/apps/gitlab", with_service_user=True) as sandbox, api(sandbox) as client:
        project = client.get("/projects/web%2Fapi-gateway").json()

        assert sandbox.url.endswith("/apps/gitlab")
        assert project["web_url"] == f"{sandbox.url}/web/api-gateway"
        assert client.get(f"http://localhost:{sandbox.port}/api/v4/projects").status_code == 404


def test_maintenance_blocks_writes_but_not_token_exchange(sandbox: RunningSandbox) -> None:
    sandbox.world.settings.maintenance = True
    with api(sandbox) as client:
        read = client.get("/projects")
        write = client.post("/projects/1/hooks", json={"url": "https://portal.example.com/"})
        exchange = client.post(f"{sandbox.url}/oauth/token", data={"grant_type": "authorization_code"})
        consent = client.post(f"{sandbox.url}/oauth/authorize")

    assert read.status_code == 200
    assert write.status_code == consent.status_code == 503
    assert write.json() == {"message": "GitLab Maintenance: system is in maintenance mode"}
    assert exchange.status_code in (400, 401)


def test_read_only_instance_refuses_writes(sandbox: RunningSandbox) -> None:
    sandbox.world.settings.read_only = True
    with api(sandbox) as client:
        answer = client.post("/projects/1/hooks", json={"url": "https://portal.example.com/"})

    assert answer.status_code == 403
    assert answer.json() == {"message": "You cannot perform write operations on a read-only instance"}


def test_throttling_tells_its_limits_and_then_refuses(sandbox: RunningSandbox) -> None:
    sandbox.world.clock.freeze()
    sandbox.world.settings.rate_limit_per_minute = 2
    with api(sandbox) as client:
        first, _, third = (client.get("/version") for _ in range(3))
        sandbox.world.clock.advance(60)
        later = client.get("/version")

    assert (first.headers["RateLimit-Limit"], first.headers["RateLimit-Remaining"]) == ("2", "1")
    assert (third.status_code, third.text) == (429, "Retry later\n")
    assert third.headers["content-type"].startswith("text/plain")
    assert 1 <= int(third.headers["Retry-After"]) <= 60
    assert later.status_code == 200
