"""Whatever is refused, or fails on the way through GitLab, writes one event that `?result=` finds."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from flask import Flask
from sqlmodel import select

from portal.accounts.limits import WINDOW_MINUTES
from portal.accounts.models import Invitation
from portal.audit.models import AuditEvent
from portal.db import utc_now
from portal.jobs import enqueue
from portal.jobs.models import Job
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.accounts.support import give_password
from tests.support.people import PASSWORD, Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared, authorize, come_back, pass_gitlab, prepare, start

REFUSED, FAILED = "authorization.refused", "authorization.failed"


@pytest.fixture
def prepared(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> Prepared:
    """A connection whose next step is the popup, at a GitLab that asks for consent."""
    return prepare(runtime, sandbox, cast.owner, trusted=False)


def events(runtime: Runtime, *actions: str) -> list[AuditEvent]:
    with runtime.database.reading() as session:
        found = session.exec(select(AuditEvent).order_by(AuditEvent.number))
        return [event for event in found if event.action in actions]


def only(runtime: Runtime, action: str, result: str, code: str) -> AuditEvent:
    (event,) = events(runtime, REFUSED, FAILED)
    assert (event.action, event.result, event.details["code"]) == (action, result, code)
    assert (event.object_type, event.object_name) == ("connection", "GitLab")
    return event


def test_wrong_person_is_in_the_log_with_both_names_and_so_is_the_token_that_was_revoked(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    authorize(owner, sandbox, prepared.slug, "root")

    event = only(runtime, REFUSED, "refused", "wrong_person_other_user")
    assert event.details["expected"] == "gatehouse"
    assert event.details["actual"] == "root"
    assert event.details["doubts"] == ["other_user", "administrator"]
    assert event.foreign_fields == ["details.actual"]
    listing = owner.get("/audit?result=refused").text
    assert "authorization.refused" in listing


@pytest.mark.parametrize(
    ("member", "value", "code"),
    [("external", True, "wrong_person_external"), ("state", "ldap_blocked", "wrong_person_blocked")],
)
def test_external_and_blocked_users_are_in_the_log(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared, member: str, value: object, code: str
) -> None:
    sandbox.faults.add("/api/v4/user", set_members={member: value})

    authorize(owner, sandbox, prepared.slug)

    only(runtime, REFUSED, "refused", code)


def test_denial_in_gitlab_is_in_the_log(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    come_back(owner, pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse", button="Deny"))

    event = only(runtime, REFUSED, "refused", "authorization_denied")
    assert event.actor_name == "Olga Owner"


def test_exchange_that_gitlab_refuses_is_in_the_log(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")

    come_back(owner, re.sub(r"code=[^&]+", "code=another", location))

    only(runtime, FAILED, "failed", "oauth_invalid_grant")
    assert "authorization.failed" in owner.get("/audit?result=failed").text


def test_each_refused_callback_of_a_known_attempt_is_in_the_log(
    runtime: Runtime, sandbox: RunningSandbox, app: Flask, cast: Cast, owner: Visitor, prepared: Prepared
) -> None:
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")

    come_back(Visitor(app).sign_in(cast.administrator), location)
    come_back(owner, location + "&iss=https%3A%2F%2Fevil.example")

    found = events(runtime, REFUSED, FAILED)
    assert [(event.result, event.details["code"], event.actor_name) for event in found] == [
        ("refused", "other_browser", "Ada Admin"),
        ("refused", "issuer_wrong", "Olga Owner"),
    ]


def test_callback_that_is_nobodys_writes_nothing(runtime: Runtime, owner: Visitor, prepared: Prepared) -> None:
    owner.get(f"/oauth/callback/{prepared.slug}?state=unknown&code=x")

    assert events(runtime, REFUSED, FAILED) == []


def test_job_that_one_may_not_stop_is_a_refusal(runtime: Runtime, cast: Cast, auditor: Visitor) -> None:
    with runtime.database.transaction() as session:
        enqueue(session, "test.nothing", organization_id=cast.owner.organization_id, title="A job", key="k")
    with runtime.database.reading() as session:
        public_id = session.exec(select(Job.public_id)).one()

    assert auditor.post(f"/jobs/{public_id}/stop").status_code == 404

    (event,) = events(runtime, "access.refused")
    assert (event.result, event.actor_name, event.object_id) == ("refused", "Aud Auditor", f"/jobs/{public_id}/stop")


@pytest.mark.parametrize("code", ["used", "too_old"])
def test_link_of_an_invitation_that_no_longer_counts_is_a_refusal(
    runtime: Runtime, app: Flask, owner: Visitor, code: str
) -> None:
    page = owner.post("/members/invitations", {"email": "joins@example.com", "role": "auditor"}).text
    link = re.search(r"/invitations/[\w-]+", page)
    assert link
    form = {"name": "Jo Joins", "password": "another lantern over marsh"}
    if code == "used":
        Visitor(app).post(link[0], form)
    else:
        with runtime.database.transaction() as session:
            session.exec(select(Invitation)).one().expires_at = utc_now() - timedelta(seconds=1)

    assert Visitor(app).get(link[0]).status_code == 404
    visitor = Visitor(app)
    assert visitor.post(link[0], form, token=visitor.csrf_token()).status_code == 404

    (event,) = events(runtime, "member.invitation_refused")
    assert (event.result, event.object_name, event.details) == ("refused", "joins@example.com", {"code": code})


def test_sign_in_that_is_throttled_is_one_refusal_however_often_it_knocks(
    runtime: Runtime, app: Flask, cast: Cast
) -> None:
    statuses = [give_password(Visitor(app), cast.lead, password="wrong one").status_code for _ in range(14)]
    assert statuses.count(429) >= 3

    (event,) = events(runtime, "session.throttled")
    assert (event.result, event.object_name, event.organization_id) == ("refused", "lea@example.com", 1)
    assert event.at > utc_now() - timedelta(minutes=WINDOW_MINUTES)
    assert PASSWORD not in event.model_dump_json()
