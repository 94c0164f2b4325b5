"""A catalogue without a GitLab: connections with repositories, written directly."""

from __future__ import annotations

from datetime import timedelta

from portal.connections.models import Connection, ConnectionState
from portal.db import utc_now
from portal.repositories.models import GitLabGroup, Repository, recount
from portal.runtime import Runtime
from tests.support.people import Cast


def add_connection(runtime: Runtime, cast: Cast, slug: str, count: int) -> int:
    """Store a connection with repositories in five groups, whose values repeat and are missing here and there."""
    now = utc_now()
    with runtime.database.transaction() as session:
        connection = Connection(
            organization_id=cast.owner.organization_id,
            slug=slug,
            display_name=slug.title(),
            external_url="https://gitlab.example",
            api_url="https://gitlab.example",
            state=ConnectionState.CONNECTED,
            authorized_at=now,
        )
        session.add(connection)
        session.flush()
        assert connection.id is not None
        session.add_all(
            GitLabGroup(
                connection_id=connection.id,
                gitlab_group_id=number + 1,
                name=f"Group {number}",
                full_path=f"group-{number}",
            )
            for number in range(5)
        )
        session.add_all(
            Repository(
                connection_id=connection.id,
                gitlab_project_id=number,
                name=f"name-{number % 7}",
                path_with_namespace=f"group-{number * 37 % 5}/name-{number}",
                namespace_path=f"group-{number * 37 % 5}",
                search_text=f"group-{number * 37 % 5}/name-{number}",
                access_level=(None, 10, 20, 30, 40, 50)[number % 6],
                role_source=("", "direct", "inherited")[number % 3],
                last_activity_at=None if number % 4 == 0 else now - timedelta(hours=number % 11),
            )
            for number in range(1, count + 1)
        )
        session.flush()
        recount(session, connection.id)
        return connection.id
