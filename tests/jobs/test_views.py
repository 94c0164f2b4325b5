"""The pages' fragments, for each role. The tests of `accounts` cover sign-in; here the principal is given."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask, g
from flask.testing import FlaskClient
from sqlmodel import select

from portal.actor import Actor, Principal, Role
from portal.audit.models import AuditEvent
from portal.jobs import Job, JobState, enqueue, views
from portal.jobs.testing import run_pending
from portal.runtime import Runtime
from portal.settings import Settings
from portal.web import assets, error_pages, htmx, times
from portal.web.current import attach_runtime
from tests.jobs.conftest import reload

Add = Callable[..., Job]
As = Callable[..., FlaskClient]
FRAGMENT = {"HX-Request": "true"}


@pytest.fixture
def settings(tmp_path: Path, migrated_file: Path) -> Settings:
    """Pages do not depend on the database."""
    settings = Settings(data_dir=tmp_path / "var")
    settings.data_dir.mkdir()
    shutil.copy(migrated_file, settings.data_dir / "gatehouse.db")
    return settings


@pytest.fixture
def seen_as(runtime: Runtime) -> As:
    """Return a browser of someone with a role, in organization 1 unless told otherwise."""

    def browser(role: Role, *, user_id: int = 10, organization_id: int = 1) -> FlaskClient:
        app = Flask("test", template_folder=str(assets.TEMPLATES), static_folder=None)
        attach_runtime(app, runtime)
        for ground in (assets, htmx, error_pages, times):
            ground.register(app)
        app.add_template_global(lambda: "token", "csrf_token")
        principal = Principal(user_id, "Somebody", "a@example.org", organization_id, "ACME", "enterprise", 1, role)
        app.before_request(lambda: setattr(g, "principal", principal))
        views.register(app, runtime)
        return app.test_client()

    return browser


def test_progress_asks_again_while_the_job_is_under_way(add: Add, seen_as: As) -> None:
    job = add("sample.note")

    answer = seen_as(Role.OWNER).get(f"/jobs/{job.public_id}", headers=FRAGMENT)

    assert answer.status_code == 200
    assert 'hx-trigger="every 1s"' in answer.text
    assert "HX-Trigger" not in answer.headers
    assert "<html" not in answer.text


def test_progress_of_a_finished_job_asks_no_more_and_tells_the_page(
    runtime: Runtime, add: Add, seen_as: As, log: str
) -> None:
    job = add("sample.note", log=log, line="a")
    run_pending(runtime)

    answer = seen_as(Role.OWNER).get(f"/jobs/{job.public_id}", headers=FRAGMENT)

    assert "hx-trigger" not in answer.text
    assert answer.headers["HX-Trigger"] == "job-finished"
    assert "Succeeded" in answer.text


def test_details_show_why_a_job_failed(runtime: Runtime, add: Add, seen_as: As) -> None:
    job = add("sample.fails")
    run_pending(runtime)

    answer = seen_as(Role.AUDITOR).get(f"/jobs/{job.public_id}/details", headers=FRAGMENT)

    assert "issued by an authority this portal does not know" in answer.text
    assert "compare its fingerprint and trust it" in answer.text


@pytest.mark.parametrize(
    ("role", "user_id", "sees"),
    [(Role.OWNER, 10, True), (Role.AUDITOR, 10, True), (Role.TEAM_LEAD, 10, False), (Role.TEAM_LEAD, 77, True)],
)
def test_items_are_named_to_those_who_may_see_every_group_or_asked_for_the_job(
    runtime: Runtime, seen_as: As, log: str, role: Role, user_id: int, sees: bool
) -> None:
    with runtime.database.transaction() as session:
        args = {"log": log, "count": 2}
        job = enqueue(
            session, "sample.items", args, organization_id=1, title="Enable", actor=Actor.of_user(77, "Somebody")
        )
    run_pending(runtime)

    answer = seen_as(role, user_id=user_id).get(f"/jobs/{job.public_id}/details", headers=FRAGMENT)

    assert ("acme/0" in answer.text, "Items succeeded" in answer.text) == (sees, True)


@pytest.mark.parametrize("address", ["", "/details"])
def test_job_of_another_organization_does_not_exist(add: Add, seen_as: As, address: str) -> None:
    job = add("sample.note")

    answer = seen_as(Role.OWNER, organization_id=2).get(f"/jobs/{job.public_id}{address}", headers=FRAGMENT)

    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("role", "user_id", "state", "status"),
    [
        (Role.OWNER, 10, JobState.STOPPED, 204),
        (Role.ADMINISTRATOR, 10, JobState.STOPPED, 204),
        (Role.TEAM_LEAD, 77, JobState.STOPPED, 204),
        (Role.TEAM_LEAD, 10, JobState.QUEUED, 404),
        (Role.AUDITOR, 10, JobState.QUEUED, 404),
    ],
)
def test_stop_is_for_those_who_manage_connections_or_asked_for_the_job(
    runtime: Runtime, seen_as: As, role: Role, user_id: int, state: JobState, status: int
) -> None:
    with runtime.database.transaction() as session:
        job = enqueue(session, "sample.note", organization_id=1, title="Read", actor=Actor.of_user(77, "Somebody"))

    answer = seen_as(role, user_id=user_id).post(f"/jobs/{job.public_id}/stop", headers=FRAGMENT)

    assert (answer.status_code, reload(runtime.database, job).state) == (status, state)
    with runtime.database.reading() as session:
        recorded = [(event.action, event.object_name) for event in session.exec(select(AuditEvent))]
    assert recorded == ([("job.stop", "Read")] if status == 204 else [])


def test_stop_without_htmx_leads_back_to_the_job(add: Add, seen_as: As) -> None:
    job = add("sample.note")

    answer = seen_as(Role.OWNER).post(f"/jobs/{job.public_id}/stop")

    assert (answer.status_code, answer.location) == (303, f"/jobs/{job.public_id}")


def test_stop_of_another_organizations_job_is_not_found(runtime: Runtime, add: Add, seen_as: As) -> None:
    job = add("sample.note")

    answer = seen_as(Role.OWNER, organization_id=2).post(f"/jobs/{job.public_id}/stop", headers=FRAGMENT)

    assert (answer.status_code, reload(runtime.database, job).state) == (404, JobState.QUEUED)


def test_list_asks_again_only_while_something_is_under_way(runtime: Runtime, add: Add, seen_as: As, log: str) -> None:
    browser = seen_as(Role.TEAM_LEAD)
    empty = browser.get("/jobs", headers=FRAGMENT).text
    add("sample.note", log=log, line="a")
    live = browser.get("/jobs", headers=FRAGMENT).text
    run_pending(runtime)
    done = browser.get("/jobs", headers=FRAGMENT).text

    assert ["every 3s" in text for text in (empty, live, done)] == [False, True, False]
    assert ["No jobs yet" in text for text in (empty, live, done)] == [True, False, False]
