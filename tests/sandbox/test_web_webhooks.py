"""The sandbox's page of webhooks: each button lets something happen, and hooks fire."""

from __future__ import annotations

from portal.sandbox.hooks import INSTANCE
from portal.sandbox.testing import RunningSandbox
from portal.sandbox.web.webhooks import EVENTS
from tests.sandbox.browser import Person
from tests.sandbox.receiver import Receiver

PROJECT = "web/shop/storefront"


def test_each_button_makes_hooks_fire(sandbox: RunningSandbox, root: Person) -> None:
    world = sandbox.world
    world.settings.allow_local_hooks = True
    with Receiver() as receiver:
        project = world.project(PROJECT)
        hook = world.hooks.add(project.id, receiver.url, world.now())
        hook.flags.update(
            dict.fromkeys(("push_events", "tag_push_events", "issues_events", "merge_requests_events"), True)
        )
        hook.flags["note_events"] = True
        system = world.hooks.add(INSTANCE, f"{receiver.url}/system", world.now(), "system")
        page, path, came = root.get("/admin/hooks"), PROJECT, {}
        for event in (event for group in EVENTS.values() for event in group if event != "destroy"):
            answer = root.follow(root.press(page, "Push a commit", project=path, event=event))
            assert "done" in answer.text
            path = world.projects.full_path(world.project(project.id))
            assert world.deliveries.wait()
            came[event] = [row.body.get("event_name") or row.body["object_kind"] for row in receiver.take()]
        root.press(page, "Push a commit", project=path, event="destroy")
        assert world.deliveries.wait()
        came["destroy"] = [row.body["event_name"] for row in receiver.take()]

    assert {event: names for event, names in came.items() if event != "push_branches"} == {
        "push": ["push"],
        "push_many": ["push"],
        "tag": ["tag_push"],
        "issue": ["issue"],
        "close_issue": ["issue"],
        "merge_request": ["merge_request"],
        "merge": ["merge_request"],
        "comment": ["note"],
        "create": ["project_create"],
        "rename": ["project_rename"],
        "transfer": ["project_transfer"],
        "archive": ["project_update"],
        "destroy": ["project_destroy"],
        "member": ["user_add_to_team"],
        "rename_group": ["group_rename"],
    }
    assert came["push_branches"] == []
    assert (len(hook.log), len(system.log)) == (8, 7)


def test_wrong_project_and_missing_issue_are_said(sandbox: RunningSandbox, root: Person) -> None:
    page = root.get("/admin/hooks")

    unknown = root.follow(root.press(page, "Push a commit", project="no/where", event="push"))
    nothing = root.follow(root.press(page, "Push a commit", project=PROJECT, event="close_issue"))
    strange = root.press(page, "Push a commit", project=PROJECT, event="explode")

    assert "There is no project no/where" in unknown.text
    assert "There is no open issue or merge request in this project" in nothing.text
    assert strange.status_code == 422


def test_deliveries_are_disturbed_and_released(sandbox: RunningSandbox, root: Person) -> None:
    world = sandbox.world
    project = world.project(PROJECT)
    world.settings.allow_local_hooks = True
    with Receiver() as receiver:
        world.hooks.add(project.id, receiver.url, world.now()).flags["push_events"] = True
        root.press(root.get("/admin/hooks"), "Save changes", hook_copies="2", hold_hooks="1")
        root.press(root.get("/admin/hooks"), "Push a commit", project=PROJECT, event="push")
        waiting = root.get("/admin/hooks").text
        root.press(root.get("/admin/hooks"), "Save changes", hold_hooks=None)
        assert world.deliveries.wait()
        came = len(receiver.take())
        shown = root.get("/admin/hooks").text

    assert "(1 waiting)" in waiting
    assert (world.settings.hook_copies, world.settings.hold_hooks, came) == (2, False, 2)
    assert "2 in the log" in shown
    assert world.settings.silent_mode is False


def test_network_page_keeps_the_allowlist(sandbox: RunningSandbox, root: Person) -> None:
    page = root.get("/admin/application_settings/network")
    root.press(
        page,
        "Save changes",
        deny_all_requests_except_allowed="1",
        outbound_local_requests_allowlist="127.0.0.1:8000\n10.0.0.0/8",
    )
    shown = root.get("/admin/application_settings/network").text

    settings = sandbox.world.settings
    assert (settings.block_other_outbound, settings.outbound_allowlist) == (
        True,
        frozenset({"127.0.0.1:8000", "10.0.0.0/8"}),
    )
    assert "10.0.0.0/8\n127.0.0.1:8000" in shown
