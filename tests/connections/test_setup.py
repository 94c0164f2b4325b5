"""The walkthrough as a whole: the application's values, the service user, order, rights and the audit log."""

from __future__ import annotations

import pytest
from sqlmodel import select

from portal.audit.models import AuditEvent
from portal.runtime import Runtime
from tests.connections.drafts import connection_named, draft
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared


def test_application_page_shows_the_values_in_gitlabs_order(owner: Visitor, prepared: Prepared) -> None:
    page = owner.get(f"/connections/{prepared.slug}/setup/application").text

    order = [
        page.index(text)
        for text in (
            ">Name</dt>",
            ">Redirect URI</dt>",
            "<dt>Trusted</dt><dd><strong>Your choice",
            "<dt>Confidential",
            ">Scopes</dt>",
        )
    ]
    assert order == sorted(order)
    assert f"http://127.0.0.1:8000/oauth/callback/{prepared.slug}" in page.replace("<wbr>", "")


@pytest.mark.parametrize("username", ["", "a", "two words", "x" * 256, "<b>"])
def test_user_name_that_gitlab_cannot_have_is_422(owner: Visitor, prepared: Prepared, username: str) -> None:
    answer = owner.post(f"/connections/{prepared.slug}/setup/service-user", {"service_username": username})

    assert answer.status_code == 422


def test_service_user_may_be_typed_with_its_at_sign(runtime: Runtime, owner: Visitor, prepared: Prepared) -> None:
    owner.post(f"/connections/{prepared.slug}/setup/service-user", {"service_username": " @portal-bot "})

    assert connection_named(runtime, "GitLab").service_username == "portal-bot"


def test_later_step_leads_to_the_first_open_one(owner: Visitor) -> None:
    slug = draft(owner)

    for step in ("application", "service-user", "authorize", "repositories", "finished"):
        answer = owner.get(f"/connections/{slug}/setup/{step}")
        assert answer.headers["Location"] == f"/connections/{slug}/setup/instance"
    assert owner.get(f"/connections/{slug}/setup").headers["Location"].endswith("/setup/instance")
    former = {"credentials": "application", "services": "purpose"}
    for address, step in former.items():
        assert owner.get(f"/connections/{slug}/setup/{address}").headers["Location"].endswith(f"/setup/{step}")


def test_every_change_leaves_an_audit_row_without_secrets(runtime: Runtime, prepared: Prepared) -> None:
    with runtime.database.reading() as session:
        events = session.exec(select(AuditEvent)).all()

    assert [event.action for event in events] == [
        "connection.created",
        "connection.instance_changed",
        "connection.service_user_changed",
        "application.checked",
        "application.saved",
    ]
    assert prepared.secret not in str([event.details for event in events])


@pytest.mark.parametrize(
    "path", ["", "/setup", "/setup/instance", "/setup/application", "/setup/credentials", "/setup/cancel"]
)
def test_connection_of_another_organization_looks_missing(outsider: Visitor, prepared: Prepared, path: str) -> None:
    foreign = outsider.get(f"/connections/{prepared.slug}{path}")
    missing = outsider.get(f"/connections/nothing-here{path}")

    assert foreign.status_code == missing.status_code == 404


def test_lead_and_auditor_see_but_do_not_change(lead: Visitor, auditor: Visitor, prepared: Prepared) -> None:
    for visitor in (lead, auditor):
        assert visitor.get(f"/connections/{prepared.slug}").status_code == 200
        assert visitor.get("/connections/new").status_code == 404
        assert visitor.post(f"/connections/{prepared.slug}/name", {"display_name": "x"}).status_code == 404
        assert visitor.get(f"/connections/{prepared.slug}/setup/credentials").status_code == 404


def test_secret_is_on_no_page(owner: Visitor, prepared: Prepared) -> None:
    for path in ("", "/settings", "/setup/application"):
        assert prepared.secret not in owner.get(f"/connections/{prepared.slug}{path}").text
