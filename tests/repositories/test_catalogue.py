from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlmodel import col, func, select

from portal import CAPABILITIES
from portal.connections.models import Connection, ConnectionState
from portal.credentials import AccessUnavailable
from portal.db import MAX_ID, utc_now
from portal.errors import Card
from portal.gitlab.answers import GitLabError
from portal.jobs.models import Job, JobState, enqueue
from portal.jobs.testing import run_pending
from portal.repositories.catalogue.ranges import IdRange, RangePool
from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.models import CatalogueRun, Enablement, GitLabGroup, Repository, RepositoryState
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.gitlab.test_malformed_pages import skip_waits
from tests.support.connected import connect, let_through
from tests.support.people import Cast
from tests.support.visitor import Visitor

PROJECTS = "/api/v4/projects"


def quiet(_done: int, _total: int | None, _message: str) -> None:
    pass


def rows(runtime: Runtime) -> dict[int, Repository]:
    with runtime.database.reading() as session:
        return {row.gitlab_project_id: row for row in session.exec(select(Repository))}


def visible(sandbox: RunningSandbox) -> set[int]:
    user = sandbox.world.user_by_username("gatehouse")
    return {
        project.id for project in sandbox.world.visible_projects(user) if sandbox.world.access_level(user, project) > 0
    }


@pytest.fixture
def connection_id(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> int:
    return connect(runtime, sandbox, cast.owner)


def test_read_finds_every_project_the_service_user_is_a_member_of(
    runtime: Runtime, sandbox: RunningSandbox, connection_id: int
) -> None:
    run = read_catalogue(runtime, connection_id, "job", quiet)

    assert set(rows(runtime)) == visible(sandbox)
    assert (run.complete, run.projects_seen, run.defects) == (True, len(visible(sandbox)), [])
    with runtime.database.reading() as session:
        assert session.exec(select(func.count()).select_from(GitLabGroup)).one() > 20


def test_read_of_many_pages_loses_none(runtime: Runtime, cast: Cast) -> None:
    with RunningSandbox(project_count=1500, with_service_user=True) as sandbox:
        let_through(runtime, sandbox)
        connection_id = connect(runtime, sandbox, cast.owner)

        read_catalogue(runtime, connection_id, "job", quiet)

        found = rows(runtime)
        assert set(found) == visible(sandbox)
        # Roles are counted, not listed with each page; those who have less are found all the same.
        asked = [item for item in sandbox.requests.all() if "min_access_level" in item.query]
        assert len(asked) < 1500 / 100
        user = sandbox.world.user_by_username("gatehouse")
        held = {number: sandbox.world.access_level(user, sandbox.world.project(number)) for number in found}
        below = {number for number, role in held.items() if role < 20}
        assert below
        assert {number for number, row in found.items() if row.access_level < 20} == below


def test_inherited_roles_are_found_although_lists_do_not_tell_them(
    runtime: Runtime, sandbox: RunningSandbox, connection_id: int
) -> None:
    read_catalogue(runtime, connection_id, "job", quiet)

    user = sandbox.world.user_by_username("gatehouse")
    for project_id, row in rows(runtime).items():
        held = sandbox.world.access_level(user, sandbox.world.project(project_id))
        assert (row.access_level >= 20) == (held >= 20), row.path_with_namespace
        is_member = sandbox.world.members.direct_on_project(project_id, user.id) >= row.access_level > 0
        assert row.role_source == ("direct" if is_member else "inherited" if row.access_level else "")
    assert {row.role_source for row in rows(runtime).values()} >= {"inherited"}


def test_second_read_writes_only_what_changed(runtime: Runtime, sandbox: RunningSandbox, connection_id: int) -> None:
    read_catalogue(runtime, connection_id, "job", quiet)
    before = {project_id: row.digest for project_id, row in rows(runtime).items()}
    changed = min(before)
    sandbox.world.change_project(changed, archived=True)

    read_catalogue(runtime, connection_id, "job", quiet)

    after = rows(runtime)
    assert {project_id for project_id, row in after.items() if row.digest != before[project_id]} == {changed}
    assert after[changed].archived
    with runtime.database.reading() as session:
        assert len(set(session.exec(select(GitLabGroup.seen_in_run_id)))) == 1


def test_what_gitlab_does_not_say_stays_as_it_was(
    runtime: Runtime, sandbox: RunningSandbox, connection_id: int
) -> None:
    read_catalogue(runtime, connection_id, "job", quiet)
    before = rows(runtime)
    archived = next(number for number, row in before.items() if row.archived)
    sandbox.world.change_project(archived, description="changed")
    sandbox.faults.add(PROJECTS, rows={archived: {"archived": None, "name": []}}, times=1, query_pattern="*id_after*")
    sandbox.faults.add("/api/v4/groups", rows={1: {"name": None}})
    with runtime.database.reading() as session:
        groups = dict(session.exec(select(GitLabGroup.gitlab_group_id, GitLabGroup.name)).all())

    read_catalogue(runtime, connection_id, "job", quiet)

    now = rows(runtime)[archived]
    kept = ("name", "search_text", "archived", "unavailable_reason")
    assert [getattr(now, column) for column in kept] == [getattr(before[archived], column) for column in kept]
    assert (now.description, before[archived].description == "changed") == ("changed", False)
    with runtime.database.reading() as session:
        assert dict(session.exec(select(GitLabGroup.gitlab_group_id, GitLabGroup.name)).all()) == groups


def test_deleted_project_is_marked_missing_and_unmarked_when_it_returns(
    runtime: Runtime, sandbox: RunningSandbox, connection_id: int
) -> None:
    read_catalogue(runtime, connection_id, "job", quiet)
    gone = max(rows(runtime))
    sandbox.world.delete_project(gone)

    read_catalogue(runtime, connection_id, "job", quiet)

    assert rows(runtime)[gone].missing_since is not None
    assert sum(row.missing_since is not None for row in rows(runtime).values()) == 1


def test_broken_read_marks_nothing_as_missing(runtime: Runtime, sandbox: RunningSandbox, connection_id: int) -> None:
    read_catalogue(runtime, connection_id, "job", quiet)
    sandbox.world.delete_project(max(rows(runtime)))
    sandbox.faults.add(PROJECTS, status=404, body={"message": "404 Not found"}, query_pattern="*id_after*")

    with pytest.raises(GitLabError):
        read_catalogue(runtime, connection_id, "job", quiet)

    assert all(row.missing_since is None for row in rows(runtime).values())
    with runtime.database.reading() as session:
        newest = session.exec(select(CatalogueRun).order_by(col(CatalogueRun.id).desc())).first()
    assert newest is not None
    assert not newest.complete


def test_rename_keeps_the_row(runtime: Runtime, sandbox: RunningSandbox, connection_id: int) -> None:
    read_catalogue(runtime, connection_id, "job", quiet)
    project_id = min(rows(runtime))
    row_id = rows(runtime)[project_id].id
    sandbox.world.change_project(project_id, name="Renamed")

    read_catalogue(runtime, connection_id, "job", quiet)

    assert (rows(runtime)[project_id].id, rows(runtime)[project_id].name) == (row_id, "Renamed")


def test_unavailable_ones_carry_their_reason(runtime: Runtime, connection_id: int) -> None:
    read_catalogue(runtime, connection_id, "job", quiet)

    reasons = {row.unavailable_reason for row in rows(runtime).values()}

    assert reasons >= {"", "archived", "empty", "sha256", "role_too_low", "repository_off", "pending_deletion"}


def test_short_failure_of_gitlab_is_ridden_out(runtime: Runtime, sandbox: RunningSandbox, connection_id: int) -> None:
    sandbox.faults.add(PROJECTS, status=502, html=True, times=2)

    read_catalogue(runtime, connection_id, "job", quiet)

    assert set(rows(runtime)) == visible(sandbox)


def test_job_reports_progress_and_its_end(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> None:
    connection_id = connect(runtime, sandbox, cast.owner, enqueue=True)

    jobs = run_pending(runtime)

    assert [job.state for job in jobs] == [JobState.SUCCEEDED]
    assert jobs[0].done == len(visible(sandbox))
    with runtime.database.reading() as session:
        assert session.get_one(Connection, connection_id).last_read_at is not None


def test_job_fails_with_a_card_and_the_connection_needs_attention(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    connection_id = connect(runtime, sandbox, cast.owner, enqueue=True)
    blocked = {"message": "403 Forbidden - Your account has been blocked."}
    sandbox.faults.add("/api/v4/*", status=403, body=blocked)

    jobs = run_pending(runtime)

    assert jobs[0].state == JobState.FAILED
    assert Card.from_json(jobs[0].failure).layer == "Role"
    assert "Your account has been blocked" in jobs[0].failure["words"]
    with runtime.database.reading() as session:
        assert session.get_one(Connection, connection_id).state == ConnectionState.NEEDS_ATTENTION


def test_gitlab_being_down_is_tried_again_and_blames_nobody(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_waits(monkeypatch)
    connection_id = connect(runtime, sandbox, cast.owner, enqueue=True)
    sandbox.faults.add("/api/v4/*", status=503, html=True)

    run_pending(runtime)

    with runtime.database.reading() as session:
        assert session.get_one(Connection, connection_id).state == ConnectionState.CONNECTED
        assert session.exec(select(Job)).one().attempts == 5
    sandbox.faults.clear()
    take_up = next(job for job in CAPABILITIES.periodic_jobs if job.name == "repositories.take_up_reads")
    assert not take_up.is_due(runtime)
    with runtime.database.transaction() as session:
        session.exec(select(Job)).one().finished_at = utc_now() - timedelta(minutes=11)
    assert take_up.is_due(runtime)
    with runtime.database.transaction() as session:
        enqueue(session, take_up.name, organization_id=None, title=take_up.title)
    assert [job.state for job in run_pending(runtime)] == [JobState.SUCCEEDED, JobState.SUCCEEDED]
    assert set(rows(runtime)) == visible(sandbox)
    assert not take_up.is_due(runtime)


def test_moved_connection_never_sends_the_token_elsewhere(
    runtime: Runtime, sandbox: RunningSandbox, connection_id: int
) -> None:
    with runtime.database.transaction() as session:
        connection = session.get_one(Connection, connection_id)
        connection.api_url = sandbox.url.replace("localhost", "127.0.0.1")
    sandbox.requests.clear()

    with pytest.raises(AccessUnavailable) as raised:
        read_catalogue(runtime, connection_id, "job", quiet)

    assert raised.value.code == "secret_unreadable"
    assert sandbox.requests.all() == []


def test_ranges_cover_every_id_once_however_they_are_split() -> None:
    pool = RangePool(IdRange(0, 9_000, is_open=True))
    seen: list[int] = []
    lock = threading.Lock()

    def lane() -> None:
        while (taken := pool.take()) is not None:
            while not (now := pool.now(taken)).is_read:
                upto = min(now.cursor + 100, 10_000 if now.is_open else now.last)
                if upto <= now.cursor:
                    break
                with lock:
                    seen.extend(range(now.cursor + 1, upto + 1))
                pool.advance(taken, upto)
            pool.finish(taken)

    threads = [threading.Thread(target=lane) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert sorted(set(seen)) == list(range(1, 10_001))


def test_ids_of_64_bits_are_read_shown_and_enabled(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, connection_id: int
) -> None:
    """The largest number a database accepts; a larger one is not a valid answer (RFC 8259 §6: readers have limits)."""
    largest = MAX_ID
    project = {
        "id": largest,
        "name": "Large",
        "path_with_namespace": "big/large",
        "namespace": {"id": largest - 1, "full_path": "big", "kind": "group"},
        "permissions": {"project_access": {"access_level": 40}},
    }
    group = {"id": largest - 1, "name": "Big", "full_path": "big", "parent_id": largest - 2}
    sandbox.faults.add(PROJECTS, query_pattern="*sort=desc*", body=[project])
    sandbox.faults.add(PROJECTS, query_pattern="*id_after=0*", body=[project])
    sandbox.faults.add(PROJECTS, query_pattern=f"*id_after={largest - 1}*", body=[project])
    sandbox.faults.add(PROJECTS, body=[])
    sandbox.faults.add("/api/v4/groups", body=[group])

    assert read_catalogue(runtime, connection_id, "job", quiet).projects_seen == 1

    row = rows(runtime)[largest]
    assert row.gitlab_namespace_id == largest - 1
    assert "big/large" in owner.get("/repositories/").text
    assert owner.post("/repositories/enable", {"repository_id": str(row.id)}).status_code == 303
    assert owner.post("/repositories/enable", {"repository_id": str(largest)}).status_code == 303
    assert owner.post("/repositories/enable", {"repository_id": str(largest + 1)}).status_code == 400

    sandbox.faults.clear()
    sandbox.faults.add(PROJECTS, body=[{**project, "id": largest + 1}])
    run = read_catalogue(runtime, connection_id, "job", quiet)
    assert (run.complete, run.projects_seen, run.defects[0]["field"]) == (False, 0, "id")


def test_moved_project_is_followed_by_its_id(runtime: Runtime, sandbox: RunningSandbox, connection_id: int) -> None:
    read_catalogue(runtime, connection_id, "job", quiet)
    inside = next(row for row in rows(runtime).values() if row.path_with_namespace.startswith("data/"))
    enable(runtime, inside)
    sandbox.world.rename_group(sandbox.world.group("data").id, "facts")

    read_catalogue(runtime, connection_id, "job", quiet)

    moved = rows(runtime)[inside.gitlab_project_id]
    assert (moved.id, moved.path_with_namespace) == (inside.id, "facts" + inside.path_with_namespace[4:])
    assert enabled(runtime) == {inside.id}


def test_path_that_another_project_takes_over_is_another_repository(
    runtime: Runtime, sandbox: RunningSandbox, connection_id: int
) -> None:
    read_catalogue(runtime, connection_id, "job", quiet)
    # The newest, so that a GitLab that reused its id would be noticed.
    old = max(
        (row for row in rows(runtime).values() if row.path_with_namespace.startswith("data/")),
        key=lambda row: row.gitlab_project_id,
    )
    enable(runtime, old)
    sandbox.world.delete_project(old.gitlab_project_id)
    new = sandbox.world.add_project(old.path_with_namespace)
    sandbox.world.add_member(sandbox.world.user_by_username("gatehouse"), new, 40)

    read_catalogue(runtime, connection_id, "job", quiet)

    found = rows(runtime)
    assert found[new.id].path_with_namespace == found[old.gitlab_project_id].path_with_namespace
    assert (found[new.id].missing_since, found[old.gitlab_project_id].missing_since is None) == (None, False)
    assert enabled(runtime) == {old.id}


def test_group_that_is_gone_shrinks_what_is_seen(runtime: Runtime, sandbox: RunningSandbox, connection_id: int) -> None:
    read_catalogue(runtime, connection_id, "job", quiet)
    user = sandbox.world.user_by_username("gatehouse")
    for group, _ in sandbox.world.memberships_of(user):
        if group.full_path == "data":
            sandbox.world.add_group_member(group.id, user.id, 0)
            break
    else:
        raise AssertionError("the service user is no member of data")

    read_catalogue(runtime, connection_id, "job", quiet)

    missing = {row.gitlab_project_id for row in rows(runtime).values() if row.missing_since is not None}
    assert missing == set(rows(runtime)) - visible(sandbox)
    assert missing
    with runtime.database.reading() as session:
        assert "data" not in session.exec(select(GitLabGroup.full_path)).all()


def test_gitlab_that_is_upgraded_between_two_reads_changes_no_row(
    runtime: Runtime, sandbox: RunningSandbox, connection_id: int
) -> None:
    sandbox.world.change_settings(version="15.11.0-ee")
    read_catalogue(runtime, connection_id, "job", quiet)
    before = {number: (row.id, row.path_with_namespace) for number, row in rows(runtime).items()}
    sandbox.world.change_settings(version="19.0.0-ee")

    read_catalogue(runtime, connection_id, "job", quiet)

    assert {number: (row.id, row.path_with_namespace) for number, row in rows(runtime).items()} == before
    with runtime.database.reading() as session:
        assert session.get_one(Connection, connection_id).version_seen == "19.0.0-ee"


def enable(runtime: Runtime, row: Repository) -> None:
    with runtime.database.transaction() as session:
        session.add(
            Enablement(
                repository_id=row.id,
                connection_id=row.connection_id,
                enabled_by_user_id=1,
                state=RepositoryState.ENABLED,
                enabled_at=utc_now(),
            )
        )


def enabled(runtime: Runtime) -> set[int]:
    with runtime.database.reading() as session:
        return set(session.exec(select(Enablement.repository_id)))
