"""The pages about webhooks, and what people do there."""

from __future__ import annotations

from datetime import timedelta

from sqlmodel import select

from portal.connections.checks import CheckState
from portal.connections.models import Connection
from portal.db import utc_now
from portal.gitlab.hooks import Level
from portal.jobs.models import Job
from portal.repositories.models import Enablement, GitLabGroup, Repository
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.webhooks.keys import open_key
from portal.webhooks.models import HookPlan, HookStatus, Mode
from portal.webhooks.status import hooks_check
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.webhooks.hooked import hooked, proved, without_tests

PAGE = "/connections/gitlab/webhooks"


def test_page_says_what_is_wrong_who_can_fix_it_and_the_line_to_add(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor, auditor: Visitor
) -> None:
    found = hooked(runtime, sandbox, cast, 6)
    before = owner.get(PAGE).text
    sandbox.world.settings.allow_local_hooks = False
    found.run()
    refused = owner.get(PAGE).text
    overview = owner.get("/connections/gitlab").text

    assert "GitLab will probably refuse this portal" in before
    assert "would lead GitLab back to its own machine" in refused
    assert "<code data-copy-value>127.0.0.1:8000</code>" in refused
    assert f"{sandbox.url}/admin/application_settings/network#js-outbound-settings" in refused
    assert "Webhooks do not work" in overview
    assert f"{PAGE}/compare" in refused
    assert f"{PAGE}/compare" not in auditor.get(PAGE).text


def test_repaired_hooks_come_first_and_say_what_was_found(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor
) -> None:
    found = proved(runtime, sandbox, cast, 3)
    repaired = found.rows()[2]
    found.of(repaired)[0].enable_ssl_verification = False
    found.run()

    page = owner.get(PAGE).text
    only = owner.get(f"{PAGE}?state=repaired").text
    details = owner.get(f"{PAGE}/{repaired.id}").text

    assert page.index(f"{PAGE}/{repaired.id}") < page.index(f"{PAGE}/{found.rows()[0].id}")
    assert only.count("gh-hook-name") == 1
    assert "It did not verify this portal" in details
    assert "Push events, Tag push events, Merge request events" in details


def test_new_secrets_are_sent_and_the_previous_ones_are_valid_until_then(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor
) -> None:
    found = proved(runtime, sandbox, cast, 2)
    (before,) = found.of(found.rows()[0])
    old = (before.token, before.signing_token)

    answer = owner.post(f"{PAGE}/rotate")
    sandbox.faults.add("/api/v4/projects/*/hooks/*", "PUT", status=503, times=2)
    try:
        found.run()
    except Exception as error:
        failed = type(error).__name__
    waiting = found.rows()[0]
    found.run()
    row = found.rows()[0]
    (hook,) = found.of(row)
    asked = len(found.changes_asked())
    found.run()

    def previous() -> tuple[str, ...]:
        names = ("previous_token_sealed", "previous_signing_token_sealed")
        return tuple(key.reveal() for name in names if (key := open_key(runtime, row, name)))

    assert (answer.status_code, failed) == (303, "GitLabUnavailable")
    assert (waiting.intent, waiting.previous_until) == ("rotate", None)
    assert {hook.token, hook.signing_token}.isdisjoint(old)
    token = open_key(runtime, row, "token_sealed")
    assert token
    assert token.reveal() == hook.token
    assert previous() == old
    assert row.previous_until
    assert row.previous_until > utc_now()
    assert len(found.changes_asked()) == asked
    assert "hooks.rotated" in found.actions()


def test_hook_is_set_up_by_hand_with_secrets_that_are_shown_once(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor, auditor: Visitor
) -> None:
    found = hooked(runtime, sandbox, cast, 1)
    found.change(Repository, access_level=20)
    found.run()
    (row,) = found.rows()

    refused = owner.get(f"{PAGE}/{row.id}").text
    forbidden = auditor.post(f"{PAGE}/{row.id}/by-hand")
    page = owner.post(f"{PAGE}/{row.id}/by-hand").text.replace("/<wbr>", "/")
    found.run()
    (row,) = found.rows()
    later = owner.get(f"{PAGE}/{row.id}").text
    keys = [open_key(runtime, row, name) for name in ("token_sealed", "signing_token_sealed")]

    assert "needs the role Maintainer" in refused
    assert forbidden.status_code == 404
    assert (row.mode, row.status, found.at_gitlab()) == (Mode.BY_HAND, HookStatus.UNPROVED, [])
    for key in keys:
        assert key
        assert key.reveal() in page
        assert key.reveal() not in later
    assert row.public_id in page
    assert "Waits for its first delivery" in later
    assert "hook.secret_shown" in found.actions()
    found.deliver(row)
    assert "Fine" in owner.get(f"{PAGE}/{row.id}").text


def test_hook_of_one_repository_is_switched_off_and_on(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor
) -> None:
    found = proved(runtime, sandbox, cast, 2)
    row = found.rows()[0]

    owner.post(f"{PAGE}/{row.id}/mode", {"mode": "off"})
    found.run()
    off = (found.of(row), len(found.of(found.rows()[1])))
    page = owner.get(f"{PAGE}?state=off").text
    owner.post(f"{PAGE}/{row.id}/mode", {"mode": "automatic"})
    owner.post(f"{PAGE}/{row.id}/repair")
    found.run()

    assert off == ([], 1)
    assert page.count("gh-hook-name") == 1
    assert len(found.of(row)) == 1
    assert [name for name in found.actions() if name in {"hook.switched_off", "hook.switched_on"}] == [
        *("hook.switched_off", "hook.switched_on"),
    ]
    assert {"hook.repair_requested", "hook.removed"} <= set(found.actions())


def test_webhooks_are_switched_on_compared_and_made_in_another_way(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor
) -> None:
    found = hooked(runtime, sandbox, cast, 1)
    found.change(Connection, hooks_wanted=False)

    off = owner.get(PAGE).text
    owner.post(f"{PAGE}/settings", {"hooks_wanted": "1"})
    on = owner.get(PAGE).text
    owner.post(f"{PAGE}/settings", {"level": "group"})
    wrong = owner.post(f"{PAGE}/settings", {"level": "galaxy"})
    owner.post(f"{PAGE}/compare")
    with runtime.database.reading() as session:
        connection = session.get_one(Connection, found.connection_id)
        jobs = [job.name for job in session.exec(select(Job))]

    assert "Webhooks are off" in off
    assert "Gatehouse reads GitLab every 15 minutes" in off
    assert "No repository is enabled yet" in on
    assert connection.hooks_wanted
    assert wrong.status_code == 422
    assert (found.plan().level, "webhooks.reconcile" in jobs) == (Level.GROUP, True)
    assert {"hooks.level_changed", "hooks.compare_requested"} <= set(found.actions())


def test_hook_that_is_left_over_is_taken_off_the_list_by_whoever_knows_that_it_is_gone(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor, auditor: Visitor
) -> None:
    found = proved(runtime, sandbox, cast, 2)
    first, second = found.rows()
    found.enable(1, enabled=False)
    sandbox.faults.add("/api/v4/projects/*/hooks", status=404, body={"message": "404 Project Not Found"})
    found.run()
    left = next(row for row in found.rows() if row.status == HookStatus.RETIRING)
    kept = second if left.id == first.id else first

    assert "take it off the list" in owner.get(f"{PAGE}/{left.id}").text
    assert "take it off the list" not in auditor.get(f"{PAGE}/{left.id}").text
    assert owner.post(f"{PAGE}/{kept.id}/forget").status_code == 409
    assert owner.post(f"{PAGE}/{left.id}/forget").status_code == 303
    assert [row.id for row in found.rows()] == [kept.id]
    assert "hook.forgotten" in found.actions()


def test_team_lead_sees_no_hook_of_other_groups(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, lead: Visitor
) -> None:
    found = proved(runtime, sandbox, cast, 2)
    row = found.rows()[0]

    page = lead.get(PAGE).text

    assert "gh-hook-name" not in page
    assert lead.get(f"{PAGE}/{row.id}").status_code == 404


def test_page_of_a_repository_says_how_its_webhook_is_and_leads_to_its_deliveries(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor, lead: Visitor
) -> None:
    found = hooked(runtime, sandbox, cast, 1)
    with runtime.database.reading() as session:
        enabled = session.exec(select(Enablement.repository_id)).one()
        path = session.get_one(Repository, enabled).path_with_namespace
        group = select(GitLabGroup.gitlab_group_id).where(GitLabGroup.full_path == path.partition("/")[0])
        group_id = session.exec(group).one()
    address = f"/repositories/{enabled}"
    before = owner.get(address).text
    without_tests(sandbox)
    found.run()
    (row,) = found.rows()
    found.deliver(row)
    own = owner.get(address).text
    deliveries = owner.get(f"{PAGE}/deliveries", query_string={"q": path})
    found.change(level=Level.GROUP, subject_id=group_id, repository_id=None)
    wider = owner.get(address).text
    found.change(Connection, hooks_wanted=False)

    assert "Not made yet" in before
    assert f"{PAGE}/{row.id}" not in before
    assert "last delivery" in own
    assert f'href="{PAGE}/{row.id}"' in own
    assert f'href="{PAGE}/deliveries?q={path}"' in own
    assert deliveries.status_code == 200
    assert lead.get(address).status_code == 404
    assert "of the group, last delivery" in wider
    assert "last delivery" not in owner.get(address).text


def test_direction_from_gitlab_is_a_health_check(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> None:
    found = hooked(runtime, sandbox, cast, 1)
    without_tests(sandbox)
    found.change(Repository, last_activity_at=utc_now() - timedelta(days=2))

    def check() -> tuple[CheckState, str, str]:
        with runtime.database.reading() as session:
            told = hooks_check(runtime, session.get_one(Connection, found.connection_id))
        return told.state, told.note, told.failure.code if told.failure else ""

    missing = check()
    found.run()
    waiting = check()
    found.deliver(found.rows()[0])
    found.run()
    works = check()
    found.change(Repository, last_activity_at=utc_now() + timedelta(hours=3))
    silent = check()
    found.change(HookPlan, card=None)
    found.change(Connection, hooks_wanted=False)

    assert missing == (CheckState.SKIPPED, "hooks_missing", "")
    assert waiting == (CheckState.WARN, "failure", "hook_waits_for_first")
    assert works == (CheckState.PASS, "hooks_deliver", "")
    assert silent == (CheckState.WARN, "failure", "hooks_silent")
    assert check() == (CheckState.SKIPPED, "hooks_unwanted", "")
