"""Asking for a repository: who may ask, who answers, and what happens when the time is over."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlmodel import col, func, select

from portal.accounts.models import GroupGrant
from portal.audit.models import AuditEvent
from portal.db import utc_now
from portal.jobs.schedule import enqueue_due
from portal.jobs.testing import run_pending
from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.models import Enablement, GitLabGroup, Namespace, Repository, RepositoryRequest, RequestState
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.connected import connect
from tests.support.people import Cast
from tests.support.visitor import Visitor

REQUESTS = "/repositories/requests"
REASON = "The search team indexes it."


@pytest.fixture
def repositories(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> list[Repository]:
    """Two of `data`, which the lead leads, and one elsewhere."""
    connection_id = connect(runtime, sandbox, cast.owner)
    read_catalogue(runtime, connection_id, "job", lambda *_: None)
    can_be = (col(Repository.unavailable_reason) == "", col(Repository.missing_since).is_(None))
    with runtime.database.transaction() as session:
        group = session.exec(select(GitLabGroup).where(GitLabGroup.full_path == "data")).one()
        session.add(
            GroupGrant(
                membership_id=cast.lead.membership_id,
                connection_id=connection_id,
                gitlab_group_id=group.gitlab_group_id,
                granted_by_user_id=cast.owner.user_id,
            )
        )
        ordered = select(Repository).where(*can_be).order_by(Repository.path_with_namespace)
        inside = session.exec(ordered.where(col(Repository.path_with_namespace).startswith("data/")).limit(2)).all()
        outside = session.exec(ordered.where(~col(Repository.path_with_namespace).startswith("data/")).limit(1)).all()
        return [*inside, *outside]


def ask(visitor: Visitor, repository: Repository, reason: str = REASON) -> int:
    return visitor.post(f"/repositories/{repository.id}/request", {"reason": reason}).status_code


def stored(runtime: Runtime) -> list[RepositoryRequest]:
    with runtime.database.reading() as session:
        return list(session.exec(select(RepositoryRequest).order_by(col(RepositoryRequest.id))))


def enabled(runtime: Runtime) -> dict[int, Enablement]:
    with runtime.database.reading() as session:
        return {row.repository_id: row for row in session.exec(select(Enablement))}


def test_auditor_asks_and_the_lead_of_the_group_enables_until_a_day(
    runtime: Runtime, auditor: Visitor, lead: Visitor, owner: Visitor, repositories: list[Repository]
) -> None:
    wanted, _, elsewhere = repositories
    assert f'href="/repositories/{wanted.id}/request"' in auditor.get("/repositories/?connection=gitlab").text
    assert f"/repositories/{wanted.id}/request" not in owner.get("/repositories/?connection=gitlab").text
    assert ask(auditor, wanted, "") == 422
    assert (ask(auditor, wanted), ask(auditor, wanted), ask(auditor, elsewhere)) == (303, 409, 303)
    assert (ask(owner, wanted), ask(lead, elsewhere)) == (404, 404)
    mine, other = stored(runtime)

    page = lead.get(REQUESTS).text
    assert (wanted.path_with_namespace in page, REASON in page) == (True, True)
    assert elsewhere.path_with_namespace not in page
    assert "Requests (1)" in page
    assert "Requests (2)" in owner.get(REQUESTS).text
    assert lead.post(f"{REQUESTS}/{other.id}", {"do": "approve"}).status_code == 404
    yesterday = str(utc_now().date() - timedelta(days=1))
    for wrong in (yesterday, "soon", "9999-12-31"):
        refused = lead.post(f"{REQUESTS}/{mine.id}", {"do": "approve", "answer": "Fine", "ends_on": wrong})
        assert (refused.status_code, "Fine" in refused.text) == (422, True)
    assert auditor.post(f"{REQUESTS}/{mine.id}", {"do": "approve"}).status_code in {403, 404}
    assert enabled(runtime) == {}

    today = str(utc_now().date())
    assert lead.post(f"{REQUESTS}/{mine.id}", {"do": "approve", "answer": "Fine", "ends_on": today}).status_code == 303
    assert lead.post(f"{REQUESTS}/{mine.id}", {"do": "decline", "answer": "No"}).status_code == 409

    assert list(enabled(runtime)) == [wanted.id]
    assert enabled(runtime)[wanted.id].ends_at == stored(runtime)[0].ends_at
    assert "Fine" in auditor.get(REQUESTS).text


def test_request_is_declined_with_a_reason_or_withdrawn_by_who_asked(
    runtime: Runtime, auditor: Visitor, owner: Visitor, repositories: list[Repository]
) -> None:
    ask(auditor, repositories[0])
    ask(auditor, repositories[1])
    first, second = stored(runtime)

    assert owner.post(f"{REQUESTS}/{first.id}", {"do": "decline"}).status_code == 422
    assert owner.post(f"{REQUESTS}/{first.id}", {"do": "decline", "answer": "It is a copy."}).status_code == 303
    assert owner.post(f"{REQUESTS}/{second.id}", {"do": "withdraw"}).status_code == 404
    assert auditor.post(f"{REQUESTS}/{second.id}", {"do": "withdraw"}).status_code == 303
    assert owner.post(f"{REQUESTS}/{second.id}", {"do": "approve"}).status_code == 409

    assert [one.state for one in stored(runtime)] == [RequestState.DECLINED, RequestState.WITHDRAWN]
    assert enabled(runtime) == {}
    assert "It is a copy." in auditor.get(REQUESTS).text
    assert ask(auditor, repositories[0]) == 303
    with runtime.database.reading() as session:
        actions = set(session.exec(select(AuditEvent.action)))
    assert {"repository.requested", "repository.request_declined", "repository.request_withdrawn"} <= actions


def test_repository_is_disabled_when_its_time_is_over_and_only_then(
    runtime: Runtime, auditor: Visitor, owner: Visitor, repositories: list[Repository]
) -> None:
    for number, ends_on in enumerate((str(utc_now().date() + timedelta(days=9)), "")):
        ask(auditor, repositories[number])
        request = stored(runtime)[-1]
        owner.post(f"{REQUESTS}/{request.id}", {"do": "approve", "ends_on": ends_on})

    enqueue_due(runtime)
    run_pending(runtime)
    assert len(enabled(runtime)) == 2
    with runtime.database.transaction() as session:
        row = session.exec(select(Enablement).where(col(Enablement.ends_at).is_not(None))).one()
        row.ends_at = utc_now() - timedelta(seconds=1)
    enqueue_due(runtime)
    run_pending(runtime)

    assert list(enabled(runtime)) == [repositories[1].id]
    with runtime.database.reading() as session:
        assert session.exec(select(func.sum(Namespace.enabled))).one() == 1
        actions = set(session.exec(select(AuditEvent.action)))
    assert {"repository.time_over", "repository.request_approved"} <= actions
