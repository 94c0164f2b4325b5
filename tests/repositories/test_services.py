from __future__ import annotations

import pytest
from sqlalchemy import update
from sqlmodel import col, select

from portal.accounts.models import GroupGrant
from portal.audit.models import AuditEvent
from portal.connections.models import Connection
from portal.repositories.models import Enablement, Repository
from portal.runtime import Runtime
from tests.repositories.catalogue_rows import add_connection
from tests.support.people import Cast
from tests.support.visitor import Visitor

SERVICES = ["repositories", "merge_requests", "issues"]


@pytest.fixture
def ids(runtime: Runtime, cast: Cast) -> list[int]:
    """Our ids by number in GitLab, from 0; number 1 has the role Guest, 2 Reporter, 5 none that is known."""
    connection_id = add_connection(runtime, cast, "first", 6)
    with runtime.database.transaction() as session:
        session.execute(update(Connection).values(services=SERVICES, hooks_wanted=True))
        session.add(GroupGrant(membership_id=cast.lead.membership_id, connection_id=connection_id, gitlab_group_id=3))
        found = session.exec(select(Repository.id).order_by(col(Repository.gitlab_project_id)))
        return [0, *(number for number in found if number)]


def chosen(runtime: Runtime, number: int) -> list[str] | None:
    with runtime.database.reading() as session:
        return session.exec(select(Enablement).where(Enablement.repository_id == number)).one().services


def test_services_follow_the_connection_until_fewer_are_chosen(
    runtime: Runtime, owner: Visitor, ids: list[int]
) -> None:
    address = f"/repositories/{ids[2]}"
    refused = owner.post(address, {"services": "issues"})
    owner.post("/repositories/enable", {"repository_id": str(ids[2])})
    at_first = chosen(runtime, ids[2])
    owner.post(address, {"services": ["repositories", "issues"]})
    fewer = chosen(runtime, ids[2])
    none, foreign = owner.post(address, {}), owner.post(address, {"services": "wiki"})
    page = owner.get(address).text
    owner.post(address, {"services": SERVICES})
    with runtime.database.reading() as session:
        said = select(AuditEvent).where(col(AuditEvent.action) == "repository.services_changed")
        details = [event.details["services"] for event in session.exec(said)]

    assert (refused.status_code, none.status_code, foreign.status_code) == (409, 422, 422)
    assert "Choose at least one service" in none.text
    assert (at_first, fewer, chosen(runtime, ids[2])) == (None, ["repositories", "issues"], None)
    assert 'value="repositories" checked' in page
    assert 'value="merge_requests" checked' not in page
    assert details == ["repositories, issues", "repositories, merge_requests, issues"]


def test_page_and_list_say_which_role_is_missing_and_who_can_give_it(owner: Visitor, ids: list[int]) -> None:
    owner.post("/repositories/enable", {"repository_id": [str(ids[number]) for number in (2, 4, 6)]})
    reporter, maintainer, unknown, guest = (owner.get(f"/repositories/{ids[number]}").text for number in (3, 4, 6, 1))
    lacking = owner.get(f"/repositories/{ids[2]}").text
    listed = owner.get("/repositories/").text

    assert "The service user needs the role Maintainer." in lacking
    assert "Owner of" in lacking
    assert "The service user needs the role" not in maintainer + unknown + reporter
    assert "the service user has only Guest." in guest
    assert "not known yet" in unknown
    assert listed.count("Maintainer needed") == 1
    assert f'href="/repositories/{ids[2]}"' in listed


def test_lead_reaches_no_other_group_and_auditor_changes_nothing(
    runtime: Runtime, owner: Visitor, lead: Visitor, auditor: Visitor, ids: list[int]
) -> None:
    owner.post("/repositories/enable", {"repository_id": [str(number) for number in ids[1:]]})
    with runtime.database.reading() as session:
        rows = select(Repository.id, Repository.namespace_path)
        mine = {number: place == "group-2" for number, place in session.exec(rows)}

    assert {True, False} == set(mine.values())
    for number, is_mine in mine.items():
        read, write = lead.get(f"/repositories/{number}"), lead.post(f"/repositories/{number}", {"services": "issues"})
        assert (read.status_code, write.status_code) == ((200, 303) if is_mine else (404, 404))
        assert (chosen(runtime, number or 0) == ["issues"]) == is_mine
        assert auditor.get(f"/repositories/{number}").status_code == 200
        assert auditor.post(f"/repositories/{number}", {"services": "issues"}).status_code == 404
