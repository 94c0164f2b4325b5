"""A process dies at each point of a disconnection; the next one completes it."""

from __future__ import annotations

import pytest
from sqlmodel import select

from portal.connections.models import ConnectionState
from portal.crash_points import POINTS
from portal.jobs.models import Job, JobState
from portal.jobs.runner import requeue
from portal.jobs.testing import run_pending
from tests.disconnection.world import REVOKE, World, rows_of_connection
from tests.support.children import DIED, run_child
from tests.support.visitor import Visitor

CHILD = "tests.disconnection.child"
WORK_POINTS = ("disconnect:before_revoke", "disconnect:revoked", "disconnect:erased")


def die(world: World, what: str, crash_at: str) -> None:
    """Have another process disconnect, or run the queued jobs, and die at a point."""
    actor = world.cast.owner
    given = {"what": what, "user_id": actor.user_id, "organization_id": actor.organization_id}
    assert run_child(world.runtime, world.sandbox, CHILD, given, crash_at) == DIED


def give_back_what_the_dead_held(world: World) -> None:
    """Do what the sweeper does once a worker's heartbeat has been silent for long enough."""
    with world.runtime.database.transaction() as session:
        for job in session.exec(select(Job).where(Job.state == JobState.RUNNING)):
            requeue(session, job)


def test_these_are_all_the_points() -> None:
    named = {point for point in POINTS if point.startswith("disconnect:")}

    assert named == {"disconnect:retired", *WORK_POINTS, "disconnect:batch_erased", "disconnect:spent"}


def test_process_that_dies_right_after_the_tokens_are_retired_has_disconnected(world: World, owner: Visitor) -> None:
    die(world, "disconnect", "disconnect:retired:1")

    assert world.connection().state == ConnectionState.DISCONNECTED
    assert world.paired.credential.refresh_token_sealed is None
    run_pending(world.runtime)
    assert_ended(world)
    assert world.disconnect(owner).status_code == 303
    assert world.actions().count("connection.disconnected") == 1


@pytest.mark.parametrize("point", WORK_POINTS)
def test_process_that_dies_while_it_revokes_is_followed_by_one_that_does(
    world: World, owner: Visitor, point: str
) -> None:
    world.disconnect(owner)

    die(world, "work", f"{point}:1")
    is_done = point == "disconnect:erased"
    assert (world.retired()[0].token_sealed is None) == is_done
    give_back_what_the_dead_held(world)
    world.let_pauses_pass()
    world.run()

    assert_ended(world)
    assert world.sandbox.requests.count(REVOKE) == (2 if point == "disconnect:revoked" else 1)


def test_process_that_dies_between_two_batches_leaves_no_row_in_the_end(world: World, owner: Visitor) -> None:
    world.disconnect(owner, choice="erase")

    die(world, "work", "disconnect:batch_erased:2")
    assert world.connection().state == ConnectionState.DISCONNECTED
    give_back_what_the_dead_held(world)
    run_pending(world.runtime)

    assert world.connection() is None
    assert not any(rows_of_connection(world).values())
    told = [action for action in world.actions() if action.startswith(("token.", "connection."))]
    assert told == ["connection.disconnected", "token.revoked", "connection.erased"]


def assert_ended(world: World) -> None:
    assert world.is_revoked_at_gitlab
    assert all(row.token_sealed is None and row.client_secret_sealed is None for row in world.retired())
    told = [action for action in world.actions() if action.startswith(("token.", "connection."))]
    assert told == ["connection.disconnected", "token.revoked"]
