"""Disconnecting through the pages: what is asked, what happens at GitLab, what stays, and who may."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlmodel import select

from portal.accounts.models import SessionRecord
from portal.authorization.attempts import AttemptState, AuthorizationAttempt
from portal.connections.models import Application, ConnectionState
from portal.credentials import demand_access, due_credentials
from portal.credentials.models import CredentialState
from portal.credentials.refresh import AccessUnavailable
from portal.db import utc_now
from portal.disconnection.disconnect import disconnect
from portal.disconnection.models import Choice
from portal.jobs.models import JobState
from portal.repositories.models import Enablement, Repository
from portal.runtime import Runtime
from tests.accounts.at_once import crowd
from tests.disconnection.world import ADDRESS, ENABLED, NAME, PATHS, REVOKE, World
from tests.support.people import PASSWORD
from tests.support.visitor import Visitor
from tests.support.walkthrough import principal_of

CATALOGUE = "repositories.read_catalogue"


def test_disconnecting_revokes_at_gitlab_then_erases_the_tokens_and_keeps_the_list(
    world: World, owner: Visitor
) -> None:
    answer = world.disconnect(owner)

    assert (answer.status_code, answer.headers["Location"]) == (303, ADDRESS)
    assert world.connection().state == ConnectionState.DISCONNECTED
    assert world.paired.credential.state == CredentialState.ERASED
    assert "Revoking at GitLab…" in owner.get(ADDRESS).text
    assert not world.is_revoked_at_gitlab

    world.run()

    assert world.is_revoked_at_gitlab
    row = world.retired()[0]
    assert (row.token_sealed, row.client_secret_sealed, row.revoked_at is None) == (None, None, False)
    assert (world.count(Repository), world.count(Enablement), world.count(Application)) == (len(PATHS), ENABLED, 1)
    assert [action for action in world.actions() if "revo" in action or "disc" in action] == [
        "connection.disconnected",
        "token.revoked",
    ]
    page = owner.get(ADDRESS).text
    assert "Revoked" in page
    assert 'hx-trigger="every' not in page.partition("panel-disconnection")[2].partition("</section>")[0]


@pytest.mark.parametrize("typed", ["", "gitlab", "Gitlab 2", "DISCONNECT"])
def test_wrong_name_is_422_and_changes_nothing(world: World, owner: Visitor, typed: str) -> None:
    answer = world.disconnect(owner, confirmation=typed)

    assert answer.status_code == 422
    assert "Type the connection&#39;s name exactly" in answer.text
    assert world.connection().state == ConnectionState.CONNECTED
    assert world.retired() == []
    assert "connection.disconnected" not in world.actions()


def test_unknown_choice_is_422_and_an_unknown_field_400(world: World, owner: Visitor) -> None:
    assert world.disconnect(owner, choice="maybe").status_code == 422
    more = owner.post(f"{ADDRESS}/disconnect", {"choice": "keep", "confirmation": NAME, "slug": "x"})
    assert more.status_code == 400
    assert world.connection().state == ConnectionState.CONNECTED


def test_old_password_is_asked_for_again_and_nothing_is_typed_twice(
    runtime: Runtime, world: World, owner: Visitor
) -> None:
    with runtime.database.transaction() as session:
        for row in session.exec(select(SessionRecord)):
            row.proved_at = utc_now() - timedelta(minutes=6)

    question = world.disconnect(owner)
    assert question.status_code == 401
    assert world.connection().state == ConnectionState.CONNECTED

    given = {"choice": "keep", "confirmation": NAME, "proof_password": PASSWORD}
    assert owner.post(f"{ADDRESS}/disconnect", given).status_code == 303
    assert world.connection().state == ConnectionState.DISCONNECTED


def test_only_those_who_manage_connections_find_the_pages(
    world: World, lead: Visitor, auditor: Visitor, outsider: Visitor, administrator: Visitor
) -> None:
    for visitor in (lead, auditor, outsider):
        for path in ("disconnect", "reauthorize", "narrowing"):
            assert visitor.get(f"{ADDRESS}/{path}").status_code == 404
        assert world.disconnect(visitor).status_code == 404
        assert visitor.post(f"{ADDRESS}/disconnection/revocation").status_code == 404
        assert visitor.post(f"{ADDRESS}/disconnection/revoked-by-hand", {"revoked": "1"}).status_code == 404
    assert world.connection().state == ConnectionState.CONNECTED
    assert world.disconnect(administrator).status_code == 303


def test_those_who_may_not_manage_see_that_it_is_disconnected_and_no_button(
    world: World, owner: Visitor, auditor: Visitor
) -> None:
    world.disconnect(owner)

    page = auditor.get(ADDRESS).text

    assert "Disconnected by" in page
    assert "Connect again" not in page
    assert "Erase…" not in page


def test_gitlab_that_answers_503_five_times_shows_the_revocation_as_pending_then_done(
    world: World, owner: Visitor
) -> None:
    world.sandbox.faults.add(REVOKE, status=503, times=5)
    world.disconnect(owner)

    for tries in range(1, 6):
        world.run()
        assert [row.tries for row in world.retired()] == [tries]
        page = owner.get(ADDRESS).text
        assert "Revocation pending" in page
        assert "Try again now" in page
        assert "Revoke it in GitLab by hand" in page
        assert f"{world.sandbox.url}/-/user_settings/applications" in page
        assert not world.is_revoked_at_gitlab
        world.let_pauses_pass()
    world.run()

    assert world.is_revoked_at_gitlab
    assert world.retired()[0].token_sealed is None
    assert "Revocation pending" not in owner.get(ADDRESS).text
    assert world.actions()[-2:] == ["token.revocation_failed", "token.revoked"]


def test_next_try_is_planned_ever_later_and_a_person_need_not_wait_for_it(world: World, owner: Visitor) -> None:
    world.sandbox.faults.add(REVOKE, status=503, times=1)
    world.disconnect(owner)
    world.run()
    world.run()
    assert world.sandbox.requests.count(REVOKE) == 1

    owner.post(f"{ADDRESS}/disconnection/revocation")
    world.run()

    assert world.is_revoked_at_gitlab
    assert "connection.revocation_tried_again" in world.actions()


def test_gitlab_that_cannot_be_reached_ends_by_the_word_of_a_person(world: World, owner: Visitor) -> None:
    world.sandbox.faults.add(REVOKE, drop="before")
    world.disconnect(owner)
    world.run()

    assert owner.post(f"{ADDRESS}/disconnection/revoked-by-hand").status_code == 422
    assert world.retired()[0].token_sealed is not None
    assert owner.post(f"{ADDRESS}/disconnection/revoked-by-hand", {"revoked": "1"}).status_code == 303

    row = world.retired()[0]
    assert (row.token_sealed, row.client_secret_sealed) == (None, None)
    assert "token.revoked_by_hand" in world.actions()
    assert "Revocation pending" not in owner.get(ADDRESS).text


def test_word_that_it_was_revoked_by_hand_wants_the_password_again(
    runtime: Runtime, world: World, owner: Visitor
) -> None:
    world.sandbox.faults.add(REVOKE, drop="before")
    world.disconnect(owner)
    world.run()
    with runtime.database.transaction() as session:
        for row in session.exec(select(SessionRecord)):
            row.proved_at = utc_now() - timedelta(minutes=6)

    assert owner.post(f"{ADDRESS}/disconnection/revoked-by-hand", {"revoked": "1"}).status_code == 401

    assert world.retired()[0].token_sealed is not None
    assert "token.revoked_by_hand" not in world.actions()
    given = {"revoked": "1", "proof_password": PASSWORD}
    assert owner.post(f"{ADDRESS}/disconnection/revoked-by-hand", given).status_code == 303
    assert world.retired()[0].token_sealed is None


def test_second_disconnection_changes_nothing(world: World, owner: Visitor, administrator: Visitor) -> None:
    world.disconnect(owner)
    desired = world.desired()

    assert world.disconnect(administrator).status_code == 303
    world.run()

    assert len(world.retired()) == 1
    assert world.sandbox.requests.count(REVOKE) == 1
    assert world.desired() == desired
    assert world.actions().count("connection.disconnected") == 1


def test_two_people_at_once_disconnect_once(world: World) -> None:
    people = [principal_of(world.runtime, actor) for actor in (world.cast.owner, world.cast.administrator)]

    crowd(
        world.runtime.database,
        "retired_token",
        *(lambda person=person: disconnect(world.runtime, person, "gitlab", "keep", NAME) for person in people * 2),
    )

    assert len(world.retired()) == 1
    assert world.actions().count("connection.disconnected") == 1


def test_work_under_way_stops_and_nothing_is_read_or_refreshed_any_more(world: World, owner: Visitor) -> None:
    world.paired.make_due()
    world.disconnect(owner)
    world.sandbox.requests.clear()

    world.run_periodic()

    assert [job.state for job in world.jobs(CATALOGUE)] == [JobState.STOPPED]
    assert due_credentials(world.runtime) == []
    with pytest.raises(AccessUnavailable):
        demand_access(world.runtime, world.connection_id, reason="test")
    assert owner.post(f"{ADDRESS}/catalogue").status_code == 409
    assert {seen.path for seen in world.sandbox.requests.all()} == {REVOKE, "/api/v4/user"}


def test_authorization_under_way_is_void(world: World, owner: Visitor) -> None:
    world.disconnect(owner)

    with world.runtime.database.reading() as session:
        attempt = session.exec(select(AuthorizationAttempt)).one()
    assert attempt.outcome == AttemptState.ABANDONED
    assert world.connection().row_version == 2


def test_list_repositories_and_details_say_that_it_is_disconnected(world: World, owner: Visitor) -> None:
    world.disconnect(owner)

    assert "Disconnected" in owner.get("/connections/").text
    assert "Connect again" in owner.get(ADDRESS).text
    assert "Authorize again" not in owner.get(ADDRESS).text
    page = owner.get("/repositories/").text
    assert "Gitlab is disconnected" in page
    assert f'action="{ADDRESS}/catalogue"' not in page
    assert 'aria-label="Enable c/five"' not in page
    answer = owner.post("/repositories/enable", {"repository_id": str(len(PATHS))})
    assert answer.status_code == 303
    assert world.count(Enablement) == ENABLED


def test_draft_is_sent_to_be_discarded(world: World, owner: Visitor) -> None:
    made = owner.post("/connections/new", {"display_name": "Draft", "method": "oauth", "services": "repositories"})
    slug = made.headers["Location"].split("/")[2]

    assert owner.get(f"/connections/{slug}/disconnect").headers["Location"].endswith("/setup/cancel")
    assert owner.post(f"/connections/{slug}/disconnect", {"choice": "keep", "confirmation": "Draft"}).status_code == 409


def test_kept_list_can_be_erased_later(world: World, owner: Visitor) -> None:
    world.disconnect(owner)
    world.run()

    page = owner.get(f"{ADDRESS}/disconnect").text
    assert "Keep the list of repositories" not in page
    assert world.disconnect(owner, choice="erase").status_code == 303
    assert world.desired().choice == Choice.ERASE
    assert "connection.erasure_requested" in world.actions()
    world.run()

    assert world.connection() is None
