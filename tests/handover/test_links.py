"""What a hand-over link is for: one step, done by someone who has no account here."""

from __future__ import annotations

import re
from datetime import timedelta

from sqlmodel import select

from portal.actor import ActorKind
from portal.audit.models import AuditEvent
from portal.authorization.attempts import AttemptState, AuthorizationAttempt
from portal.connections import store
from portal.connections.models import Application, Connection
from portal.connections.steps import Step
from portal.credentials.models import Credential
from portal.db import utc_now
from portal.handover import links
from portal.handover.models import HandOver, Outcome
from portal.jobs import enqueue
from portal.jobs.testing import run_pending
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared, come_back, pass_gitlab

LINK = re.compile(r"data-copy-value>http://127\.0\.0\.1:8000(/hand-over/[\w-]{43})<")


def hand_over(owner: Visitor, slug: str, step: str = "application") -> str:
    """Make a link; return its path."""
    form = {"recipient": "Mads Hansen", "days": "3"}
    answer = owner.post(f"/connections/{slug}/hand-over/{step}", form)
    again = owner.post(f"/connections/{slug}/hand-over/{step}", form)
    assert again.status_code == 303
    assert answer.status_code == 200, answer.text
    return LINK.findall(answer.text)[0]


def open_link(visitor: Visitor, link: str) -> str:
    """Press the button of the link's page; return the path of the step."""
    assert "Open the request" in visitor.get(link).text
    answer = visitor.post(link)
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"]


def forget_application(runtime: Runtime, prepared: Prepared) -> None:
    """Take a connection back to before step 3."""
    with runtime.database.transaction() as session:
        session.delete(session.exec(select(Application)).one())
        connection = session.get_one(Connection, prepared.connection.id)
        connection.steps_done = [step for step in connection.steps_done if step != Step.APPLICATION]


def only_link(runtime: Runtime) -> HandOver:
    with runtime.database.reading() as session:
        return session.exec(select(HandOver)).one()


def events(runtime: Runtime) -> list[AuditEvent]:
    with runtime.database.reading() as session:
        return list(session.exec(select(AuditEvent).order_by(AuditEvent.number)))


def test_administrator_without_an_account_sends_both_values(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, visitor: Visitor, prepared: Prepared
) -> None:
    forget_application(runtime, prepared)
    link = hand_over(owner, prepared.slug)
    assert "Not opened yet" in owner.get(f"/connections/{prepared.slug}").text
    step = open_link(visitor, link)

    page = visitor.get(step).text
    assert store.redirect_uri_of(runtime, prepared.connection).rpartition("/")[2] in page
    assert "<nav" not in page
    wrong = {"application_id": prepared.application.uid, "secret": "gloas-wrong-secret"}
    refused = visitor.post(f"{step}/application", wrong)
    progress = f"/connections/{prepared.slug}/hand-over/application"
    shown, polled = owner.get(progress).text, owner.get(progress, htmx=True)
    swapped = visitor.post(f"{step}/application", {"application_id": prepared.secret, "secret": prepared.secret})
    sent = visitor.post(f"{step}/application", {"application_id": prepared.application.uid, "secret": prepared.secret})

    assert refused.status_code == 422
    assert prepared.application.uid in refused.text
    assert "gloas-wrong-secret" not in refused.text
    assert prepared.secret not in swapped.text
    assert "GitLab accepts both" in shown
    assert "HX-Redirect" not in polled.headers
    assert "sent <time" in shown
    assert (sent.status_code, sent.headers["Location"]) == (303, step)
    assert "GitLab accepts both values" in visitor.get(step).text
    assert owner.get(progress, htmx=True).headers["HX-Redirect"] == progress
    assert "Mads Hansen is done" in owner.get(progress).text
    assert only_link(runtime).outcome == Outcome.ACCEPTED
    with runtime.database.reading() as session:
        assert session.exec(select(Application)).one().checked_at is not None
    done = {event.action: event.actor for event in events(runtime)}
    for action in ("handover.opened", "application.saved", "handover.accepted"):
        assert (done[action].kind, done[action].name) == (ActorKind.HAND_OVER, "Mads Hansen, by hand-over link")
    assert done["handover.created"].kind == ActorKind.USER


def test_service_user_is_authorized_through_a_link_and_the_wrong_person_is_not(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, visitor: Visitor, prepared: Prepared
) -> None:
    step = open_link(visitor, hand_over(owner, prepared.slug, "authorize"))

    def authorize(username: str) -> str:
        leave = visitor.post(f"{step}/authorization").headers["Location"]
        assert "Taking you to GitLab" in visitor.get(leave).text
        address = visitor.get(leave.removesuffix("leave") + "go").headers["Location"]
        back = come_back(visitor, pass_gitlab(sandbox, address, username))
        assert back.headers["Location"] == step
        return visitor.get(step).text

    wrong = authorize("root")
    assert "@root was signed in" in wrong
    with runtime.database.reading() as session:
        assert session.exec(select(Credential)).all() == []
    assert "GitLab has authorized Gatehouse" in authorize("gatehouse")

    with runtime.database.reading() as session:
        credential = session.exec(select(Credential)).one()
        assert (credential.gitlab_username, credential.authorized_by_user_id) == ("gatehouse", None)
        outcomes = session.exec(select(AuthorizationAttempt.outcome).order_by(AuthorizationAttempt.id)).all()
    assert outcomes == [AttemptState.WRONG_PERSON, AttemptState.SUCCEEDED]
    assert only_link(runtime).outcome == Outcome.ACCEPTED
    assert "Mads Hansen, by hand-over link" in owner.get(f"/connections/{prepared.slug}").text
    authorized = [event for event in events(runtime) if event.action == "connection.authorized"]
    assert [event.actor.kind for event in authorized] == [ActorKind.HAND_OVER]


def test_declined_link_says_why_and_ends(
    runtime: Runtime, owner: Visitor, visitor: Visitor, prepared: Prepared
) -> None:
    step = open_link(visitor, hand_over(owner, prepared.slug, "authorize"))

    assert visitor.post(f"{step}/decline", {"reason": "x" * 501}).status_code == 422
    visitor.post(f"{step}/decline", {"reason": "We use another tool."})

    assert "You declined" in visitor.get(step).text
    assert visitor.post(f"{step}/authorization").status_code == 404
    page = owner.get(f"/connections/{prepared.slug}/hand-over/authorize").text
    assert "Mads Hansen declined" in page
    assert "We use another tool." in page
    assert "Mads Hansen declined" in owner.get(f"/connections/{prepared.slug}").text
    assert [event.action for event in events(runtime)][-2:] == ["handover.declined", "handover.refused"]


def test_old_link_is_deleted_and_a_newer_one_is_kept(runtime: Runtime, owner: Visitor, prepared: Prepared) -> None:
    hand_over(owner, prepared.slug, "authorize")
    assert not links.has_old(runtime)
    with runtime.database.transaction() as session:
        session.exec(select(HandOver)).one().expires_at = utc_now() - timedelta(days=31)
    hand_over(owner, prepared.slug)
    assert links.has_old(runtime)
    with runtime.database.transaction() as session:
        enqueue(session, "handover.forget", organization_id=None, title="Delete old links")

    run_pending(runtime)

    assert only_link(runtime).step == Step.APPLICATION
