"""The page about the requests to one GitLab, and what an administrator sets there."""

from __future__ import annotations

import re

from sqlmodel import select

from portal.budgets.agreements import erase
from portal.connections.models import Connection
from portal.net import origin_of
from portal.net.agreement import RequestAgreement
from portal.net.usage import Purpose, Reason, RequestCount, Usage
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.webhooks.hooked import hooked

PAGE = "/connections/gitlab/budget"
FORM = {"per_second": "10", "at_once": "4", "agreed_with": "Mads Hansen", "agreed_on": "2026-10-12", "row_version": "0"}
NIGHT = {**FORM, "quiet_from": "02:00", "quiet_until": "04:00", "time_zone": "Europe/Copenhagen"}


def test_administrator_sets_the_budget_and_others_see_it_with_what_was_used(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor, auditor: Visitor
) -> None:
    hooked(runtime, sandbox, cast, 1)
    with runtime.database.reading() as session:
        connection = session.exec(select(Connection).where(Connection.slug == "gitlab")).one()
    usage = Usage(runtime.database, origin_of(connection.api_url))
    for _ in range(1234):
        usage.count(Purpose.CHECKS)
    usage.record_slowdown(Reason.ASKED, until=60)
    usage.flush()

    saved = owner.post(PAGE, NIGHT)
    twice, other = owner.post(PAGE, NIGHT), owner.post(PAGE, FORM)
    seen, shown = owner.get(PAGE).text, auditor.get(PAGE).text

    assert (saved.status_code, twice.status_code, other.status_code) == (303, 303, 409)
    assert "02:00 to 04:00 Europe/Copenhagen" in shown
    assert [text for text in ("Mads Hansen", "12 Oct 2026", "1,234", "GitLab answered 429") if text not in shown] == []
    assert re.search(r'<path class="gh-series-3[^>]*>', shown)
    assert "1,234</td>" in re.sub(r"\s+<", "<", shown)
    assert "Change the budget" in seen
    assert "Change the budget" not in shown
    assert "request_budget.changed" in owner.get("/audit?action=request_budget.changed").text
    assert owner.post(f"{PAGE}/usual").status_code == 303
    assert "request_budget.dropped" in owner.get("/audit?action=request_budget.dropped").text
    assert owner.post(PAGE, FORM).status_code == 303
    with runtime.database.transaction() as session:
        erase(session, connection.id or 0)
    with runtime.database.reading() as session:
        assert not session.exec(select(RequestAgreement)).all()
        assert not session.exec(select(RequestCount)).all()
    for changed, sentence in WRONG:
        refused = owner.post(PAGE, {**NIGHT, **changed})
        assert refused.status_code == 422
        assert sentence in refused.text


WRONG = [
    ({"per_second": "0"}, "Enter a whole number from 1 to 1,000."),
    ({"at_once": "many"}, "Enter a whole number from 1 to 200."),
    ({"quiet_until": ""}, "Quiet hours need a beginning and an end."),
    ({"quiet_until": "02:00"}, "Quiet hours cannot begin and end at the same time."),
    ({"quiet_until": "08:00"}, "Without any background work, quiet hours can last four hours"),
    ({"quiet_from": "late"}, "Enter a time of day, such as 02:00."),
    ({"quiet_per_second": "11"}, "That is more than outside of quiet hours."),
    ({"time_zone": "Mars/Olympus"}, "Enter the name of a time zone"),
    ({"agreed_on": "soon"}, "Enter a date, such as 2026-10-12."),
]
