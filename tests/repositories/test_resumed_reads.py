"""A read whose process is killed is continued by the next: nothing is lost, and little is read twice."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator

import pytest
from sqlmodel import select

from portal import build_runtime
from portal.connections.models import Connection
from portal.repositories.catalogue import run
from portal.repositories.catalogue.ranges import Covered
from portal.repositories.models import CatalogueRun, Repository
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.settings import Settings
from portal.vault import KeyRing
from tests.support.children import DIED, Forked, environment_of
from tests.support.connected import connect, let_through
from tests.support.people import Cast

PROJECTS = "/api/v4/projects"
COUNT = 900


def read_and_die(connection_id: int, pages: int) -> None:
    """Run as a child: read, and die after so many pages."""
    run.KEPT_EVERY_SECONDS = 0.0
    left = pages

    def progress(_done: int, _total: int | None, message: str) -> None:
        nonlocal left
        if message == "Reading repositories":
            left -= 1
            if left < 0:
                os._exit(DIED)

    run.read_catalogue(build_runtime(Settings.from_environ()), connection_id, "job", progress)


@pytest.fixture
def die(runtime: Runtime, large: RunningSandbox, connection_id: int) -> Callable[[int], None]:
    """Let another process read until it dies after some pages."""

    def start(pages: int) -> None:
        environment = {**environment_of(runtime, large), "GATEHOUSE_CATALOGUE_LANES": "1"}
        assert Forked(read_and_die, environment, connection_id, pages).wait() == DIED

    return start


@pytest.fixture(scope="module")
def large() -> Iterator[RunningSandbox]:
    with RunningSandbox(project_count=COUNT, with_service_user=True) as running:
        yield running


@pytest.fixture
def connection_id(runtime: Runtime, large: RunningSandbox, cast: Cast) -> int:
    object.__setattr__(runtime.settings, "catalogue_lanes", 1)
    let_through(runtime, large)
    return connect(runtime, large, cast.owner)


@pytest.fixture
def ring(settings: Settings) -> KeyRing:
    """The ring of this portal's own key file, which other processes read."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return KeyRing.create_file(settings.resolved_key_file)


def read(runtime: Runtime, connection_id: int) -> CatalogueRun:
    return run.read_catalogue(runtime, connection_id, "job", lambda *_: None)


def stored(runtime: Runtime) -> set[int]:
    with runtime.database.reading() as session:
        return set(session.exec(select(Repository.gitlab_project_id)))


def test_read_that_is_killed_at_any_page_goes_on_where_it_was(
    runtime: Runtime, large: RunningSandbox, connection_id: int, die: Callable[[int], None]
) -> None:
    large.requests.clear()
    whole = read(runtime, connection_id)
    asked = large.requests.count(PROJECTS)
    everything = stored(runtime)
    assert (whole.complete, whole.projects_seen, whole.checkpoint) == (True, len(everything), None)

    for pages in (1, 4, 7):
        large.requests.clear()
        die(pages)
        ended = read(runtime, connection_id)

        assert (ended.complete, ended.projects_seen) == (True, len(everything))
        # The page under way, those that wait in the queue, and the questions at the beginning.
        assert large.requests.count(PROJECTS) < 2 * asked
        assert stored(runtime) == everything
    with runtime.database.reading() as session:
        runs = list(session.exec(select(CatalogueRun)))
    assert [one.finished_at is not None for one in runs] == [True] * 4


def test_what_came_after_the_kill_is_seen_and_another_connection_begins_again(
    runtime: Runtime, large: RunningSandbox, connection_id: int, die: Callable[[int], None]
) -> None:
    die(6)
    user = large.world.user_by_username("gatehouse")
    group, _ = large.world.memberships_of(user)[0]
    made = large.world.add_project(f"{group.full_path}/born-late")

    assert read(runtime, connection_id).complete
    assert made.id in stored(runtime)

    die(6)
    with runtime.database.transaction() as session:
        session.get_one(Connection, connection_id).row_version += 1
    assert read(runtime, connection_id).complete
    with runtime.database.reading() as session:
        ended = [one.finished_at is not None for one in session.exec(select(CatalogueRun))]
    assert ended == [True, False, True]
    large.world.delete_project(made.id)


def test_intervals_know_what_is_left_whatever_their_order() -> None:
    for seed in range(200):
        dice = random.Random(seed)
        read_ids: set[int] = set()
        covered = Covered()
        for _ in range(dice.randrange(12)):
            above = dice.randrange(60)
            up_to = above + dice.randrange(20)
            covered.add(above, up_to)
            read_ids |= set(range(above + 1, up_to + 1))

        left = covered.left(70)

        assert left[-1].is_open
        unread = {
            number for one in left for number in range(one.cursor + 1, max(one.last, 100 if one.is_open else 0) + 1)
        }
        assert unread == set(range(1, 101)) - read_ids
        assert Covered(covered.intervals).intervals == covered.intervals
