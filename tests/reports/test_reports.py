"""Reports say what happened, how fresh and complete that is, and nothing about what someone may not see."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlmodel import col

from portal.db import utc_now
from portal.ingestion.models import Ingestion, Reading
from portal.ingestion.run import begin_of
from portal.reports.query import Scope, initials_of, load_report, quantile
from portal.reports.views import length_of
from portal.repositories.models import Repository
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.ingestion.ingested import connect_and_enable, read
from tests.reports.truth import differences, draw_scopes
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import principal_of

PATHS = (
    *("platform/infrastructure/terraform-modules", "platform/identity/sign-in-service", "web/shop/checkout/basket"),
    *("web/shop/checkout/checkout-api", "platform/build/ci-templates", "web/shop/catalogue/image-resizer"),
)
# Of groups and periods; `python -m bench reports` takes 200.
SAMPLE = 8
GROUPS = ("", "platform", "platform/identity", "web/shop", "web/shop/checkout")


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    with RunningSandbox(with_service_user=True, history=0.4) as running:
        yield running


@pytest.mark.parametrize("backend", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def test_every_figure_is_what_the_histories_say(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor, auditor: Visitor, lead: Visitor
) -> None:
    connection_id = connect_and_enable(runtime, sandbox, cast.owner, PATHS)
    assert "being read for the first time" in owner.get("/reports").text
    read(runtime, connection_id)
    principal, now = principal_of(runtime, cast.owner), utc_now()
    begin = begin_of(24, now)
    for group, weeks in draw_scopes(SAMPLE, GROUPS):
        ids = [sandbox.world.project(path).id for path in PATHS if not group or f"{path}/".startswith(f"{group}/")]
        report = load_report(runtime, principal, Scope(group=group, weeks=weeks), now)
        assert report.freshness.complete == len(ids)
        assert differences(sandbox, report, ids, now, begin) == []

    page = owner.get("/reports?group=platform&weeks=12").text
    whole = load_report(runtime, principal, Scope(group="platform"), now)
    for text in (
        f"{whole.span.total('merged'):,}",
        length_of(whole.span.cycles.median),
        "3 of 3 complete",
        "<polyline",
        "Amara",
    ):
        assert text in page, text
    rows = list(csv.DictReader(io.StringIO(owner.post("/reports/export", {"group": "platform", "format": "csv"}).text)))
    assert len(rows) == 13
    assert sum(int(row["commits"]) for row in rows if row["is_over"] == "yes") == whole.span.total("commits")
    assert "report.exported" in owner.get("/audit?action=report.exported").text

    # What is missing is said, and initials stand for names if that is set.
    with runtime.database.transaction() as session:
        one = select(col(Repository.id)).where(col(Repository.path_with_namespace) == PATHS[0])
        failed = update(Reading).where(col(Reading.repository_id).in_(one))
        session.execute(failed.values(card={"code": "gitlab_not_found", "params": {}}))
        session.execute(update(Ingestion).values(read_at=now - timedelta(hours=3)))
        repository_id = session.execute(one).scalar_one()
    page = owner.get("/reports").text
    assert "5 of 6 complete" in page
    assert PATHS[0] in page
    form = {"months": "24", "has_initials": "1", "row_version": "1"}
    assert [who.post("/reports/settings/gitlab", form).status_code for who in (owner, owner, auditor)] == [
        303,
        303,
        404,
    ]
    assert owner.post("/reports/settings/gitlab", {**form, "months": "6"}).status_code == 409
    assert owner.post("/reports/settings/gitlab", {**form, "months": "7"}).status_code == 422
    assert "Amara" not in owner.get("/reports?group=platform").text
    assert "report.settings_changed" in owner.get("/audit?action=report.settings_changed").text
    assert owner.post("/reports/settings/gitlab", {**form, "months": "36", "row_version": "2"}).status_code == 303
    assert "0 of 6 complete" in owner.get("/reports").text

    # A team lead without this group sees nothing of it.
    assert lead.get(f"/reports?repository={repository_id}").status_code == 404
    assert "complete" not in lead.get("/reports").text
    assert owner.get(f"/reports?repository={repository_id}&weeks=104").status_code == 200
    assert owner.get("/reports?repository=x").status_code == 404
    assert "Show all" in owner.get("/reports?group=plat").text


def test_words_and_ranks() -> None:
    assert [length_of(seconds) for seconds in (None, 60, 5_000, 9_000, 100_000, 200_000, 8_640_000)] == [
        *("–", "1 minute", "83 minutes", "2.5 hours", "28 hours", "2.3 days", "100 days")
    ]
    assert [quantile(list(range(1, 11)), share) for share in (0.5, 0.9)] == [5, 9]
    assert quantile([], 0.5) is None
    assert [initials_of(name) for name in ("Amara Okafor", "Cher", "", "Ana de la Cruz")] == ["AO", "C", "?", "AC"]
