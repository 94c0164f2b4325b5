from __future__ import annotations

import csv
import io
import json
import re
from datetime import timedelta

import pytest
from flask import Flask

from portal.actor import Actor
from portal.audit import Foreign, service
from portal.audit_log import search
from portal.db import utc_now
from portal.jobs.testing import run_pending
from portal.runtime import Runtime
from tests.accounts.support import form_on, let_time_pass
from tests.audit.conftest import Add, about, events_of
from tests.audit.tampering import tamper
from tests.security.tables import digests
from tests.support.people import PASSWORD, Cast
from tests.support.visitor import Visitor

NUMBER = re.compile(r'id="event-(\d+)"')
NEXT = re.compile(r'href="([^"]+)" rel="next"')
PREVIOUS = re.compile(r'href="([^"]+)" rel="prev"')


@pytest.fixture
def backend() -> str:
    """The pages do not depend on the database; the queries do, and have their own test below."""
    return "sqlite"


def numbers(visitor: Visitor, query: str = "") -> list[int]:
    answer = visitor.get(f"/audit?{query}")
    assert answer.status_code == 200, answer.text
    return [int(number) for number in NUMBER.findall(answer.text)]


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_auditor_finds_events_by_each_filter(add: Add, auditor: Visitor) -> None:
    add(actor=Actor.of_user(7, "Ada Admin"))
    add(action="other.made", target=about(1, "Payments 100%", kind="connection"))
    add(result="refused")
    today = utc_now().date()

    assert numbers(auditor) == [3, 2, 1]
    assert numbers(auditor, "person=ada") == [1]
    assert numbers(auditor, "person=console") == [3, 2, 1]
    assert numbers(auditor, "object=100%25") == [2]
    assert numbers(auditor, "object=connection") == [2]
    assert numbers(auditor, "action=other.made") == [2]
    assert numbers(auditor, "action=test.") == [3, 1]
    assert numbers(auditor, "result=refused") == [3]
    assert numbers(auditor, "q=ada") == [1]
    assert numbers(auditor, "q=payments") == [2]
    assert numbers(auditor, "kind=members") == []
    assert numbers(auditor, f"from={today}&to={today}") == [3, 2, 1]
    assert numbers(auditor, f"from={today + timedelta(days=1)}") == []
    assert numbers(auditor, f"to={today - timedelta(days=1)}") == []
    assert numbers(auditor, "from=0001-01-01&to=9999-12-31") == [3, 2, 1]


def test_page_opens_with_a_week_and_an_address_that_asks_for_something_has_all(
    add: Add, auditor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(service, "utc_now", lambda: utc_now() - timedelta(days=8))
        add()
    add()

    assert numbers(auditor) == [2]
    assert numbers(auditor, "days=30") == numbers(auditor, "days=all") == numbers(auditor, "action=test.") == [2, 1]
    assert '<h2 class="gh-day">Today</h2>' in auditor.get("/audit").text


@pytest.mark.parametrize(
    "query", ["kind=x", "days=8", "from=yesterday", "to=2026-02-30", "result=maybe", "before=x", "after=-1"]
)
def test_filter_that_makes_no_sense_is_a_400(auditor: Visitor, query: str) -> None:
    assert auditor.get(f"/audit?{query}").status_code == 400


def test_filters_stay_in_addresses_and_form(add: Add, auditor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "PAGE_SIZE", 3)
    add(9, target=about(1, "Payments"))

    text = auditor.get("/audit?object=pay&from=2020-01-01").text

    assert 'name="object" value="pay"' in text
    assert 'name="from" value="2020-01-01"' in text
    for link in NEXT.findall(text) + re.findall(r'href="(/audit/\d+[^"]*)"', text):
        assert "object=pay" in link
        assert "from=2020-01-01" in link


def test_pages_lead_forth_and_back(add: Add, auditor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "PAGE_SIZE", 3)
    add(8)
    address, forth = "/audit", []
    while address:
        text = auditor.get(address).text
        forth.append(NUMBER.findall(text))
        address = (NEXT.findall(text) or [""])[0].replace("&amp;", "&")
    back = []
    address = PREVIOUS.findall(text)[0].replace("&amp;", "&")
    while address:
        text = auditor.get(address).text
        back.append(NUMBER.findall(text))
        address = (PREVIOUS.findall(text) or [""])[0].replace("&amp;", "&")

    assert forth == [["8", "7", "6"], ["5", "4", "3"], ["2", "1"]]
    assert back == [["5", "4", "3"], ["8", "7", "6"]]


def test_search_answers_the_list_alone_to_htmx(add: Add, auditor: Visitor) -> None:
    add()

    fragment = auditor.get("/audit", htmx=True).text

    assert "<html" not in fragment
    assert fragment.lstrip().startswith('<div id="events">')


def test_nobody_sees_events_of_another_organization(add: Add, auditor: Visitor, outsider: Visitor) -> None:
    add(target=about(1, "Ours"))

    assert numbers(outsider) == []
    assert "No events in this time" in outsider.get("/audit").text
    assert "No events yet" in outsider.get("/audit?days=all").text
    assert outsider.get("/audit/1").status_code == 404
    assert "Ours" not in outsider.post("/audit/export", {"format": "csv"}).text
    assert auditor.get("/audit/1").status_code == 200


def test_event_shows_every_field_and_marks_what_gitlab_chose(add: Add, auditor: Visitor, runtime: Runtime) -> None:
    add(target=about(1, Foreign("<b>group/repo</b>")), path=Foreign("a/b"), count=3, names=["x", "y"])
    event = events_of(runtime)[0]

    text = auditor.get("/audit/1").text

    assert event.foreign_fields == ["object_name", "details.path"]
    assert text.count("From GitLab") == 2
    assert "&lt;b&gt;group/repo&lt;/b&gt;" in text
    for value in (
        event.hash,
        event.previous_hash,
        event.request_id,
        "test.done",
        "a/b",
        "3",
        "x",
        event.source_address,
    ):
        assert value in text


def test_export_holds_what_the_filters_match_and_no_formula(add: Add, auditor: Visitor, runtime: Runtime) -> None:
    hostile = ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", 'a "quoted", one', "plain"]
    for name in hostile:
        add(target=about(1, name), note="x\ny,z")
    add(action="other.made")

    answer = auditor.post("/audit/export", {"format": "csv", "action": "test."})

    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="audit-log-2')
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    rows = rows_of(answer.text)
    assert [row["object_name"].removeprefix("'") for row in rows] == hostile
    assert all(row["object_name"].startswith("'") for row in rows[:4])
    assert [json.loads(row["details"]) for row in rows] == [{"note": "x\\u000ay,z"}] * 6
    assert answer.text.count("\r\n") == 7


def test_export_as_json_lines_has_the_same_events_with_every_field(add: Add, owner: Visitor, runtime: Runtime) -> None:
    add(2, path=Foreign("a/b"))

    answer = owner.post("/audit/export", {"format": "json"})

    found = [json.loads(line) for line in answer.text.splitlines()]
    assert [event["number"] for event in found] == [1, 2, 3]
    assert found[1] == {**events_of(runtime)[1].model_dump(), "at": events_of(runtime)[1].at.isoformat()}


def test_export_reads_batch_after_batch(add: Add, owner: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "EXPORT_BATCH", 2)
    add(4)

    assert [row["number"] for row in rows_of(owner.post("/audit/export", {"format": "csv"}).text)] == list("12345")


def test_export_is_recorded_with_its_filters(add: Add, auditor: Visitor, cast: Cast, runtime: Runtime) -> None:
    auditor.post("/audit/export", {"format": "csv", "person": "ada", "to": "2026-01-31"})

    (event,) = events_of(runtime)
    assert (event.action, event.actor.user_id, event.actor_name) == (
        "audit.exported",
        cast.auditor.user_id,
        "Aud Auditor",
    )
    assert event.details == {"format": "csv", "filters": {"person": "ada", "to": "2026-01-31"}}


def test_export_wants_the_password_again_and_goes_on_with_it(
    app: Flask, add: Add, auditor: Visitor, runtime: Runtime
) -> None:
    add()
    wanted = {"format": "csv", "action": "test.done"}
    auditor.csrf_token()
    let_time_pass(app, minutes=6)
    before = digests(runtime.database)

    asked = auditor.post("/audit/export", wanted)

    assert asked.status_code == 401
    assert digests(runtime.database, frozenset({"session"})) == {k: v for k, v in before.items() if k != "session"}
    action, hidden = form_on(asked)
    assert hidden.items() >= wanted.items()
    done = auditor.post(action, {**hidden, "proof_password": PASSWORD})
    assert [row["action"] for row in rows_of(done.text)] == ["test.done"]


@pytest.mark.parametrize("form", [{}, {"format": "pdf"}, {"format": "csv", "organization_id": "2"}])
def test_export_of_no_known_kind_is_a_400(auditor: Visitor, form: dict[str, str], runtime: Runtime) -> None:
    assert auditor.post("/audit/export", form).status_code == 400
    assert events_of(runtime) == []


def test_lead_finds_nothing_of_it(add: Add, lead: Visitor, runtime: Runtime) -> None:
    add()

    for path in ("/audit", "/audit/1", "/audit/verification"):
        assert lead.get(path).status_code == 404
    for path in ("/audit/export", "/audit/verification"):
        assert lead.post(path, {"format": "csv"}).status_code == 404


def test_verifying_is_started_watched_and_its_result_shown(add: Add, auditor: Visitor, runtime: Runtime) -> None:
    add(3)
    assert "Not verified yet" in auditor.get("/audit").text

    begun = auditor.post("/audit/verification", htmx=True)
    polled = auditor.get("/audit/verification", htmx=True)
    run_pending(runtime)
    ended = auditor.get("/audit/verification", htmx=True)

    for fragment in (begun.text, polled.text):
        assert 'hx-trigger="every 1500ms"' in fragment
        assert "<progress" in fragment
    assert re.search(r"4 events\.\s+None changed or missing", ended.text)
    assert "hx-trigger" not in ended.text
    assert auditor.post("/audit/verification").headers["Location"] == "/audit"


def test_page_names_the_first_wrong_event(add: Add, auditor: Visitor, runtime: Runtime) -> None:
    add(5)
    tamper(runtime, "DELETE FROM audit_event WHERE number = 4")
    auditor.post("/audit/verification")
    run_pending(runtime)

    text = auditor.get("/audit").text

    assert "The log is not as it was written: event 4 is missing" in text
    assert 'role="alert"' in text


class TestQueries:
    """The search on both databases."""

    @pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
    def backend(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def test_search_finds_parts_of_names_in_any_case(self, add: Add, runtime: Runtime) -> None:
        add(actor=Actor.of_user(7, "Ada_Admin"), target=about(1, "Group/Repo"))
        add(actor=Actor.of_user(8, "AdaXAdmin"), action="other.made", result="failed")
        add(target=about(organization_id=2))
        now = utc_now()

        def found(**wanted: object) -> list[int]:
            page = search.list_events(runtime.database, search.Search(1, **wanted))
            return [event.number for event in page.events]

        assert found(person="ada_admin") == [1]
        assert found(object="group/REPO") == found(text="group/REPO") == found(text="ada_") == [1]
        assert found(actions=("none.", "other."), result="failed", since=now - timedelta(hours=1), until=now) == [2]
        assert found(since=now) == []
        assert [event.number for event in search.iterate_events(runtime.database, search.Search(None))] == [1, 2, 3]
