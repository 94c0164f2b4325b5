from __future__ import annotations

import csv
import io
import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from sqlalchemy import update
from sqlmodel import col, select

from portal.accounts.models import GroupGrant
from portal.audit.models import AuditEvent
from portal.jobs.testing import run_pending
from portal.repositories.models import Enablement, Repository
from portal.runtime import Runtime
from tests.repositories.catalogue_rows import add_connection
from tests.support.people import Cast
from tests.support.visitor import Visitor

COUNT = 120
FORMULA = "=HYPERLINK(1)"


@pytest.fixture
def connection_id(runtime: Runtime, cast: Cast) -> int:
    connection_id = add_connection(runtime, cast, "first", COUNT)
    with runtime.database.transaction() as session:
        first = select(Repository.id).order_by(col(Repository.path_with_namespace)).limit(1)
        chosen = col(Repository.id) == session.exec(first).one()
        session.execute(update(Repository).where(chosen).values(name=FORMULA, unavailable_reason="archived"))
    return connection_id


def fields(text: str, action: str) -> dict[str, str]:
    """Return the hidden fields of the form with this action."""
    form = re.search(rf'<form[^>]*action="{action}".*?</form>', text, re.DOTALL)
    assert form, action
    return dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form[0]))


def test_everything_that_matches_is_shown_asked_for_done_listed_and_undone(
    runtime: Runtime, owner: Visitor, connection_id: int
) -> None:
    page = owner.get("/repositories/?group=group-1&sort=role")
    assert "data-select-matching" not in page.text
    page = owner.get("/repositories/?sort=role")
    assert f"Select all {COUNT} that match" in page.text
    chosen = {**fields(page.text, "/repositories/enable"), "scope": "matching"}
    address = owner.post("/repositories/enable", chosen).headers["Location"]
    assert parse_qs(urlsplit(address).query) == {"do": ["enable"], "on": ["index"]}

    asked = owner.get(address)
    form = fields(asked.text, "/repositories/change")
    assert (form["matching"], form["changing"]) == (str(COUNT), str(COUNT - 1))
    assert "Archived" in asked.text or "archived" in asked.text
    assert "In 5 groups" in asked.text
    untyped = owner.post("/repositories/change", form)
    assert (untyped.status_code, f"Type {COUNT - 1} to confirm" in untyped.text) == (422, True)
    changed = owner.post("/repositories/change", {**form, "changing": "3", "confirmation": "3"})
    assert (changed.status_code, "The list has changed since you looked" in changed.text) == (409, True)
    started = owner.post("/repositories/change", {**form, "confirmation": f"{COUNT - 1}"})
    again = owner.post("/repositories/change", {**form, "confirmation": f"{COUNT - 1}"})
    assert (started.status_code, again.headers["Location"]) == (303, started.headers["Location"])
    here = started.headers["Location"]
    waiting = owner.get(here)
    assert "This was started a moment ago" in waiting.text
    assert 'hx-trigger="every 1s"' in waiting.text

    run_pending(runtime)
    done = owner.get(here, htmx=True)
    assert f"{COUNT - 1} enabled, 1 can’t be enabled" in done.text
    assert "hx-trigger" not in done.text
    assert "Unarchive it in GitLab." in done.text
    rows = list(csv.DictReader(io.StringIO(owner.post(f"{here}/export", {"format": "csv"}).text)))
    assert sorted(row["result"] for row in rows) == ["Changed"] * (COUNT - 1) + ["Unavailable"]

    undone = owner.post(f"{here}/undo").headers["Location"]
    run_pending(runtime)
    assert f"{COUNT - 1} restored" in owner.get(undone).text
    assert "Undo</" not in owner.get(here).text
    with runtime.database.reading() as session:
        assert session.exec(select(Enablement)).all() == []


def test_list_is_exported_as_it_is_filtered_and_without_formulas(
    runtime: Runtime, owner: Visitor, connection_id: int
) -> None:
    answer = owner.post("/repositories/export", {"format": "csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    lines = owner.post("/repositories/export", {"format": "json", "group": "group-1", "role": "reporter"}).text
    found = [json.loads(line) for line in lines.splitlines()]

    assert answer.headers["Content-Disposition"].startswith('attachment; filename="repositories-')
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    assert (len(rows), rows[0]["name"], rows[0]["reason"]) == (COUNT, f"'{FORMULA}", "archived")
    assert found
    assert {(row["path"].partition("/")[0], row["role"]) for row in found} == {("group-1", "Reporter")}
    assert owner.post("/repositories/export", {"format": "xlsx"}).status_code == 400
    with runtime.database.reading() as session:
        told = session.exec(select(AuditEvent.details).where(AuditEvent.action == "repository.list_exported")).all()
    assert {"group": "group-1", "role": "reporter"} in [item["filters"] for item in told]


def test_lead_exports_and_changes_only_what_is_in_their_groups(
    runtime: Runtime, app: Flask, cast: Cast, connection_id: int
) -> None:
    with runtime.database.transaction() as session:
        session.add(GroupGrant(membership_id=cast.lead.membership_id, connection_id=connection_id, gitlab_group_id=2))
    lead = Visitor(app).sign_in(cast.lead)

    paths = [
        json.loads(line)["path"] for line in lead.post("/repositories/export", {"format": "json"}).text.splitlines()
    ]
    asked = lead.get("/repositories/change?do=enable")

    assert len(paths) == COUNT // 5
    assert all(path.startswith("group-1/") for path in paths)
    assert fields(asked.text, "/repositories/change")["matching"] == str(COUNT // 5)
    assert "group-2" not in asked.text
