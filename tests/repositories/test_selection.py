"""Orders and filters of the list, compared with Python's own order of the same rows."""

from __future__ import annotations

from itertools import pairwise

import pytest
from sqlmodel import col, select

from portal.connections.models import Connection
from portal.repositories.enablement import set_enabled
from portal.repositories.models import Enablement, Repository
from portal.repositories.selection import Filters, RoleFilter, Row, Sort, StateFilter, list_repositories
from portal.runtime import Runtime
from tests.repositories.catalogue_rows import add_connection
from tests.support.people import Cast
from tests.support.walkthrough import principal_of

ROWS = 130


@pytest.fixture
def filled(runtime: Runtime, cast: Cast) -> list[Row]:
    """Two connections with repositories whose values repeat, and are missing here and there."""
    for slug in ("first", "second"):
        add_connection(runtime, cast, slug, ROWS)
    principal = principal_of(runtime, cast.owner)
    for start in range(5, ROWS, 25):
        set_enabled(runtime, principal, list(range(start, start + 8)), enabled=True)
    with runtime.database.reading() as session:
        found = session.execute(
            select(Repository, Connection, Enablement)
            .join(Connection, col(Connection.id) == col(Repository.connection_id))
            .outerjoin(Enablement, col(Enablement.repository_id) == col(Repository.id))
        ).all()
    return [Row(*row) for row in found]


@pytest.mark.parametrize("connection", ["", "first"])
def test_every_order_has_each_repository_once_forwards_and_backwards(
    runtime: Runtime, cast: Cast, filled: list[Row], connection: str
) -> None:
    principal = principal_of(runtime, cast.owner)
    rows = [row for row in filled if connection in ("", row.connection.slug)]
    for sort in Sort:
        keys = [row.key(sort) for row in rows]
        keys.sort(key=lambda key: (() if key[0] is None else (key[0],), key[1]), reverse=not sort.is_up)
        expected = [number for _, number in keys]
        pages, filters = [], Filters(connection=connection, sort=sort)
        with runtime.database.reading() as session:
            while True:
                pages.append(list_repositories(session, principal, filters))
                if not pages[-1].has_next:
                    break
                filters = Filters(connection=connection, sort=sort, after=pages[-1].rows[-1].key(sort))
            for page, following in pairwise(pages):
                before = Filters(connection=connection, sort=sort, before=following.rows[0].key(sort))
                again = list_repositories(session, principal, before)
                assert [row.repository.id for row in again.rows] == [row.repository.id for row in page.rows], sort
                assert (again.has_previous, again.has_next) == (page is not pages[0], True), sort

        assert [row.repository.id for page in pages for row in page.rows] == expected, sort


def test_filters_hold_in_every_order_and_roles_are_told_apart(runtime: Runtime, cast: Cast, filled: list[Row]) -> None:
    expected = {
        RoleFilter.BELOW_REPORTER: lambda row: row.access_level == 10,
        RoleFilter.REPORTER: lambda row: row.access_level == 20,
        RoleFilter.DEVELOPER: lambda row: row.access_level == 30,
        RoleFilter.MAINTAINER: lambda row: row.access_level in (40, 50),
        RoleFilter.DIRECT: lambda row: row.role_source == "direct",
        RoleFilter.INHERITED: lambda row: row.role_source == "inherited",
    }
    principal = principal_of(runtime, cast.owner)
    with runtime.database.reading() as session:
        for role, holds in expected.items():
            wanted = {row.repository.id for row in filled if holds(row.repository)}
            for sort in (Sort.PATH, Sort.ROLE_DOWN, Sort.ENABLED):
                page = list_repositories(session, principal, Filters(role=role, sort=sort))
                shown = {row.repository.id for row in page.rows}
                assert (page.matching, shown <= wanted, len(shown)) == (len(wanted), True, min(50, len(wanted))), role
        enabled = Filters(state=StateFilter.ENABLED, group="group-1", sort=Sort.ACTIVITY)
        page = list_repositories(session, principal, enabled)
    assert page.rows
    assert all(row.enablement and row.repository.namespace_path == "group-1" for row in page.rows)
