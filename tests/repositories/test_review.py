"""The periodic review of what is enabled, and what is asked when an enabled repository was created again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlmodel import col, select

from portal.audit.models import AuditEvent
from portal.db import utc_now
from portal.repositories import review
from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.enablement import set_enabled
from portal.repositories.models import Enablement, Repository
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.repositories.test_requests import enabled, repositories
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import principal_of

REVIEW = "/repositories/review"
__all__ = ["repositories"]


def enable_since(runtime: Runtime, cast: Cast, rows: list[Repository], days: int) -> None:
    set_enabled(runtime, principal_of(runtime, cast.owner), [row.id or 0 for row in rows], enabled=True)
    with runtime.database.transaction() as session:
        for row in session.exec(select(Enablement)):
            row.enabled_at = utc_now() - timedelta(days=days)


def actions(runtime: Runtime) -> list[str]:
    with runtime.database.reading() as session:
        return [event.action for event in session.exec(select(AuditEvent).order_by(col(AuditEvent.number)))]


def test_what_is_due_is_kept_or_disabled_by_those_who_may_and_never_by_itself(
    runtime: Runtime, cast: Cast, owner: Visitor, lead: Visitor, auditor: Visitor, repositories: list[Repository]
) -> None:
    first, second, elsewhere = repositories
    enable_since(runtime, cast, repositories, days=100)
    assert "Nothing is due" not in owner.get(REVIEW).text
    assert auditor.get(REVIEW).status_code == 404
    assert lead.post(f"{REVIEW}/schedule", {"months": "3"}).status_code == 404
    assert owner.post(f"{REVIEW}/schedule", {"months": "5"}).status_code == 400
    assert owner.post(f"{REVIEW}/schedule", {"months": "3"}).status_code == 303

    seen, all_of_it = lead.get(REVIEW).text, owner.get(REVIEW).text
    assert "<strong>2 of 2</strong>" in seen
    assert elsewhere.path_with_namespace.rpartition("/")[2] not in seen
    assert "<strong>3 of 3</strong>" in all_of_it
    assert "Olga Owner enabled it" in all_of_it
    assert lead.post(REVIEW, {"keep": str(first.id)}).status_code == 303
    # Of another group: ignored like an id that does not exist.
    assert lead.post(REVIEW, {"do": "disable", "repository_id": [str(elsewhere.id), "999999"]}).status_code == 303
    assert sorted(enabled(runtime)) == sorted(row.id or 0 for row in repositories)
    assert lead.post(REVIEW, {"do": "disable", "repository_id": [str(second.id)]}).status_code == 303
    assert sorted(enabled(runtime)) == sorted([first.id or 0, elsewhere.id or 0])

    assert "Nothing is due: all 1" in lead.get(REVIEW).text
    assert "Lea Lead kept it" in lead.get(f"{REVIEW}?all=1").text
    assert actions(runtime).count("repository.review_kept") == 1
    assert "repository.review_scheduled" in actions(runtime)
    file = owner.post(f"{REVIEW}/export", {"format": "csv"})
    assert file.text.splitlines()[0].startswith("connection,path,")
    assert f"{first.path_with_namespace}," in file.text
    assert "Lea Lead" in file.text
    with runtime.database.transaction() as session:
        for row in session.exec(select(Enablement)):
            row.reviewed_at = utc_now() - timedelta(days=92)
    assert "<strong>2 of 2</strong>" in owner.get(REVIEW).text


def test_pages_of_the_review_follow_each_other_without_loss(
    runtime: Runtime, cast: Cast, owner: Visitor, repositories: list[Repository], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "PAGE", 2)
    enable_since(runtime, cast, repositories, days=1)

    found = [entry.repository.id for entry in review.iterate_review(runtime, principal_of(runtime, cast.owner))]

    assert sorted(found) == sorted(row.id or 0 for row in repositories)
    assert "Show more" in owner.get(REVIEW).text
    for wrong in ("x", ",", "2026-01-01T00:00:00,1", "2026-01-01T00:00:00+00:00,99999999999999999999"):
        assert owner.get(REVIEW, query_string={"after": wrong}).status_code == 200


@pytest.mark.parametrize(("answer", "is_enabled"), [("enable", True), ("leave", False)])
def test_repository_that_is_created_again_under_its_path_is_asked_about_once(
    runtime: Runtime,
    sandbox: RunningSandbox,
    cast: Cast,
    owner: Visitor,
    lead: Visitor,
    repositories: list[Repository],
    answer: str,
    is_enabled: bool,
) -> None:
    old, other, elsewhere = repositories
    enable_since(runtime, cast, [old], days=1)
    path = old.path_with_namespace
    sandbox.world.delete_project(old.gitlab_project_id)
    new = sandbox.world.add_project(path)
    read_catalogue(runtime, old.connection_id, "job", lambda *_: None)
    with runtime.database.reading() as session:
        row = session.exec(select(Repository).where(Repository.gitlab_project_id == new.id)).one()

    assert list(enabled(runtime)) == [old.id]
    page = lead.get(REVIEW).text
    assert "Deleted and created again" in page
    assert "Review (1)" in lead.get("/repositories/?connection=gitlab").text
    question = f"{REVIEW}/again/{row.id}"
    assert lead.post(question, {"do": "other"}).status_code == 400
    assert lead.post(f"{REVIEW}/again/{elsewhere.id}", {"do": answer}).status_code == 404
    assert lead.post(f"{REVIEW}/again/{other.id}", {"do": answer}).status_code == 404
    assert lead.post(question, {"do": answer}).status_code == 303
    assert lead.post(question, {"do": answer}).status_code == 404
    read_catalogue(runtime, old.connection_id, "job", lambda *_: None)

    assert list(enabled(runtime)) == ([row.id] if is_enabled else [])
    assert "Deleted and created again" not in owner.get(REVIEW).text
    assert actions(runtime)[-1] == ("repository.enabled" if is_enabled else "repository.disabled")


Change = Callable[[RunningSandbox, Repository], None]


def rename(sandbox: RunningSandbox, row: Repository) -> None:
    sandbox.world.change_project(row.gitlab_project_id, path="renamed", name="Renamed")


def transfer(sandbox: RunningSandbox, row: Repository) -> None:
    sandbox.world.change_project(row.gitlab_project_id, group_id=sandbox.world.group("web").id)


def archive_and_back(sandbox: RunningSandbox, row: Repository) -> None:
    for archived in (True, False):
        sandbox.world.change_project(row.gitlab_project_id, archived=archived)


def archive(sandbox: RunningSandbox, row: Repository) -> None:
    sandbox.world.change_project(row.gitlab_project_id, archived=True)


@pytest.mark.parametrize(
    ("change", "path", "is_available"),
    [
        (rename, "{namespace}/renamed", True),
        (transfer, "web/{name}", True),
        (archive, "{namespace}/{name}", False),
        (archive_and_back, "{namespace}/{name}", True),
    ],
)
def test_enabled_repository_is_followed_by_its_id(
    runtime: Runtime,
    sandbox: RunningSandbox,
    cast: Cast,
    owner: Visitor,
    repositories: list[Repository],
    change: Change,
    path: str,
    is_available: bool,
) -> None:
    row = repositories[0]
    enable_since(runtime, cast, [row], days=1)
    namespace, _, name = row.path_with_namespace.rpartition("/")

    change(sandbox, row)
    read_catalogue(runtime, row.connection_id, "job", lambda *_: None)

    with runtime.database.reading() as session:
        now = session.get_one(Repository, row.id)
    assert now.path_with_namespace == path.format(namespace=namespace, name=name)
    assert list(enabled(runtime)) == [row.id]
    assert (now.unavailable_reason == "") == is_available
    assert "Deleted and created again" not in owner.get(REVIEW).text
