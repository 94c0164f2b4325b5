"""The world itself: clock, roles, and what new people get."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime

import pytest

from portal.sandbox.options import SandboxOptions
from portal.sandbox.world import World


def test_hundred_thousand_projects_cost_nothing_until_asked_for() -> None:
    tracemalloc.start()
    try:
        world = World(SandboxOptions(project_count=100_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(world.projects.rows) == 100_000
    assert peak < 100_000 * 50


def test_seed_changes_only_what_is_drawn() -> None:
    first, second = (World(SandboxOptions(project_count=100, seed=seed)).projects.rows for seed in (0, 1))

    assert [row.path for row in first[:60]] == [row.path for row in second[:60]]
    assert [row.path for row in first[60:]] != [row.path for row in second[60:]]


def test_ids_have_gaps_and_paths_are_unique() -> None:
    world = World(SandboxOptions(project_count=5000))
    rows = world.projects.rows

    assert rows[-1].id > len(rows)
    assert len({world.projects.full_path(row) for row in rows}) == len(rows)


def test_clock_is_set_moved_frozen_and_released() -> None:
    world = World()
    moment = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
    world.clock.set(moment)
    assert 0 <= (world.now() - moment).total_seconds() < 5
    world.clock.freeze(moment)
    assert world.now() == world.now() == moment
    world.clock.advance(61)
    assert (world.now() - moment).total_seconds() == pytest.approx(61, abs=0.1)
    world.clock.reset()
    assert abs((world.now() - datetime.now(UTC)).total_seconds()) < 5


def test_roles_go_down_the_tree_and_the_highest_counts() -> None:
    world = World()
    user = world.create_user(name="New", username="new", roles={"web": 20, "web/shop": 40})

    levels = {
        path: world.access_level(user, world.project(path)) for path in ("web/api-gateway", "web/shop/storefront")
    }
    world.add_member(user, world.project("web/api-gateway"), 50)
    world.add_member(user, world.group("web/shop"), 0)

    assert levels == {"web/api-gateway": 20, "web/shop/storefront": 40}
    assert world.access_level(user, world.project("web/api-gateway")) == 50
    assert world.access_level(user, world.project("web/shop/storefront")) == 20


def test_shared_project_gives_the_lower_of_both_levels() -> None:
    world = World()
    runbooks = world.project("security/incident-response/runbooks")
    maintainer = world.create_user(name="M", username="m", roles={"platform": 40})
    guest = world.create_user(name="G", username="g", roles={"platform": 10})

    assert (world.access_level(maintainer, runbooks), world.access_level(guest, runbooks)) == (30, 10)


def test_service_user_is_made_only_when_asked_for() -> None:
    assert World().user_by_username("gatehouse") is None
    world = World(SandboxOptions(with_service_user=True))
    user = world.sign_in("gatehouse", "sandbox-gatehouse")

    assert user is not None
    assert not user.admin
    assert {group.path: level for group, level in world.memberships_of(user)} == {
        "platform": 40,
        "web": 40,
        "data": 40,
        "mobile": 40,
        "research": 40,
        "partners": 10,
    }


def test_blocked_people_have_a_password_but_cannot_sign_in() -> None:
    world = World()

    assert world.user_with_password("blocked", "sandbox-blocked") is not None
    assert world.sign_in("blocked", "sandbox-blocked") is None
    assert world.sign_in("root@example.com", "sandbox-root") is not None
    assert world.sign_in("root", "") is None


def test_unknown_switch_is_an_error() -> None:
    with pytest.raises(AttributeError):
        World().change_settings(no_such_switch=True)
