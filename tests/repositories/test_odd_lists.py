"""A read of lists that are cut, doubled, in another order or wrong in places loses nothing and names what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import delete, select

from portal.gitlab.answers import GitLabUnavailable
from portal.repositories.catalogue.findings import notices_of
from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.models import CatalogueRun, GitLabGroup, Repository
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.gitlab.test_malformed_pages import skip_waits
from tests.support.connected import connect
from tests.support.odd_lists import (
    BOTH,
    COUNTS,
    GROUP_FIELDS,
    GROUPS,
    NEEDED,
    NULLABLE,
    PROJECT_FIELDS,
    PROJECTS,
    odd_orders,
    wrong_fields,
)
from tests.support.people import Cast

# Not compared: what is ours, and the exact role, which is only requested where it matters (see `unavailable_reason`).
OUR_OWN = {"id", "digest", "access_level", "role_source"}


class World:
    """A connection whose GitLab has been read once, without faults."""

    def __init__(self, runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> None:
        self.runtime, self.sandbox = runtime, sandbox
        self.connection_id = connect(runtime, sandbox, cast.owner)
        run = self.read()
        self.repositories, self.groups = self.stored()
        assert (run.complete, run.defects, len(self.repositories)) == (True, [], run.projects_seen)
        assert len(self.groups) > 20

    def read(self) -> CatalogueRun:
        return read_catalogue(self.runtime, self.connection_id, "job", lambda *_: None)

    def stored(self) -> tuple[dict[int, dict[str, Any]], dict[int, tuple[str, str]]]:
        """Return everything that is known about repositories and groups, by GitLab's ids."""
        with self.runtime.database.reading() as session:
            repositories = {
                row.gitlab_project_id: row.model_dump(exclude=OUR_OWN) for row in session.exec(select(Repository))
            }
            groups = {row.gitlab_group_id: (row.name, row.full_path) for row in session.exec(select(GitLabGroup))}
        return repositories, groups

    def forget(self) -> None:
        with self.runtime.database.transaction() as session:
            session.exec(delete(Repository))
            session.exec(delete(GitLabGroup))


@pytest.fixture
def backend() -> str:
    """The decisions here never depend on the database."""
    return "sqlite"


@pytest.fixture
def world(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> World:
    return World(runtime, sandbox, cast)


def test_no_order_and_no_cut_loses_a_row(world: World) -> None:
    for case in odd_orders(sizes=(20,)):
        world.forget()
        world.sandbox.faults.clear()
        world.sandbox.faults.add(BOTH, **case)

        run = world.read()

        repositories, groups = world.stored()
        assert repositories == world.repositories, case
        assert groups == world.groups, case
        assert (run.complete, run.defects) == (True, []), case


@pytest.mark.parametrize("path", [PROJECTS, GROUPS])
def test_no_wrong_field_loses_a_row_or_changes_what_is_known_and_each_is_named(world: World, path: str) -> None:
    fields = PROJECT_FIELDS if path == PROJECTS else GROUP_FIELDS
    known = world.repositories if path == PROJECTS else world.groups
    wrong = wrong_fields(fields)
    for start in range(0, len(wrong), len(known)):
        some = wrong[start : start + len(known)]
        world.sandbox.faults.clear()
        spoilt = dict(zip(known, some, strict=False))
        world.sandbox.faults.add(path, rows={number: {name: value} for number, (name, value) in spoilt.items()})

        run = world.read()

        repositories, groups = world.stored()
        assert repositories == world.repositories
        assert groups == world.groups
        for name in {name for name, _ in some}:
            (named,) = [item for item in run.defects if item["field"] == name]
            assert (named["list"], named["left_out"]) == (path.rpartition("/")[2], name in NEEDED)
            assert named["count"] == sum(name == field for field, _ in some)
        assert {item["field"] for item in run.defects} == {name for name, _ in some}
        assert run.complete == (path == GROUPS or all(name != "id" for name, _ in some))


def test_null_in_a_field_that_may_be_null_is_nothing_to_speak_of(world: World) -> None:
    world.sandbox.faults.add(PROJECTS, set_members=dict.fromkeys(NULLABLE))

    run = world.read()

    repositories, _ = world.stored()
    for number, row in world.repositories.items():
        told = {"description": "", "default_branch": ""}
        assert repositories[number] == {**row, **told}
    assert (run.complete, run.defects) == (True, [])


@pytest.mark.parametrize("path", [PROJECTS, GROUPS])
def test_page_that_is_cut_to_nothing_is_no_end_where_gitlab_counts_more(world: World, path: str) -> None:
    world.sandbox.faults.add(path, max_rows=0)

    run = world.read()

    assert world.stored() == (world.repositories, world.groups)
    assert run.complete == (path == GROUPS)


def test_empty_list_counts_only_if_gitlab_says_that_there_are_none(world: World) -> None:
    world.sandbox.faults.add(PROJECTS, max_rows=0, drop_headers=COUNTS)

    run = world.read()

    assert world.stored()[0] == world.repositories
    assert "did not say that there are none" in notices_of(run)[0].title


def test_list_that_gitlab_counts_higher_than_it_gives_marks_nothing(world: World) -> None:
    """Rows that no page ever has: what removes them does not change GitLab's count."""
    gone = sorted(world.repositories)[10:20]
    world.sandbox.faults.add(PROJECTS, query_pattern="*sort=desc*")
    world.sandbox.faults.add(PROJECTS, rows={number: {"id": min(world.repositories)} for number in gone})

    run = world.read()

    assert (run.complete, run.projects_seen, run.projects_counted) == (False, 47, 57)
    assert world.stored()[0].keys() == world.repositories.keys()
    assert all(row["missing_since"] is None for row in world.stored()[0].values())


def test_projects_with_which_gitlab_fails_are_named_kept_and_everything_else_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_waits(monkeypatch)
    first, *others = sorted(world.repositories)
    failing = (first, others[len(others) // 2], others[-1])
    world.sandbox.faults.add(PROJECTS, failing_rows=failing)

    again = world.read()
    kept, _ = world.stored()
    world.forget()
    first_again = world.read()
    found, _ = world.stored()

    assert (again.complete, first_again.complete) == (True, True)
    assert kept == world.repositories
    assert found == {number: row for number, row in world.repositories.items() if number not in failing}
    (notice,) = notices_of(first_again)
    assert all(f"id {number}" in notice.points[0] for number in failing)
    assert "GitLab answers 500" in notice.points[0]


def test_gitlab_that_answers_500_to_everything_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_waits(monkeypatch)
    world.sandbox.faults.add(PROJECTS, status=500)

    with pytest.raises(GitLabUnavailable):
        world.read()

    assert world.stored()[0] == world.repositories
