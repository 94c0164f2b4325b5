"""A pair is only called revoked once that is proved: `/oauth/revoke` answers 200 whatever it does (RFC 7009 §2.2)."""

from __future__ import annotations

from datetime import timedelta

from flask import Flask
from sqlmodel import select

from portal.audit.models import AuditEvent
from portal.credentials.models import RetiredToken
from portal.credentials.revocation import CLAIM_SECONDS, LOST, Proof, due_revocations, revoke_one
from portal.db import utc_now
from portal.jobs.testing import run_pending
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.disconnection.test_crashes import die, give_back_what_the_dead_held
from tests.disconnection.world import ADDRESS, REVOKE, World
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import authorize, prepare

TOKEN, USER = "/oauth/token", "/api/v4/user"
REFRESHES = "*grant_type=refresh_token*"


def expire(world: World) -> None:
    """Make the access token expire, as two hours after the last refresh."""
    world.sandbox.world.oauth.end_access_token(world.paired.issued[-1].access_token)


def told(world: World, action: str) -> list[AuditEvent]:
    with world.runtime.database.reading() as session:
        return [row for row in session.exec(select(AuditEvent)) if row.action == action]


def panel(owner: Visitor) -> str:
    return owner.get(ADDRESS).text.partition('id="panel-disconnection"')[2]


def test_living_pair_is_called_revoked_when_gitlab_refuses_its_access_token(world: World, owner: Visitor) -> None:
    world.disconnect(owner)
    world.run()

    assert [row.proof for row in world.retired()] == [Proof.REVOKED]
    assert told(world, "token.revoked")[0].details == {"reason": "disconnected", "tries": 1, "proof": Proof.REVOKED}
    assert world.sandbox.requests.count(TOKEN) == 0


def test_expired_pair_that_gitlab_does_not_revoke_is_refreshed_and_its_successor_revoked(
    world: World, owner: Visitor
) -> None:
    """Doorkeeper before 5.8.1 answers 200 and does nothing: the refresh token would keep working forever."""
    world.sandbox.world.settings.revokes_expired = False
    expire(world)
    world.disconnect(owner)

    world.run()

    assert len(world.paired.issued) == 2
    assert world.is_revoked_at_gitlab
    (row,) = world.retired()
    assert (row.proof, row.token_sealed, row.access_token_sealed) == (Proof.REVOKED, None, None)
    assert (world.sandbox.requests.count(REVOKE), world.sandbox.requests.count(TOKEN)) == (2, 1)
    assert "Revoked" in panel(owner)


def test_expired_pair_that_gitlab_did_revoke_is_proved_by_its_refresh_token(world: World, owner: Visitor) -> None:
    world.sandbox.world.settings.revokes_expired = True
    expire(world)
    world.disconnect(owner)

    world.run()

    assert [row.proof for row in world.retired()] == [Proof.REFUSED]
    assert len(world.paired.issued) == 1


def test_lost_answer_about_an_expired_pair_is_never_called_revoked(world: World, owner: Visitor) -> None:
    world.sandbox.world.settings.revokes_expired = False
    world.sandbox.faults.add(TOKEN, body_pattern=REFRESHES, drop="after", times=1)
    expire(world)
    world.disconnect(owner)

    world.run()

    assert not world.is_revoked_at_gitlab
    (row,) = world.retired()
    assert (row.failure["code"], row.revoked_at, row.token_sealed) == (LOST, None, None)
    assert told(world, "token.revoked") == []
    assert [event.details["code"] for event in told(world, "token.revocation_failed")] == [LOST]
    page = panel(owner)
    assert "Revocation pending" in page
    assert "Gatehouse does not know whether the token is dead" in page
    assert "Revoke it in GitLab by hand" in page
    world.sandbox.requests.clear()
    world.let_pauses_pass()
    world.run()
    assert world.sandbox.requests.all() == []

    owner.post(f"{ADDRESS}/disconnection/revoked-by-hand", {"revoked": "1"})

    assert "Revoked by hand, as confirmed here" in panel(owner)
    assert told(world, "token.revoked") == []


def test_process_that_dies_while_it_finds_out_leaves_no_pair_called_revoked(world: World, owner: Visitor) -> None:
    world.sandbox.world.settings.revokes_expired = True
    expire(world)
    world.disconnect(owner)

    die(world, "work", "disconnect:spent:1")
    give_back_what_the_dead_held(world)
    world.let_pauses_pass()
    world.run()

    # GitLab's `invalid_grant` would say nothing now: the previous request may have been the one that spent it.
    assert [row.failure["code"] for row in world.retired()] == [LOST]
    assert told(world, "token.revoked") == []


def test_refusal_that_says_nothing_of_the_pair_is_tried_again(world: World, owner: Visitor) -> None:
    world.sandbox.world.settings.revokes_expired = False
    world.sandbox.world.settings.refuse_good_clients = 1
    expire(world)
    world.disconnect(owner)
    world.run()
    assert [row.failure["code"] for row in world.retired()] == ["oauth_invalid_client"]

    world.let_pauses_pass()
    world.run()

    assert world.is_revoked_at_gitlab
    assert [row.proof for row in world.retired()] == [Proof.REVOKED]


def test_gitlab_that_says_revoked_and_goes_on_accepting_is_not_believed(world: World, owner: Visitor) -> None:
    world.sandbox.faults.add(REVOKE, body={}, times=1)
    world.disconnect(owner)
    world.run()
    assert "still accepts it" in panel(owner)
    assert told(world, "token.revoked") == []

    world.let_pauses_pass()
    world.run()

    assert world.is_revoked_at_gitlab
    assert [row.proof for row in world.retired()] == [Proof.REVOKED]


def test_application_that_is_gone_from_gitlab_took_its_tokens_with_it(world: World, owner: Visitor) -> None:
    world.sandbox.world.oauth.delete_application(world.paired.application_id)
    world.disconnect(owner)
    with world.runtime.database.transaction() as session:
        session.exec(select(RetiredToken)).one().created_at = utc_now() - timedelta(hours=1)

    world.run()

    assert [row.proof for row in world.retired()] == [Proof.REFUSED]


def test_access_token_that_gitlab_does_not_know_yet_proves_nothing(world: World, owner: Visitor) -> None:
    world.sandbox.faults.add(USER, status=401, body={"message": "401 Unauthorized"}, times=1)
    world.disconnect(owner)
    world.run()
    assert [row.failure["code"] for row in world.retired()] == ["revocation_unproved"]

    world.let_pauses_pass()
    world.run()

    assert [row.proof for row in world.retired()] == [Proof.REVOKED]
    assert world.sandbox.requests.count(TOKEN) == 0


def test_replaced_pair_that_has_expired_is_ended_as_well(
    runtime: Runtime, sandbox: RunningSandbox, app: Flask, cast: Cast, owner: Visitor
) -> None:
    sandbox.world.settings.revokes_expired = False
    prepared = prepare(runtime, sandbox, cast.owner)
    authorize(owner, sandbox, prepared.slug)
    tokens = sandbox.world.oauth.tokens(application_id=prepared.application.id)
    sandbox.world.oauth.end_access_token(tokens[0].access_token)
    authorize(owner, sandbox, prepared.slug)

    run_pending(runtime)

    alive = [t for t in sandbox.world.oauth.tokens(application_id=prepared.application.id) if not t.is_revoked]
    assert len(alive) == 1
    assert alive[0].created_at > tokens[0].created_at


def test_pair_that_one_worker_tries_is_left_alone_by_the_others(world: World, owner: Visitor) -> None:
    world.disconnect(owner)
    (row_id,) = due_revocations(world.runtime)
    world.sandbox.faults.add(REVOKE, status=503)

    assert not revoke_one(world.runtime, row_id)
    with world.runtime.database.transaction() as session:
        session.get_one(RetiredToken, row_id).next_try_at = utc_now() + timedelta(seconds=CLAIM_SECONDS)
    asked = world.sandbox.requests.count(REVOKE)

    assert not revoke_one(world.runtime, row_id)
    assert world.sandbox.requests.count(REVOKE) == asked
