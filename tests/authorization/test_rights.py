"""The person coming back from GitLab needs the right at that moment, and must still have it when the pair is stored."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import delete
from sqlmodel import Session, col, select

from portal.accounts.members import change_role, invite, remove_member
from portal.accounts.models import Membership, SessionRecord, User
from portal.actor import Principal, RightLost, Role
from portal.audit.models import AuditEvent
from portal.authorization.attempts import AttemptState, AuthorizationAttempt
from portal.connections.applications import save_credentials
from portal.connections.store import create_draft, rename
from portal.credentials.models import Credential
from portal.disconnection.disconnect import disconnect
from portal.errors import NotFound
from portal.repositories.enablement import set_enabled
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.people import Actor, Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared, come_back, pass_gitlab, principal_of, start

TOKEN = "/oauth/token"
USER = "/api/v4/user"


def demoted(session: Session, actor: Actor) -> None:
    session.get_one(Membership, actor.membership_id).role = Role.AUDITOR


def disabled(session: Session, actor: Actor) -> None:
    session.get_one(User, actor.user_id).is_disabled = True


def removed(session: Session, actor: Actor) -> None:
    session.execute(delete(Membership).where(col(Membership.id) == actor.membership_id))


def signed_out(session: Session, actor: Actor) -> None:
    session.execute(delete(SessionRecord).where(col(SessionRecord.user_id) == actor.user_id))


LOSSES = [demoted, disabled, removed, signed_out]


def newest(runtime: Runtime) -> AuthorizationAttempt:
    with runtime.database.reading() as session:
        return session.exec(select(AuthorizationAttempt).order_by(col(AuthorizationAttempt.id).desc())).first()


def refusals(runtime: Runtime) -> list[AuditEvent]:
    with runtime.database.reading() as session:
        statement = select(AuditEvent).where(AuditEvent.action == "authorization.refused")
        return list(session.exec(statement.order_by(col(AuditEvent.number))))


def stored(runtime: Runtime) -> list[Credential]:
    with runtime.database.reading() as session:
        return list(session.exec(select(Credential)))


def lose(runtime: Runtime, actor: Actor, how: Callable[[Session, Actor], None]) -> None:
    with runtime.database.transaction() as session:
        how(session, actor)


@pytest.mark.parametrize("how", LOSSES)
def test_right_that_is_lost_during_the_trip_ends_the_attempt_before_any_request(
    runtime: Runtime,
    sandbox: RunningSandbox,
    cast: Cast,
    administrator: Visitor,
    prepared: Prepared,
    how: Callable[[Session, Actor], None],
) -> None:
    location = pass_gitlab(sandbox, start(administrator, prepared.slug), "gatehouse")
    lose(runtime, cast.administrator, how)
    sandbox.requests.clear()

    answer = come_back(administrator, location)

    assert answer.status_code == (404 if how is demoted else 401)
    assert ("no longer have the right" if how is demoted else "Your session here has ended") in answer.text
    assert sandbox.requests.all() == []
    assert stored(runtime) == []
    attempt = newest(runtime)
    assert attempt.outcome == (AttemptState.FAILED if how is demoted else AttemptState.ABANDONED)
    assert attempt.verifier_sealed is None
    (event,) = refusals(runtime)
    assert event.details == {"code": "right_lost" if how is demoted else "session_ended"}
    assert (event.result, event.object_id) == ("refused", str(prepared.connection.id))


@pytest.mark.parametrize("how", LOSSES)
def test_right_that_is_lost_while_gitlab_answers_stores_nothing_and_revokes_the_pair(
    runtime: Runtime,
    sandbox: RunningSandbox,
    cast: Cast,
    administrator: Visitor,
    prepared: Prepared,
    how: Callable[[Session, Actor], None],
) -> None:
    location = pass_gitlab(sandbox, start(administrator, prepared.slug), "gatehouse")
    sandbox.faults.hold(USER)
    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(come_back, administrator, location)
        sandbox.requests.wait_for(USER)
        lose(runtime, cast.administrator, how)
        sandbox.faults.release()
        answer = answering.result(30)

    assert answer.status_code == 404
    assert "no longer have the right" in answer.text
    assert stored(runtime) == []
    assert [token.is_revoked for token in sandbox.world.oauth.tokens()] == [True]
    attempt = newest(runtime)
    assert (attempt.outcome, attempt.card["code"]) == (AttemptState.FAILED, "right_lost")
    assert [event.details["code"] for event in refusals(runtime)] == ["right_lost"]


def test_somebody_of_another_organization_is_refused_and_not_named(
    runtime: Runtime, sandbox: RunningSandbox, app: Flask, cast: Cast, owner: Visitor, prepared: Prepared
) -> None:
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    owner.sign_in(cast.outsider)
    sandbox.requests.clear()

    answer = come_back(owner, location)

    assert answer.status_code == 400
    assert sandbox.requests.all() == []
    (event,) = refusals(runtime)
    assert (event.organization_id, event.actor.user_id, event.actor_name) == (cast.owner.organization_id, None, "")
    assert event.details == {"code": "other_person"}


def test_attempt_is_only_given_up_by_the_browser_that_began_it(
    runtime: Runtime, sandbox: RunningSandbox, app: Flask, owner: Visitor, prepared: Prepared
) -> None:
    """A `state` that someone else saw ends nothing for the person who began."""
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")

    assert come_back(Visitor(app), location).status_code == 401

    assert newest(runtime).outcome == AttemptState.STARTED
    assert [event.details["code"] for event in refusals(runtime)] == ["other_browser"]
    assert come_back(owner, location).status_code == 303
    assert newest(runtime).outcome == AttemptState.SUCCEEDED


@pytest.mark.parametrize(
    "act",
    [
        lambda runtime, who, cast, slug: rename(runtime, who, slug, "Another"),
        lambda runtime, who, cast, slug: save_credentials(runtime, who, slug, "a" * 64, "b" * 64),
        lambda runtime, who, cast, slug: disconnect(runtime, who, slug, "keep", "GitLab"),
        lambda runtime, who, cast, slug: set_enabled(runtime, who, [1], enabled=True),
        lambda runtime, who, cast, slug: invite(runtime, who, "new@example.com", "owner"),
        lambda runtime, who, cast, slug: change_role(runtime, who, cast.lead.membership_id, Role.OWNER),
        lambda runtime, who, cast, slug: remove_member(runtime, who, cast.lead.membership_id),
    ],
    ids=["rename", "credentials", "disconnect", "enable", "invite", "role", "remove"],
)
def test_change_by_somebody_who_lost_the_right_since_the_request_began_is_refused(
    runtime: Runtime,
    cast: Cast,
    owner: Visitor,
    prepared: Prepared,
    act: Callable[[Runtime, Principal, Cast, str], object],
) -> None:
    """Each of these waits for a lock, some for GitLab: by then the rights at the request's start no longer count."""
    with runtime.database.reading() as session:
        session_id = session.exec(select(SessionRecord.id).where(SessionRecord.user_id == cast.owner.user_id)).one()
    principal = principal_of(runtime, cast.owner)
    principal = Principal(**{**vars(principal), "session_id": session_id})
    lose(runtime, cast.owner, demoted)
    before = audit_numbers(runtime)

    with pytest.raises(RightLost):
        act(runtime, principal, cast, prepared.slug)

    assert audit_numbers(runtime) == before


def test_right_lost_while_gitlab_looks_at_a_secret_keeps_the_old_one(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, prepared: Prepared
) -> None:
    principal = principal_of(runtime, cast.administrator)
    sandbox.faults.hold(TOKEN)
    with ThreadPoolExecutor(1) as pool:
        saving = pool.submit(
            save_credentials, runtime, principal, prepared.slug, prepared.application.uid, "gloas-" + "c" * 64
        )
        sandbox.requests.wait_for(TOKEN)
        lose(runtime, cast.administrator, demoted)
        sandbox.faults.release()
        with pytest.raises(NotFound):
            saving.result(30)

    with runtime.database.reading() as session:
        actions = [event.action for event in session.exec(select(AuditEvent))]
    assert actions.count("application.saved") == 1


def test_draft_is_made_with_the_present_rights(runtime: Runtime, cast: Cast) -> None:
    principal = principal_of(runtime, cast.administrator)
    lose(runtime, cast.administrator, demoted)

    with pytest.raises(RightLost):
        create_draft(runtime, principal, "Late", "oauth")


def audit_numbers(runtime: Runtime) -> list[int]:
    with runtime.database.reading() as session:
        return list(session.exec(select(AuditEvent.number)))
