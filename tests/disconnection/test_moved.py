"""A pair whose GitLab has a path on its server, after the connection was moved to another server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlmodel import col, select

from portal.connections.instance import Entered, save_instance
from portal.connections.models import Connection
from portal.connections.store import open_client_credentials
from portal.credentials.methods import method_of
from portal.credentials.store import lock_credential
from portal.errors import InvalidInput
from portal.sandbox.testing import RunningSandbox
from tests.disconnection.world import World
from tests.support.visitor import Visitor
from tests.support.walkthrough import principal_of

ELSEWHERE = "https://gitlab.example.com"


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    """A GitLab below a path: something else may answer at the root of its server."""
    with RunningSandbox(with_service_user=True, relative_root="/gitlab") as running:
        yield running


def move(world: World, domain: str) -> None:
    entered = Entered(domain=domain, api_url="", ca_certificate="", proxy="")
    save_instance(world.runtime, principal_of(world.runtime, world.cast.owner), "gitlab", entered)


def keep_application(world: World) -> None:
    """Store the application beside the pair, as an authorization does."""
    application = open_client_credentials(world.runtime, world.paired.connection)
    with world.runtime.database.transaction() as session:
        credential = lock_credential(session, world.connection_id)
        method_of(credential).keep_key(world.runtime, credential, application)


def test_pair_is_revoked_below_the_path_it_was_given_at(world: World, owner: Visitor) -> None:
    keep_application(world)
    move(world, ELSEWHERE)
    world.sandbox.requests.clear()

    world.disconnect(owner)
    world.run()

    assert world.is_revoked_at_gitlab
    assert {seen.path.partition("gitlab/")[0] for seen in world.sandbox.requests.all()} == {"/"}


def test_pair_whose_path_is_not_known_is_sent_nowhere(world: World, owner: Visitor) -> None:
    move(world, ELSEWHERE)
    with world.runtime.database.transaction() as session:
        # The state of a connection that was moved before the route was recorded.
        session.exec(select(Connection).where(col(Connection.slug) == "gitlab")).one().authorized_via = None
    world.sandbox.requests.clear()

    world.disconnect(owner)
    world.run()

    assert world.sandbox.requests.all() == []
    (row,) = world.retired()
    assert row.failure["code"] == "address_unknown"
    assert "is no longer known" in owner.get("/connections/gitlab").text


@pytest.mark.parametrize("between", ["", ELSEWHERE])
def test_secret_and_pair_move_along_only_to_a_path_where_gitlab_answers(world: World, between: str) -> None:
    server = world.sandbox.url.removesuffix("/gitlab")
    if between:
        move(world, between)

    with pytest.raises(InvalidInput) as refused:
        move(world, f"{server}/other")

    assert "must be one where GitLab answers" in refused.value.field_errors["domain"]
    move(world, world.sandbox.url)
    assert world.paired.demand()
