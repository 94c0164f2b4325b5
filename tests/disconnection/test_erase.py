"""Erasing: after the revocation, in batches, everything but the audit log and the jobs."""

from __future__ import annotations

import pytest
from sqlmodel import select

from portal.connections.models import Connection, ConnectionState
from portal.disconnection import erase
from portal.disconnection.erase import ERASE
from portal.jobs.models import JobState
from portal.repositories.models import Repository
from tests.disconnection.world import ADDRESS, PATHS, REVOKE, World, rows_of_connection
from tests.support.visitor import Visitor


def test_erased_connection_leaves_no_row_in_any_table(world: World, owner: Visitor) -> None:
    assert {"enablement", "repository", "group_grant", "credential"} <= {
        name for name, count in rows_of_connection(world).items() if count
    }
    world.disconnect(owner, choice="erase")

    world.run()

    assert world.is_revoked_at_gitlab
    assert {name for name, count in rows_of_connection(world).items() if count} == set()
    assert world.connection() is None
    job = world.jobs(ERASE)[0]
    assert (job.state, job.done) == (JobState.SUCCEEDED, job.total)
    told = [action for action in world.actions() if action.startswith(("token.", "connection."))]
    assert told == ["connection.disconnected", "token.revoked", "connection.erased"]
    assert owner.get(ADDRESS).status_code == 404


def test_panel_that_looks_on_learns_that_everything_is_erased(world: World, owner: Visitor) -> None:
    world.disconnect(owner, choice="erase")
    assert "Erasing" in owner.get(f"{ADDRESS}/disconnection", htmx=True).text
    world.run()

    answer = owner.get(f"{ADDRESS}/disconnection", htmx=True)

    assert "It is erased" in answer.text
    assert owner.get("/connections/no-such-one/disconnection", htmx=True).text == answer.text


def test_nothing_is_erased_before_gitlab_has_revoked(world: World, owner: Visitor) -> None:
    world.sandbox.faults.add(REVOKE, status=503)
    world.disconnect(owner, choice="erase")

    world.run()

    assert world.count(Repository) == len(PATHS)
    job = world.jobs(ERASE)[0]
    assert (job.state, job.failure["code"]) == (JobState.FAILED, "revocation_pending")
    page = owner.get(ADDRESS).text
    assert "Revocation pending" in page
    assert "Connect again" not in page

    world.sandbox.faults.clear()
    world.let_pauses_pass()
    world.run()
    world.let_pauses_pass()
    world.run()

    assert world.connection() is None


def test_word_of_a_person_lets_the_erasure_go_on(world: World, owner: Visitor) -> None:
    world.sandbox.faults.add(REVOKE, status=503)
    world.disconnect(owner, choice="erase")
    world.run()

    owner.post(f"{ADDRESS}/disconnection/revoked-by-hand", {"revoked": "1"})
    world.run()

    assert world.connection() is None


def test_erasure_that_is_overruled_by_a_new_authorization_stops(
    world: World, owner: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erase, "BATCH", 2)
    world.disconnect(owner, choice="erase")
    with world.runtime.database.transaction() as session:
        session.get_one(Connection, world.connection_id).state = ConnectionState.CONNECTED

    world.run()

    assert world.connection() is not None
    assert world.count(Repository) == len(PATHS)
    assert "connection.erased" not in world.actions()


def test_number_of_an_erased_connection_is_never_given_to_another_one(world: World, owner: Visitor) -> None:
    world.disconnect(owner, choice="erase")
    world.run()

    owner.post("/connections/new", {"display_name": "Another", "method": "oauth", "services": "repositories"})

    with world.runtime.database.reading() as session:
        assert session.exec(select(Connection)).one().id > world.connection_id


def test_other_connections_are_left_alone(world: World, owner: Visitor) -> None:
    with world.runtime.database.transaction() as session:
        other = Connection(organization_id=world.cast.owner.organization_id, slug="other", display_name="Other")
        session.add(other)
        session.flush()
        session.add(
            Repository(
                connection_id=other.id, gitlab_project_id=1, name="x", path_with_namespace="x/x", namespace_path="x"
            )
        )
    world.disconnect(owner, choice="erase")

    world.run()

    assert (world.count(Connection), world.count(Repository)) == (1, 1)
