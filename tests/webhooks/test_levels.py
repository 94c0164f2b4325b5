"""Fewer hooks: one for a group with several enabled repositories, or one for the whole instance."""

from __future__ import annotations

from sqlmodel import col, select

from portal.gitlab.hooks import Level
from portal.repositories.enablement import set_enabled
from portal.repositories.models import Repository
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.webhooks.models import HookPlan, HookStatus
from tests.support.people import Cast
from tests.support.walkthrough import principal_of
from tests.webhooks.hooked import Hooked, hooked


def of_one_group(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> Hooked:
    """Return a connection with three proved hooks in one group, whose Owner the service user is, and one elsewhere."""
    found = hooked(runtime, sandbox, cast, 0)
    with runtime.database.reading() as session:
        inside, outside = col(Repository.namespace_path).startswith("platform"), col(Repository.access_level) >= 40
        usable = (col(Repository.unavailable_reason) == "", outside)
        ids = list(session.exec(select(Repository.id).where(inside, *usable).order_by(col(Repository.id)).limit(3)))
        ids += session.exec(select(Repository.id).where(~inside, *usable).order_by(col(Repository.id)).limit(1))
    set_enabled(runtime, principal_of(runtime, cast.owner), [number for number in ids if number], enabled=True)
    sandbox.faults.add("*/test/*", status=404, body={"message": "404 Not Found"})
    found.run()
    for row in found.rows():
        found.deliver(row)
    user, group = sandbox.world.user_by_username("gatehouse"), sandbox.world.groups.by_path("platform")
    assert user
    assert group
    sandbox.world.add_member(user, group, 50)
    return found


def test_hook_of_a_group_replaces_those_of_its_repositories_once_it_works(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    found = of_one_group(runtime, sandbox, cast)
    projects = [row.subject_id for row in found.rows()]
    found.change(HookPlan, level=Level.GROUP)

    found.run()
    rows = found.rows()
    found.run()
    left = [len(sandbox.world.hooks.of_project(number)) for number in projects]
    found.change(HookPlan, level=Level.PROJECT)
    found.run()

    assert sorted(row.level for row in rows) == ["group", "project"]
    assert {row.status for row in rows} == {HookStatus.ACTIVE}
    assert sum(left) == 1
    assert [row.level for row in found.rows()] == ["project"] * 4
    assert [len(sandbox.world.hooks.of_project(number)) for number in projects] == [1] * 4


def test_without_group_hooks_each_repository_keeps_its_own(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    found = of_one_group(runtime, sandbox, cast)
    sandbox.faults.add("/api/v4/groups/*/hooks", status=404, body={"message": "404 Not Found"})
    found.change(HookPlan, level=Level.GROUP)

    found.run()
    rows = {row.level: row for row in found.rows()}

    assert (rows["group"].status, (rows["group"].card or {}).get("code")) == (HookStatus.REFUSED, "hook_groups_missing")
    assert [row.level for row in found.rows()].count("project") == 4
    assert found.plan().card is None


def test_one_hook_for_the_whole_instance_needs_an_administrator(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    found = of_one_group(runtime, sandbox, cast)
    found.change(HookPlan, level=Level.SYSTEM)

    found.run()
    refused = {row.level: (row.card or {}).get("code") for row in found.rows()}
    user = sandbox.world.user_by_username("gatehouse")
    assert user
    user.admin = True
    found.run()
    rows = found.rows()

    assert refused == {"system": "hook_role_too_low", "project": None}
    assert [(row.level, row.status) for row in rows] == [("system", HookStatus.ACTIVE)]
    assert "repository_update_events" in rows[0].events
