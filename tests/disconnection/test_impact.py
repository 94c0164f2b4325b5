"""The impact says what a change stops, limited to what the person may see."""

from __future__ import annotations

import pytest

from portal.connections.models import Connection
from portal.disconnection.impact import impact_of, narrowing
from tests.disconnection.world import ADDRESS, PATHS, World
from tests.support.visitor import Visitor
from tests.support.walkthrough import principal_of

CONNECTION = Connection(organization_id=1, slug="gitlab", display_name="GitLab", version_seen="18.5.0-ee")


def test_impact_counts_what_is_in_use(world: World) -> None:
    owner = principal_of(world.runtime, world.cast.owner)

    found = impact_of(world.runtime, owner, world.paired.connection)

    assert (found.enabled, found.groups) == (4, [("a", 3), ("b", 1)])
    assert found.first == sorted(PATHS[:4])
    assert [(grant.path, grant.people) for grant in found.grants] == [("a", ["Lea Lead"])]
    assert [job.title for job in found.jobs] == ["Read repositories of Gitlab"]
    assert (found.repositories_known, found.groups_known) == (5, 1)


def test_impact_of_a_foreign_person_is_empty(world: World) -> None:
    outsider = principal_of(world.runtime, world.cast.outsider)

    assert impact_of(world.runtime, outsider, world.paired.connection).enabled == 0


def test_pages_show_the_impact_before_the_button(world: World, owner: Visitor) -> None:
    for path in ("disconnect", "reauthorize"):
        page = owner.get(f"{ADDRESS}/{path}").text
        assert "4 enabled repositories" in page
        assert "Lea Lead" in page
        assert "Read repositories of Gitlab" in page


def test_reauthorizing_shows_who_as_whom_and_what_another_user_may_not_see(world: World, owner: Visitor) -> None:
    same = owner.get(f"{ADDRESS}/reauthorize").text
    assert "@gatehouse" in same
    assert "read_api" in same
    assert "may be hidden" not in same

    owner.post(f"{ADDRESS}/setup/service-user", {"service_username": "dev"})

    other = owner.get(f"{ADDRESS}/reauthorize").text
    assert "from @gatehouse to @dev" in other
    assert "may be hidden from @dev" in other
    assert f"{world.sandbox.url}/-/user_settings/applications" in other


@pytest.mark.parametrize(
    ("granted", "services", "hooks_wanted", "unused", "missing"),
    [
        (["read_api", "read_user", "read_repository"], ["issues"], False, ["read_repository"], []),
        (["read_api", "read_user"], ["repositories"], False, [], ["read_repository"]),
        (["api", "read_user"], ["issues"], False, ["api"], []),
        (["granular"], ["repositories"], True, [], []),
        (["read_api", "read_user"], ["issues"], True, ["read_api"], ["api"]),
        (["read_api", "read_user"], ["issues"], False, [], []),
    ],
)
def test_narrowing_names_the_scopes_that_become_unused(
    granted: list[str], services: list[str], hooks_wanted: bool, unused: list[str], missing: list[str]
) -> None:
    found = narrowing(CONNECTION, granted, services, hooks_wanted=hooks_wanted)

    assert (found.unused, found.missing) == (unused, missing)


def test_services_page_tells_at_each_tick_what_changes(world: World, owner: Visitor) -> None:
    fragment = owner.get(f"{ADDRESS}/narrowing?services=issues&hooks_wanted=1", htmx=True).text
    assert "Needed, but not granted yet" in fragment

    assert owner.get(f"{ADDRESS}/narrowing").status_code == 303
    assert f"{ADDRESS}/narrowing" in owner.get(f"{ADDRESS}/setup/services").text
