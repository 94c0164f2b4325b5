"""Webhooks are made once, found again after a crash, and repaired in place."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlmodel import col, select

from portal.connections.models import Connection
from portal.credentials.models import Credential
from portal.db import utc_now
from portal.errors import Card
from portal.gitlab.answers import GitLabUnavailable
from portal.gitlab.hooks import Level
from portal.jobs.testing import run_pending
from portal.repositories.models import Enablement, Repository
from portal.runtime import Runtime
from portal.sandbox.hooks import Hook as AtGitLab
from portal.sandbox.testing import RunningSandbox
from portal.webhooks.deliveries import apply_batch
from portal.webhooks.differences import Difference
from portal.webhooks.jobs import due_connections
from portal.webhooks.keys import open_key
from portal.webhooks.models import Delivery, Hook, HookStatus
from portal.webhooks.projects import READ_PROJECTS
from tests.support.people import Cast
from tests.webhooks.hooked import Hooked, hooked, proved, without_tests


def keys_of(runtime: Runtime, row: Hook) -> tuple[str, str]:
    """Return token and signing token as they are stored."""
    keys = (open_key(runtime, row, name) for name in ("token_sealed", "signing_token_sealed"))
    token, signing = (key.reveal() if key else "" for key in keys)
    return token, signing


def test_first_hooks_wait_for_a_delivery_before_the_rest_are_made(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    found = hooked(runtime, sandbox, cast, 8)
    without_tests(sandbox)

    found.run()
    first = found.at_gitlab()
    card = found.plan().card
    found.deliver(next(row for row in found.rows() if row.gitlab_hook_id))
    found.run()
    rows = found.rows()

    assert (len(first), (card or {}).get("code")) == (5, "hook_waits_for_first")
    assert len(found.at_gitlab()) == len(rows) == 8
    assert {row.status for row in rows} == {HookStatus.ACTIVE}
    assert found.plan().card is None
    assert len({row.public_id for row in rows}) == 8
    for row in rows:
        (hook,) = found.of(row)
        assert hook.url == row.url == f"{runtime.settings.base_url}/webhooks/gitlab/{row.public_id}"
        assert (hook.token, hook.signing_token) == keys_of(runtime, row)
        assert row.uses_signature
        assert hook.enable_ssl_verification
        # For whoever finds it in GitLab.
        assert hook.details["name"].startswith("Gatehouse: ")
        assert runtime.settings.base_url in hook.details["description"]
        assert (
            {name for name, is_on in hook.flags.items() if is_on} == set(row.events) >= {"push_events", "note_events"}
        )
    assert found.actions().count("hook.created") == 8


def test_second_run_asks_once_for_each_hook_and_changes_nothing(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    found = proved(runtime, sandbox, cast, 6)
    before = [row.model_dump(exclude={"checked_at"}) for row in found.rows()]

    done = found.run()

    assert (done.accepted, found.changes_asked()) == (6, [])
    assert sandbox.requests.count("/api/v4/projects/*/hooks") == 6
    assert [row.model_dump(exclude={"checked_at"}) for row in found.rows()] == before


def spoil_url(found: Hooked, hook: AtGitLab) -> None:
    hook.url, hook.token, hook.signing_token = "https://elsewhere.example.com/", "", ""


def spoil_address(found: Hooked, hook: AtGitLab) -> None:
    hook.url = hook.url.replace(found.runtime.settings.base_url, "https://old.example.com")


def spoil_secret(found: Hooked, hook: AtGitLab) -> None:
    hook.token = "somebody-elses"
    found.change_one(hook, refused_at=utc_now())


def spoil_token(found: Hooked, hook: AtGitLab) -> None:
    hook.token = ""


def spoil_signature(found: Hooked, hook: AtGitLab) -> None:
    hook.signing_token = ""


def spoil_events(found: Hooked, hook: AtGitLab) -> None:
    hook.flags |= {"push_events": False, "job_events": True}


def spoil_tls(found: Hooked, hook: AtGitLab) -> None:
    hook.enable_ssl_verification = False


def spoil_filter(found: Hooked, hook: AtGitLab) -> None:
    hook.details["push_events_branch_filter"] = "main"


def double(found: Hooked, hook: AtGitLab) -> None:
    found.sandbox.world.hooks.add(hook.project_id, hook.url, hook.created_at)


def delete(found: Hooked, hook: AtGitLab) -> None:
    found.sandbox.world.hooks.remove(hook.project_id, hook.id)


def leave_orphan(found: Hooked, hook: AtGitLab) -> None:
    url = hook.url.rpartition("/")[0] + "/" + "o" * 32
    found.sandbox.world.hooks.add(hook.project_id, url, hook.created_at)


def replace_with_orphan(found: Hooked, hook: AtGitLab) -> None:
    leave_orphan(found, hook)
    delete(found, hook)
    found.change_one(hook, gitlab_hook_id=None)


SPOILED: list[tuple[Callable[[Hooked, AtGitLab], None], Difference]] = [
    (spoil_url, Difference.URL),
    (spoil_address, Difference.URL),
    (spoil_secret, Difference.SECRET),
    (spoil_token, Difference.SECRET),
    (spoil_signature, Difference.SIGNATURE),
    (spoil_events, Difference.EVENTS),
    (spoil_tls, Difference.TLS),
    (spoil_filter, Difference.FILTER),
    (double, Difference.DUPLICATE),
    (delete, Difference.MISSING),
    (leave_orphan, Difference.ORPHAN),
    (replace_with_orphan, Difference.ORPHAN),
]


def test_what_drifted_is_repaired_in_place(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> None:
    found = proved(runtime, sandbox, cast, len(SPOILED) + 1)
    *before, untouched = found.rows()
    made = [found.of(row)[0] for row in before]
    for (spoil, _), hook in zip(SPOILED, made, strict=True):
        spoil(found, hook)

    found.run()
    *rows, same = found.rows()
    asked = len(found.changes_asked())
    found.run()

    for (_, difference), row, old in zip(SPOILED, rows, made, strict=True):
        (hook,) = found.of(row)
        assert difference in row.repairs
        assert (row.status, row.card, row.refused_at) == (HookStatus.ACTIVE, None, None)
        assert (hook.id, hook.token, hook.signing_token) == (row.gitlab_hook_id, *keys_of(runtime, row))
        assert (hook.url, hook.enable_ssl_verification) == (row.url, True)
        assert not hook.details.get("push_events_branch_filter")
        assert {name for name, is_on in hook.flags.items() if is_on} == set(row.events)
        assert hook.id == old.id or difference in {Difference.MISSING, Difference.ORPHAN}
    assert (same.repaired_at, same.gitlab_hook_id) == (None, untouched.gitlab_hook_id)
    assert found.actions().count("hook.repaired") == len(SPOILED)
    # The second run found nothing.
    assert (len(found.changes_asked()), asked > 0) == (asked, True)


def test_other_peoples_hooks_and_those_of_another_connection_are_left_alone(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    found = proved(runtime, sandbox, cast, 1)
    (hook,), (row,) = found.at_gitlab(), found.rows()
    with runtime.database.transaction() as session:
        other = Connection(organization_id=cast.outsider.organization_id, slug="other", display_name="Other")
        session.add(other)
        session.flush()
        theirs = Hook(connection_id=other.id or 0, subject_id=row.subject_id)
        session.add(theirs)
    urls = ["https://ci.example.com/hook", f"{runtime.settings.base_url}/webhooks/gitlab/{theirs.public_id}"]
    for url in urls:
        sandbox.world.hooks.add(hook.project_id, url, hook.created_at)

    found.run()

    assert [item.url for item in found.of(row)] == [hook.url, *urls]


@pytest.mark.parametrize("is_made", [True, False])
def test_lost_answer_never_makes_a_second_hook(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, *, is_made: bool
) -> None:
    found = hooked(runtime, sandbox, cast, 1)
    lost = sandbox.faults.add("/api/v4/projects/*/hooks", "POST", status=502, processed=is_made, times=1)

    with pytest.raises(GitLabUnavailable):
        found.run()
    (row,) = found.rows()
    intent = row.intent
    found.run()
    (row,) = found.rows()
    (hook,) = found.at_gitlab()

    assert (lost.used, intent) == (1, "create")
    assert (row.gitlab_hook_id, row.intent) == (hook.id, "")
    assert hook.token == keys_of(runtime, row)[0]
    assert found.actions().count("hook.created") == 1


def test_list_that_came_back_short_is_a_doubt_and_makes_nothing(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    found = proved(runtime, sandbox, cast, 1)
    sandbox.faults.add("/api/v4/projects/*/hooks", "GET", max_rows=0, times=1)

    found.run()
    (row,) = found.rows()
    doubted, asked = (row.card or {}).get("code"), found.changes_asked()
    found.run()

    assert (doubted, asked) == ("hook_list_short", [])
    assert [item.card for item in found.rows()] == [None]
    assert found.changes_asked() == []


def test_hook_goes_when_its_repository_is_disabled_also_if_gitlab_was_down_or_hid_it_then(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    found = proved(runtime, sandbox, cast, 2)
    found.enable(1, enabled=False)
    due = due_connections(runtime)
    sandbox.faults.add("/api/v4/*", status=503)

    with pytest.raises(GitLabUnavailable):
        found.run()
    waiting = found.rows()
    sandbox.faults.clear()
    left = next(row for row in waiting if row.status == HookStatus.RETIRING)
    sandbox.faults.add(
        f"/api/v4/projects/{left.subject_id}/hooks", status=404, body={"message": "404 Project Not Found"}
    )
    found.run()
    hidden = {row.id: (row.card or {}).get("code") for row in found.rows()}
    sandbox.faults.clear()
    found.run()

    assert hidden[left.id] == "hook_left_hidden"
    assert [connection.id for connection in due] == [found.connection_id]
    assert {row.status for row in waiting} == {HookStatus.ACTIVE, HookStatus.RETIRING}
    for row in waiting:
        is_kept = row.status == HookStatus.ACTIVE
        assert len(found.of(row)) == is_kept == (row.id in {kept.id for kept in found.rows()})
    assert found.actions().count("hook.removed") == 1


def test_hook_that_is_wanted_again_before_it_was_removed_stays(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    found = proved(runtime, sandbox, cast, 1)
    (before,) = found.at_gitlab()
    found.change(status=HookStatus.RETIRING)

    found.run()

    assert found.at_gitlab() == [before]
    assert found.changes_asked() == []


def test_comparison_is_due_when_something_changed_and_after_an_hour(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    found = proved(runtime, sandbox, cast, 1)
    rested = due_connections(runtime)
    found.change(Connection, services=["repositories"])
    changed = due_connections(runtime)
    found.run()
    (hook,) = found.at_gitlab()
    again = due_connections(runtime)
    with runtime.database.transaction() as session:
        plan = found.plan()
        plan.compared_at = utc_now() - timedelta(minutes=61)
        session.merge(plan)

    assert (rested, again) == ([], [])
    assert [len(changed), len(due_connections(runtime))] == [1, 1]
    assert {name for name, is_on in hook.flags.items() if is_on} == {"push_events", "tag_push_events"}


def test_renames_transfers_archives_and_memberships_arrive_and_another_service_user_keeps_the_hooks(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    found = proved(runtime, sandbox, cast, 2)
    renamed, moved = found.rows()
    before = [(hook.id, hook.url, hook.token, hook.signing_token) for hook in found.at_gitlab()]
    sandbox.world.change_project(renamed.subject_id, path="renamed-since")
    target, user = sandbox.world.add_group("moved-here"), sandbox.world.user_by_username("gatehouse")
    assert user
    sandbox.world.add_member(user, target, 40)
    sandbox.world.change_project(moved.subject_id, group_id=target.id)
    with runtime.database.reading() as session:
        others = select(Repository).where(col(Repository.access_level) == 40, col(Repository.unavailable_reason) == "")
        unused = others.where(col(Repository.gitlab_project_id).not_in((renamed.subject_id, moved.subject_id)))
        archived, promoted = session.exec(unused.order_by(col(Repository.id)).limit(2)).all()
    sandbox.world.change_project(archived.gitlab_project_id, archived=True)
    sandbox.world.add_member(user, sandbox.world.project(promoted.gitlab_project_id), 50)
    # Only the hooks of groups and of the instance report them.
    told = (
        ("project_rename", renamed.subject_id),
        ("project_transfer", moved.subject_id),
        ("project_update", archived.gitlab_project_id),
        ("user_update_for_team", promoted.gitlab_project_id),
    )
    with runtime.database.transaction() as session:
        system = Hook(connection_id=found.connection_id, level=Level.SYSTEM, status=HookStatus.ACTIVE)
        session.add(system)
        session.flush()
        about = {
            "connection_id": found.connection_id,
            "hook_id": system.id,
            "level": Level.SYSTEM,
            "verified_by": "token",
        }
        for event, project_id in told:
            body = json.dumps({"event_name": event, "project_id": project_id}).encode()
            session.add(Delivery(key=event, body=zlib.compress(body), **about))
    applied = apply_batch(runtime)
    ended = run_pending(runtime)
    with runtime.database.transaction() as session:
        session.delete(session.get_one(Hook, system.id))
    found.run()
    with runtime.database.reading() as session:
        paths = [session.get_one(Repository, row.repository_id).path_with_namespace for row in (renamed, moved)]
        reason = session.get_one(Repository, archived.id).unavailable_reason
        role = session.get_one(Repository, promoted.id).access_level
    found.change(Credential, gitlab_user_id=4711, gitlab_username="gatehouse-2")
    due = due_connections(runtime)
    found.run()

    assert (applied, [job.name for job in ended], len(due)) == (4, [READ_PROJECTS], 1)
    assert (reason, role) == ("archived", 50)
    assert paths[0].endswith("/renamed-since")
    assert paths[1].startswith("moved-here/")
    assert [row.public_id for row in found.rows()] == [renamed.public_id, moved.public_id]
    assert [(hook.id, hook.url, hook.token, hook.signing_token) for hook in found.at_gitlab()] == before
    assert found.changes_asked() == []
    assert due_connections(runtime) == []


def test_repository_chooses_fewer_events_than_its_connection(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    found = proved(runtime, sandbox, cast, 1)
    found.change(Connection, services=["repositories", "issues"])
    found.run()
    found.change(Enablement, services=["repositories", "merge_requests"])
    changed = due_connections(runtime)
    found.run()
    (hook,) = found.at_gitlab()

    assert len(changed) == 1
    assert due_connections(runtime) == []
    assert {name for name, is_on in hook.flags.items() if is_on} == {"push_events", "tag_push_events"}


def test_one_refused_url_and_all_of_them_have_different_causes(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    found = hooked(runtime, sandbox, cast, 6)
    sandbox.world.settings.allow_local_hooks = False

    found.run()
    of_all = found.plan().card
    asked = sandbox.requests.count("/api/v4/projects/*/hooks")
    sandbox.world.settings.allow_local_hooks = True
    found.run()
    found.deliver(next(row for row in found.rows() if row.gitlab_hook_id))
    found.run()
    sandbox.world.hooks.remove(found.rows()[5].subject_id, found.rows()[5].gitlab_hook_id or 0)
    sandbox.world.settings.allow_local_hooks = False
    found.run()
    rows = found.rows()

    assert of_all is not None
    assert (of_all["code"], of_all["params"]["case"], of_all["params"]["host"]) == (
        *("hooks_url_refused", "loopback", "127.0.0.1:8000"),
    )
    # After three refusals in a row the rest were left alone.
    assert asked == 6
    assert [row.status for row in rows] == [*[HookStatus.ACTIVE] * 5, HookStatus.REFUSED]
    assert (rows[5].card or {})["code"] == "hook_url_refused"
    assert found.plan().card is None
    assert "127.0.0.1:8000" in Card.from_json(of_all).remedy


def test_missing_role_is_known_without_asking_or_said_by_gitlab(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    found = proved(runtime, sandbox, cast, 2)
    world, user = sandbox.world, sandbox.world.user_by_username("gatehouse")
    assert user is not None
    for group in world.top_level_groups():
        world.add_member(user, group, 20)
    known, told = found.rows()
    with runtime.database.transaction() as session:
        session.get_one(Repository, known.repository_id).access_level = 20

    found.run()

    assert {(row.status, (row.card or {}).get("code")) for row in found.rows()} == {
        (HookStatus.REFUSED, "hook_role_too_low")
    }
    assert found.actions().count("hook.refused") == 2
    assert [seen.path for seen in sandbox.requests.all("/api/v4/projects/*/hooks")] == [
        f"/api/v4/projects/{told.subject_id}/hooks"
    ]
