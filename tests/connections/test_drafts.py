"""Names of connections, the plan, and discarding drafts."""

from __future__ import annotations

import pytest
from sqlmodel import select

from portal.accounts.models import Organization
from portal.audit.models import AuditEvent
from portal.connections.models import Application, Connection, Method
from portal.connections.store import create_draft
from portal.credentials import demand_access
from portal.errors import InvalidInput
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.accounts.at_once import crowd
from tests.accounts.support import BOTH_DATABASES
from tests.connections.drafts import connection_named, draft
from tests.security.tables import digests
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared, authorize, principal_of


def test_draft_is_made_with_a_slug_that_stays_when_it_is_renamed(runtime: Runtime, owner: Visitor) -> None:
    slug = draft(owner, "Our GitLab")

    owner.post(f"/connections/{slug}/name", {"display_name": "Another name"})

    renamed = connection_named(runtime, "Another name")
    assert renamed is not None
    assert renamed.slug == slug == "our-gitlab"


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\x07b"])
def test_name_that_cannot_be_used_is_422_and_makes_nothing(runtime: Runtime, owner: Visitor, name: str) -> None:
    answer = owner.post("/connections/new", {"services": "repositories", "method": "oauth", "display_name": name})

    assert answer.status_code == 422
    with runtime.database.reading() as session:
        assert session.exec(select(Connection)).all() == []


def test_name_is_unique_in_the_organization_only(owner: Visitor, outsider: Visitor) -> None:
    draft(owner, "GitLab")

    again = owner.post("/connections/new", {"services": "repositories", "method": "oauth", "display_name": "gitlab"})
    elsewhere = outsider.post(
        "/connections/new", {"services": "repositories", "method": "oauth", "display_name": "GitLab"}
    )

    assert again.status_code == 422
    assert "is taken" in again.text
    assert elsewhere.status_code == 303


def lose_the_plan(runtime: Runtime) -> None:
    with runtime.database.transaction() as session:
        session.get_one(Organization, 1).plan = "basic"


def test_plan_without_it_says_what_is_missing_and_whom_to_ask_wherever_a_gitlab_is_connected(
    runtime: Runtime, owner: Visitor, administrator: Visitor, prepared: Prepared
) -> None:
    lose_the_plan(runtime)
    draft = f"/connections/{prepared.slug}"
    pages = ["/connections/new", f"{draft}/setup", f"{draft}/setup/authorize", f"{draft}/hand-over/application"]
    pages += [f"{draft}/setup/{step}" for step in ("purpose", "instance", "application", "service-user", "credentials")]
    forms = {
        "/connections/new": {"services": "repositories", "method": "oauth", "display_name": "Another"},
        f"{draft}/setup/instance": {"domain": "gitlab.example.com"},
        f"{draft}/setup/application": {"application_id": "a" * 64, "secret": "gloas-" + "b" * 64},
        f"{draft}/setup/service-user": {"service_username": "another"},
        f"{draft}/name": {"display_name": "Another"},
        f"{draft}/authorization": {},
        f"{draft}/hand-over/authorize": {"recipient": "Mads Hansen", "days": "3"},
    }
    before = digests(runtime.database, frozenset({"session"}))

    answers = [owner.get(page) for page in pages] + [owner.post(path, form) for path, form in forms.items()]

    assert {answer.status_code for answer in answers} == {403}
    assert all("Your plan does not include self-hosted GitLab" in answer.text for answer in answers)
    assert digests(runtime.database, frozenset({"session"})) == before
    assert "whoever runs this portal" in owner.get("/connections/").text
    assert "Olga Owner</a>." in administrator.get("/connections/").text
    assert owner.post(f"{draft}/setup/cancel").status_code == 303


def test_connection_in_use_keeps_working_without_the_plan_and_under_another_name(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, live: Prepared
) -> None:
    lose_the_plan(runtime)
    for _ in range(2):
        assert owner.post(f"/connections/{live.slug}/name", {"display_name": "Another name"}).status_code == 303

    assert owner.get(f"/connections/{live.slug}/setup/application").status_code == 200
    assert owner.post(f"/connections/{live.slug}/catalogue").status_code == 303
    assert authorize(owner, sandbox, live.slug).status_code == 303
    token = demand_access(runtime, live.connection.id, reason="test").token.reveal()
    assert sandbox.world.oauth.find_access_token(token) is not None
    with runtime.database.reading() as session:
        renamed = session.exec(select(AuditEvent).where(AuditEvent.action == "connection.renamed")).all()
    assert [(event.object_name, event.details) for event in renamed] == [("Another name", {"old": "GitLab"})]


@BOTH_DATABASES
def test_name_that_many_want_at_once_is_given_to_one(runtime: Runtime, cast: Cast) -> None:
    principal = principal_of(runtime, cast.owner)

    def make(name: str) -> str:
        try:
            create_draft(runtime, principal, name, Method.OAUTH)
        except InvalidInput as error:
            return error.field_errors["display_name"].partition("”")[2]
        return "made"

    names = ["Äpfel", "äpfel", "ÄPFEL", "A\u0308pfel"]
    made = crowd(runtime.database, "connection", *(lambda name=name: make(name) for name in names))

    assert sorted(made) == [" is taken. Choose a name that tells the two apart."] * 3 + ["made"]


@BOTH_DATABASES
def test_name_whose_characters_stand_for_many_is_422(owner: Visitor) -> None:
    answer = owner.post(
        "/connections/new", {"services": "repositories", "method": "oauth", "display_name": "\ufdfa" * 100}
    )

    assert answer.status_code == 422


def test_cancel_asks_and_discards(runtime: Runtime, owner: Visitor, prepared: Prepared) -> None:
    asked = owner.get(f"/connections/{prepared.slug}/setup/cancel")
    still_there = connection_named(runtime, "GitLab")
    owner.post(f"/connections/{prepared.slug}/setup/cancel")

    assert "Discard draft" in asked.text
    assert still_there is not None
    assert connection_named(runtime, "GitLab") is None
    with runtime.database.reading() as session:
        assert session.exec(select(Application)).all() == []
