"""Hooks of the sandbox fire as GitLab's do: who hears of what, and what a delivery looks like in each version."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from portal.sandbox.activity import TRIGGERS
from portal.sandbox.hooks import INSTANCE, Hook, Level
from portal.sandbox.projects import Project
from portal.sandbox.testing import RunningSandbox
from tests.sandbox.receiver import Received, Receiver
from tests.sandbox.rest import api

PROJECT = "web/shop/storefront"
KEY = bytes(range(32))
SIGNING_TOKEN = "whsec_" + base64.b64encode(KEY).decode()
ALL = dict.fromkeys(TRIGGERS.values(), True)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def gitlab(receiver: Receiver) -> Iterator[RunningSandbox]:
    """A GitLab whose administrator allows hooks to this machine."""
    with RunningSandbox(version="19.0.0", with_service_user=True, control=True) as running:
        running.world.settings.allow_local_hooks = True
        receiver.status = 200
        receiver.take()
        yield running


def project_of(gitlab: RunningSandbox) -> Project:
    return gitlab.world.project(PROJECT)


def hook_at(gitlab: RunningSandbox, url: str, owner_id: int, level: Level = "project", **attributes: Any) -> Hook:
    hook = gitlab.world.hooks.add(owner_id, url, gitlab.world.now(), level)
    hook.flags.update(ALL)
    for name, value in attributes.items():
        setattr(hook, name, value)
    return hook


def came(gitlab: RunningSandbox, receiver: Receiver) -> list[Received]:
    assert gitlab.world.deliveries.wait()
    return receiver.take()


def test_push_reaches_the_project_its_groups_and_the_instance(gitlab: RunningSandbox, receiver: Receiver) -> None:
    world, project = gitlab.world, project_of(gitlab)
    hook_at(gitlab, f"{receiver.url}/project", project.id)
    hook_at(gitlab, f"{receiver.url}/group", world.group("web").id, "group")
    hook_at(gitlab, f"{receiver.url}/elsewhere", world.group("data").id, "group")
    hook_at(gitlab, f"{receiver.url}/system", INSTANCE, "system")

    world.activity.push(project.id, commits=23)
    found = came(gitlab, receiver)
    by_path = {(row.path, row.body.get("object_kind", row.body["event_name"])): row for row in found}

    assert set(by_path) == {
        ("/project", "push"),
        ("/group", "push"),
        ("/system", "push"),
        ("/system", "repository_update"),
    }
    own, of_group, of_system = (by_path[path, "push"] for path in ("/project", "/group", "/system"))
    # The same event at two hooks has two keys: nothing but its content says that it is one.
    assert own.headers["idempotency-key"] != of_group.headers["idempotency-key"]
    assert own.headers["x-gitlab-event-uuid"] != of_group.headers["x-gitlab-event-uuid"]
    assert (own.event, of_system.event) == ("Push Hook", "System Hook")
    assert (len(own.body["commits"]), own.body["total_commits_count"]) == (20, 23)
    assert own.body["commits"][-1]["id"] == own.body["after"] == own.body["checkout_sha"]
    assert own.body["commits"][0]["author"]["email"] == "[REDACTED]"
    assert (of_system.body["commits"], of_system.body["total_commits_count"]) == ([], 23)
    with api(gitlab) as client:
        branch = client.get(f"/projects/{project.id}/repository/branches/{project.default_branch}").json()
    assert branch["commit"]["id"] == own.body["after"]


def test_push_of_too_many_branches_is_silent(gitlab: RunningSandbox, receiver: Receiver) -> None:
    project = project_of(gitlab)
    hook_at(gitlab, receiver.url, project.id)

    gitlab.world.activity.push(project.id, "a", "b", "c", "d", tags=("v1",))
    first = [row.event for row in came(gitlab, receiver)]
    gitlab.world.activity.push(project.id, "a", "b", "c")
    gitlab.world.activity.push(project.id, "a", delete=True)
    second = [row.body for row in came(gitlab, receiver)]

    assert first == ["Tag Push Hook"]
    gone = [body for body in second if body["checkout_sha"] is None]
    assert (len(second), len(gone), gone[0]["after"], gone[0]["ref"]) == (4, 1, "0" * 40, "refs/heads/a")


def test_every_event_has_its_header_and_one_of_two_formats_of_time(gitlab: RunningSandbox, receiver: Receiver) -> None:
    world, project = gitlab.world, project_of(gitlab)
    hook_at(gitlab, receiver.url, project.id)
    activity = world.activity

    activity.issue(project.id)
    activity.issue(project.id, "close")
    activity.merge_request(project.id)
    activity.comment(project.id)
    activity.comment(project.id, "merge_request")
    activity.issue(project.id, confidential=True)
    found = came(gitlab, receiver)

    told = Counter((row.event, row.body["object_attributes"]["action"]) for row in found)
    assert told == {
        ("Issue Hook", "open"): 1,
        ("Issue Hook", "close"): 1,
        ("Merge Request Hook", "open"): 1,
        ("Note Hook", "create"): 2,
        ("Confidential Issue Hook", "open"): 1,
    }
    times = {row.event: row.body["object_attributes"]["updated_at"] for row in found}
    assert times["Issue Hook"].endswith("Z")
    assert times["Merge Request Hook"].endswith(" UTC")
    assert {row.body["user"]["email"] for row in found} == {"[REDACTED]"}


def test_changes_of_the_world_reach_the_instance_and_the_groups(gitlab: RunningSandbox, receiver: Receiver) -> None:
    world, project = gitlab.world, project_of(gitlab)
    hook_at(gitlab, f"{receiver.url}/system", INSTANCE, "system")
    hook_at(gitlab, f"{receiver.url}/group", world.group("web").id, "group")
    hook_at(gitlab, f"{receiver.url}/project", project.id)
    dev = world.user_by_username("dev")
    assert dev is not None

    world.change_project(project.id, path="shop-window")
    world.change_project(project.id, group_id=world.group("web").id)
    world.change_project(project.id, archived=True)
    world.rename_group(world.group("web/marketing").id, "outreach")
    world.add_group("web/press")
    world.add_member(dev, world.group("web"), 40)
    world.add_member(dev, world.group("web"), 0)
    world.add_member(dev, project, 30)
    world.add_project("web/fresh")
    world.delete_project(project.id)
    world.create_user(name="New", username="new")
    found = came(gitlab, receiver)

    told = Counter((row.path[1:], row.body["event_name"]) for row in found)
    assert told == {
        **{("system", f"project_{what}"): 1 for what in ("rename", "transfer", "update", "create", "destroy")},
        **{("system", name): 1 for name in ("group_rename", "group_create", "user_create", "user_add_to_team")},
        ("system", "user_update_for_group"): 1,
        ("system", "user_remove_from_group"): 1,
        **{("group", f"project_{what}"): 1 for what in ("create", "destroy")},
        **{("group", f"user_{what}_group"): 1 for what in ("update_for", "remove_from")},
        ("group", "subgroup_create"): 1,
    }
    moved = next(row.body for row in found if row.body["event_name"] == "project_transfer")
    assert (moved["old_path_with_namespace"], moved["path_with_namespace"]) == (
        "web/shop/shop-window",
        "web/shop-window",
    )


@pytest.mark.parametrize(
    ("version", "headers"),
    [
        ("14.0.0", set()),
        ("14.8.0", {"x-gitlab-event-uuid"}),
        ("16.2.0", {"x-gitlab-event-uuid", "x-gitlab-instance", "x-gitlab-webhook-uuid"}),
        ("17.4.0", {"x-gitlab-event-uuid", "x-gitlab-instance", "x-gitlab-webhook-uuid", "idempotency-key"}),
        (
            "19.0.0",
            {"x-gitlab-event-uuid", "x-gitlab-instance", "x-gitlab-webhook-uuid", "idempotency-key"}
            | {"webhook-id", "webhook-timestamp"},
        ),
    ],
)
def test_headers_of_each_version(receiver: Receiver, version: str, headers: set[str]) -> None:
    newer = {"x-gitlab-event-uuid", "x-gitlab-instance", "x-gitlab-webhook-uuid", "idempotency-key"}
    newer |= {"webhook-id", "webhook-timestamp", "webhook-signature"}
    receiver.take()
    with RunningSandbox(version=version) as gitlab:
        gitlab.world.settings.allow_local_hooks = True
        hook_at(gitlab, receiver.url, project_of(gitlab).id, token="s3\ncret")
        gitlab.world.activity.push(project_of(gitlab).id)
        (found,) = came(gitlab, receiver)

    assert set(found.headers) & newer == headers
    assert (found.headers["user-agent"], found.headers["x-gitlab-token"]) == (f"GitLab/{version}-ee", "s3cret")


def test_signature_is_that_of_standard_webhooks(gitlab: RunningSandbox, receiver: Receiver) -> None:
    hook = hook_at(gitlab, receiver.url, project_of(gitlab).id, token="old", signing_token=SIGNING_TOKEN)

    gitlab.world.activity.push(project_of(gitlab).id)
    (found,) = came(gitlab, receiver)

    signed = f"{found.headers['webhook-id']}.{found.headers['webhook-timestamp']}.".encode() + found.raw
    expected = base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
    assert found.headers["webhook-signature"] == f"v1,{expected}"
    assert (found.headers["webhook-id"], found.headers["x-gitlab-token"]) == (found.headers["idempotency-key"], "old")
    shown = hook.log[0].request_headers
    assert (shown["X-Gitlab-Token"], shown["webhook-signature"]) == ("[REDACTED]", "[REDACTED]")


def test_filter_template_and_variables_of_a_hook(gitlab: RunningSandbox, receiver: Receiver) -> None:
    details = {
        "push_events_branch_filter": "release-*",
        "custom_webhook_template": '{"where": "{{project.path_with_namespace}}", "count": {{total_commits_count}}}',
        "url_variables": [{"key": "way", "value": "in"}],
        "custom_headers": [{"key": "X-Extra", "value": "yes"}, {"key": "X-Gitlab-Event", "value": "Forged"}],
    }
    hook_at(gitlab, f"{receiver.url}/{{way}}", project_of(gitlab).id, details=details)

    gitlab.world.activity.push(project_of(gitlab).id, "main", "release-1")
    (found,) = came(gitlab, receiver)

    assert (found.path, found.body) == ("/in", {"where": PROJECT, "count": 1})
    assert (found.headers["x-extra"], found.event) == ("yes", "Push Hook")


def test_log_is_paged_filtered_and_resent(gitlab: RunningSandbox, receiver: Receiver) -> None:
    project = project_of(gitlab)
    hook = hook_at(gitlab, receiver.url, project.id, token="secret")
    gitlab.world.activity.push(project.id)
    assert gitlab.world.deliveries.wait()
    receiver.status = 503
    gitlab.world.activity.issue(project.id)
    (first, _) = came(gitlab, receiver)
    receiver.status = 200
    events = f"/projects/{project.id}/hooks/{hook.id}/events"
    with api(gitlab) as client:
        rows = client.get(events).json()
        failed = client.get(events, params={"status": "server_failure"}).json()
        too_many = client.get(events, params={"per_page": 21})
        unknown = client.get(events, params={"status": "sideways"})
        paged = client.get(events, params={"per_page": 1, "page": 2})
        resent = client.post(f"{events}/{rows[1]['id']}/resend")
        (again,) = receiver.take()
        client.put(f"/projects/{project.id}/hooks/{hook.id}", json={"url": f"{receiver.url}/new"})
        refused = client.post(f"{events}/{rows[1]['id']}/resend")
        missing = client.post(f"{events}/999/resend")

    assert [(row["trigger"], row["response_status"]) for row in rows] == [("issue_hooks", "503"), ("push_hooks", "200")]
    assert (rows[0]["response_body"], rows[0]["request_headers"]["X-Gitlab-Token"]) == ("ok", "[REDACTED]")
    assert [row["id"] for row in failed] == [rows[0]["id"]]
    assert (too_many.status_code, too_many.json()) == (400, {"error": "per_page does not have a valid value"})
    assert unknown.status_code == 400
    assert ([row["id"] for row in paged.json()], paged.headers["x-total"]) == ([rows[1]["id"]], "2")
    assert (resent.status_code, resent.json()) == (201, {"response_status": 200})
    assert again.headers["idempotency-key"] == first.headers["idempotency-key"]
    assert again.headers["x-gitlab-webhook-uuid"] != first.headers["x-gitlab-webhook-uuid"]
    assert (refused.status_code, missing.status_code) == (422, 404)
    assert "URL has changed" in refused.json()["message"]


def test_test_of_a_hook_needs_data_and_is_limited(gitlab: RunningSandbox, receiver: Receiver) -> None:
    project = project_of(gitlab)
    address = f"/projects/{project.id}/hooks/{hook_at(gitlab, receiver.url, project.id).id}/test"
    with api(gitlab) as client:
        push = client.post(f"{address}/push_events")
        without = client.post(f"{address}/issues_events")
        unknown = client.post(f"{address}/no_events")
        receiver.status = 500
        failed = client.post(f"{address}/push_events")
        gitlab.world.settings.silent_mode = True
        silent = client.post(f"{address}/push_events")
        gitlab.world.settings.silent_mode = False
        gitlab.world.change_project(project.id, empty=True)
        empty = client.post(f"{address}/push_events")
        limited = client.post(f"{address}/push_events")

    assert (push.status_code, push.json()) == (201, {"message": "201 Created"})
    assert [row.event for row in receiver.take()] == ["Push Hook", "Push Hook"]
    assert (without.status_code, without.json()) == (422, {"message": "Ensure the project has issues."})
    assert (unknown.status_code, failed.status_code, failed.json()) == (400, 422, {"message": "ok"})
    assert (silent.status_code, silent.json()) == (422, {"message": "Silent mode enabled"})
    assert (empty.status_code, empty.json()) == (422, {"message": "Ensure the project has at least one commit."})
    assert (limited.status_code, "retry-after" in limited.headers) == (429, False)


def test_group_and_system_hooks_over_the_api(gitlab: RunningSandbox, receiver: Receiver) -> None:
    world = gitlab.world
    group = world.group("web")
    with api(gitlab, "root") as root, api(gitlab) as maintainer:
        made = root.post(f"/groups/{group.id}/hooks", json={"url": receiver.url, "subgroup_events": True}).json()
        system = root.post("/hooks", json={"url": "http://localhost:1/x", "issues_events": True}).json()
        root.put(f"/hooks/{system['id']}", json={"url": receiver.url, "push_events": True})
        tested = root.post(f"/hooks/{system['id']}")
        (sample,) = receiver.take()
        of_group = root.post(f"/groups/{group.id}/hooks/{made['id']}/test/push_events")
        denied = [maintainer.get(path).status_code for path in (f"/groups/{group.id}/hooks", "/hooks")]
        world.settings.group_hooks = False
        unlicensed = root.get(f"/groups/{group.id}/hooks").status_code
        world.settings.edition = "ce"
        missing = root.get(f"/groups/{group.id}/hooks").status_code
        deleted = root.delete(f"/hooks/{system['id']}").status_code

    assert (made["group_id"], made["push_events"], made["subgroup_events"]) == (group.id, True, True)
    assert "project_id" not in made
    assert (system["push_events"], system["repository_update_events"]) == (False, True)
    assert "issues_events" not in system
    assert (tested.status_code, sample.event, sample.body) == (201, "System Hook", tested.json())
    assert of_group.status_code == 201
    assert (denied, unlicensed, missing, deleted) == ([403, 403], 403, 404, 204)


@pytest.mark.parametrize(
    ("version", "flag", "status", "states"),
    [
        ("19.0.0", None, 500, ["executable"] * 5),
        ("15.9.0", None, 404, ["executable"] * 3 + ["disabled"] * 2),
        ("19.0.0", True, 404, ["executable"] * 3 + ["temporarily_disabled"] * 2),
    ],
)
def test_failing_hooks_are_switched_off(
    receiver: Receiver, version: str, flag: bool | None, status: int, states: list[str]
) -> None:
    with RunningSandbox(version=version, with_service_user=True) as gitlab:
        world, project = gitlab.world, project_of(gitlab)
        world.settings.allow_local_hooks, world.settings.auto_disable_hooks = True, flag
        hook = hook_at(gitlab, receiver.url, project.id)
        receiver.status = status
        seen = []
        for _ in states:
            world.activity.push(project.id)
            assert world.deliveries.wait()
            seen.append(world.deliveries.alert_status(hook))
        with api(gitlab) as client:
            shown = client.get(f"/projects/{project.id}/hooks/{hook.id}").json()
            world.clock.advance(61)
            later = client.get(f"/projects/{project.id}/hooks/{hook.id}").json()["alert_status"]
        receiver.status = 200
        world.deliveries.test(hook, "push_hooks", {})

    assert seen == states
    assert (shown["alert_status"], shown["disabled_until"] is None) == (states[-1], "temporarily" not in states[-1])
    assert later == ("executable" if states[-1] == "temporarily_disabled" else states[-1])
    # A test that succeeds switches a hook on again.
    assert world.deliveries.alert_status(hook) == "executable"


def test_workers_and_web_servers_may_have_different_ways_out(gitlab: RunningSandbox, receiver: Receiver) -> None:
    project = project_of(gitlab)
    hook = hook_at(gitlab, receiver.url, project.id)
    gitlab.world.settings.hook_workers_cut_off = True

    gitlab.world.activity.push(project.id)
    delivered = came(gitlab, receiver)
    tested = gitlab.world.deliveries.test(hook, "push_hooks", {})
    gitlab.world.settings.hook_tests_cut_off = True
    cut = gitlab.world.deliveries.test(hook, "push_hooks", {})
    gitlab.world.settings.allow_local_hooks = False
    blocked = gitlab.world.deliveries.test(hook, "push_hooks", {})

    assert (delivered, tested.status, cut.status) == ([], 200, None)
    assert hook.log[0].status == "internal error"
    assert blocked.message == "URL is blocked: Requests to loopback addresses are not allowed"


def test_nothing_leaves_this_machine(gitlab: RunningSandbox) -> None:
    outcome = gitlab.world.deliveries.test(hook_at(gitlab, "https://example.com/", 1), "push_hooks", {})

    assert outcome.status is None
    assert "only reaches this machine" in outcome.message


def test_deliveries_are_late_doubled_lost_and_out_of_order(gitlab: RunningSandbox, receiver: Receiver) -> None:
    world, project = gitlab.world, project_of(gitlab)
    hook_at(gitlab, receiver.url, project.id)
    with api(gitlab, "root") as client:
        control = f"{gitlab.url}/-/sandbox"
        client.post(f"{control}/settings", json={"hook_copies": 3, "hook_delay_seconds": 0.01})
        client.post(f"{control}/events", json={"kind": "push", "project": PROJECT})
        copies = came(gitlab, receiver)
        client.post(f"{control}/settings", json={"hook_copies": 1, "lose_hooks": 1, "hold_hooks": True})
        for action in ("open", "update", "close"):
            client.post(f"{control}/events", json={"kind": "issue", "project": PROJECT, "action": action})
        held = (came(gitlab, receiver), world.deliveries.held)
        released = client.post(f"{control}/hooks/release", json={"order": "reversed"}).json()
        late = came(gitlab, receiver)
        unknown = client.post(f"{control}/events", json={"kind": "shutdown", "project": PROJECT}).status_code

    assert len(copies) == 3
    assert len({row.headers["idempotency-key"] for row in copies}) == 1
    assert len({row.headers["x-gitlab-webhook-uuid"] for row in copies}) == 3
    assert (held, released, unknown) == (([], 2), {"released": 2}, 422)
    assert {row.body["object_attributes"]["action"] for row in late} == {"update", "close"}
