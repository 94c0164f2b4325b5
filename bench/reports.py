"""Reports about many groups and periods, each figure compared with what the sandbox's histories say."""

from __future__ import annotations

from sqlalchemy import insert, select
from sqlmodel import col

from bench.figures import console
from bench.portal_setup import authorized_connection, fresh_runtime
from portal.actor import Principal, Role
from portal.connections.models import Connection
from portal.db import utc_now
from portal.ingestion.run import begin_of, read_activity
from portal.reports.query import Scope, load_report
from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.models import Enablement, Repository, is_blocked
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.reports.truth import differences, draw_scopes


def run(pairs: int, projects: int = 60) -> None:
    """Compare, and print what differs."""
    with (
        RunningSandbox(project_count=projects, with_service_user=True) as sandbox,
        fresh_runtime(sandbox.url) as runtime,
    ):
        connection_id = authorized_connection(runtime, sandbox.url, sandbox.token("gatehouse"))
        read_catalogue(runtime, connection_id, "bench", lambda *_: None)
        places = _enable_everything(runtime, connection_id)
        read_activity(runtime, connection_id, lambda *_: None)
        with runtime.database.reading() as session:
            organization_id = session.get_one(Connection, connection_id).organization_id
        owner = Principal(1, "Olga", "olga@example.com", organization_id, "Example Corp", "", 1, Role.OWNER)
        paths = {place: "/".join(place.split("/")[:-1]) for place in places}
        groups = {"", *(path.rpartition("/")[0] for path in paths.values()), *paths.values()}
        now, wrong = utc_now(), 0
        for group, weeks in draw_scopes(pairs, tuple(sorted(groups))):
            ids = [number for place, number in places.items() if not group or place.startswith(f"{group}/")]
            report = load_report(runtime, owner, Scope(group=group, weeks=weeks), now)
            for difference in differences(sandbox, report, ids, now, begin_of(24, now)):
                wrong += 1
                console.print(f"{group or 'everything'}, {weeks} weeks: {difference}")
    console.print(f"{pairs} reports about {len(places)} repositories: {wrong} figures differ from the histories")


def _enable_everything(runtime: Runtime, connection_id: int) -> dict[str, int]:
    """Enable what can be; return GitLab's id of each path."""
    columns = (col(Repository.path_with_namespace), col(Repository.gitlab_project_id), col(Repository.id))
    with runtime.database.transaction() as session:
        found = session.execute(select(*columns).where(~is_blocked())).all()
        rows = [
            {"repository_id": row[2], "connection_id": connection_id, "state": "Enabled", "enabled_at": utc_now()}
            for row in found
        ]
        session.execute(insert(Enablement), rows)
    return {row[0]: row[1] for row in found}
