"""GitLab's log of a hook beside what arrived here, and sending a delivery again."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from html import unescape

import pytest
from sqlmodel import col, select

from portal.audit.models import AuditEvent
from portal.db import utc_now
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.webhooks.models import Delivery
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.webhooks.hooked import hooked
from tests.webhooks.test_end_to_end import connected, listener, served, settings

__all__ = ["listener", "served", "settings"]
HOOKS = "/connections/gitlab/webhooks"
TAGS = re.compile(r"<[^>]+>")


def words_of(page: str) -> str:
    return " ".join(TAGS.sub(" ", page).split())


def count(runtime: Runtime) -> int:
    with runtime.database.reading() as session:
        return len(session.exec(select(Delivery.id)).all())


def newest(runtime: Runtime) -> int:
    with runtime.database.reading() as session:
        return max(filter(None, session.exec(select(Delivery.id))))


def test_both_ends_are_shown_for_what_arrived_what_did_not_and_what_was_held(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, served: None, owner: Visitor, lead: Visitor, auditor: Visitor
) -> None:
    found = connected(runtime, sandbox, cast)
    row = found.rows()[0]
    (at_gitlab,) = found.of(row)
    world, page = sandbox.world, f"{HOOKS}/{row.id}/log"
    world.activity.push(row.subject_id)
    assert world.deliveries.wait()
    right = at_gitlab.signing_token
    at_gitlab.signing_token = "whsec_" + "A" * 43 + "="
    world.activity.push(row.subject_id)
    assert world.deliveries.wait()
    at_gitlab.signing_token = right

    shown = unescape(words_of(owner.get(page).text))
    assert "Received" in shown
    assert "Gatehouse keeps its side for 30 days." in shown
    assert "Did not arrive" in shown
    assert "It did not carry this webhook's secret." in shown
    assert lead.get(page).status_code == 404
    assert "Send again" not in auditor.get(page).text
    assert owner.get(page, htmx=True).text.lstrip().startswith('<div id="gitlab-log"')

    one = f"{HOOKS}/deliveries/{newest(runtime)}"
    alone, both = words_of(owner.get(one).text), words_of(owner.get(f"{one}/both").text)
    assert "Asking GitLab for its log" in alone
    assert "Received, checked, waiting" in alone
    assert "Both ends agree. GitLab got its answer, and the delivery is here." in both
    assert "Result 200" in both
    assert "Send again anyway" in both
    assert "Send again" not in auditor.get(f"{one}/both").text
    assert lead.get(f"{one}/both").status_code == 404

    before = count(runtime)
    again = re.search(rf'action="({page}/\d+)"', owner.get(page).text)
    assert again is not None
    assert auditor.post(again.group(1)).status_code == 404
    assert owner.post(again.group(1)).status_code == 303
    assert world.deliveries.wait()
    assert count(runtime) == before + 1
    assert "the answer was 200" in owner.get(HOOKS).text
    sent_again = re.search(rf'action="({HOOKS}/{row.id}/log/\d+)"', owner.get(f"{one}/both").text)
    assert sent_again is not None
    answer = owner.post(sent_again.group(1), {"delivery": one.rpartition("/")[2]})
    assert answer.headers["Location"].endswith(one)
    assert world.deliveries.wait()
    assert "It came 2 times and counted once" in words_of(owner.get(one).text)

    with runtime.database.reading() as session:
        events = session.exec(select(AuditEvent).where(col(AuditEvent.action) == "hook.resend_requested")).all()
    assert len(events) == 2

    # As if GitLab had given up: the log is edited, because waiting for its ten seconds would prove no more.
    entries = [replace(entry, status="internal error") for entry in at_gitlab.log]
    at_gitlab.log.clear()
    at_gitlab.log.extend(entries)
    assert "GitLab gave up waiting, but it arrived." in words_of(owner.get(page).text)
    assert "Both are right. GitLab gave up waiting, but it arrived." in words_of(owner.get(f"{one}/both").text)


@pytest.mark.parametrize(
    ("version", "sentence"),
    [("17.2.0", "It has one from 17.3 on"), ("17.3.0", "GitLab says which one it was from 17.4 on")],
)
def test_older_gitlabs_say_less(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, served: None, owner: Visitor, version: str, sentence: str
) -> None:
    found = connected(runtime, sandbox, cast, version)
    row = found.rows()[0]
    sandbox.world.activity.push(row.subject_id)
    assert sandbox.world.deliveries.wait()

    shown = words_of(owner.get(f"{HOOKS}/{row.id}/log").text)

    assert sentence in shown
    assert "Send again" not in shown


def test_gitlab_that_cannot_be_asked_is_said_with_what_to_do(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor
) -> None:
    found = hooked(runtime, sandbox, cast, 1)
    found.run()
    row = found.rows()[0]
    sandbox.faults.add("/api/v4/projects/*/hooks/*/events*", status=500)

    shown = owner.get(f"{HOOKS}/{row.id}/log")
    refused = owner.post(f"{HOOKS}/{row.id}/log/1")

    assert shown.status_code == 200
    assert "gh-warn" in shown.text
    assert refused.status_code == 409
    assert "It was not sent again." in refused.text


def test_deliveries_are_found_by_repository_event_key_and_verdict(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor
) -> None:
    found = hooked(runtime, sandbox, cast, 2)
    found.run()
    first, second = found.rows()
    with runtime.database.transaction() as session:
        for number, row in enumerate((first, second)):
            session.add(
                Delivery(
                    connection_id=found.connection_id,
                    hook_id=row.id,
                    key=f"key-{number}",
                    event=("Push Hook", "Note Hook")[number],
                    verified_by="token",
                    body=json.dumps({}).encode(),
                    verdict=("applied", "ignored")[number],
                    copies=1 - number,
                    received_at=utc_now() - timedelta(hours=2 * number),
                )
            )

    def shown(**query: str) -> list[bool]:
        page = owner.get(f"{HOOKS}/deliveries", query_string=query).text
        return [f"</strong> {event}</a>" in page for event in ("Push Hook", "Note Hook")]

    assert shown() == [True, True]
    assert shown(q="push") == [True, False]
    assert shown(q="key-1") == [False, True]
    assert shown(verdict="ignored") == [False, True]
    assert shown(verdict="nonsense") == [True, True]
    assert shown(q="%") == [False, False]
    assert shown(event="Note Hook") == [False, True]
    assert shown(event="nonsense", since="nonsense") == [True, True]
    assert shown(since="hour") == [True, False]
    assert shown(verdict="known") == [True, False]
    assert shown(verdict="waiting") == [False, False]
    assert shown(hook=str(second.id)) == [False, True]
