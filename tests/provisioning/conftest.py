from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
from sqlmodel import select
from werkzeug.test import TestResponse

from portal.audit.models import AuditEvent
from portal.connections import checklist, instance, store
from portal.connections.models import Application, Connection, Method
from portal.provisioning.models import ProvisioningRun
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import principal_of

SLUG = "gitlab"
SETUP = f"/connections/{SLUG}/setup"


@dataclass
class Draft:
    """A draft whose instance was checked, and whoever fills it in."""

    runtime: Runtime
    sandbox: RunningSandbox
    owner: Visitor

    def create(self, token: str, path: str = "create", **entries: Any) -> TestResponse:
        """Press *Make these calls* with what the page listed for these entries."""
        form = {} if path == "create-own" else {"service_username": "gatehouse", "groups": ""}
        form |= {"revoke": "1", **entries}
        if form.get("revoke") is None:
            del form["revoke"]
        if path == "create":
            query = {name: value for name, value in form.items() if name != "revoke"}
            page = self.owner.get(f"{SETUP}/create/plan", query_string=query, htmx=True).text
        else:
            page = self.owner.get(f"{SETUP}/{path}").text
        shown = re.search(r'name="shown" value="(\w+)"', page)
        assert shown, page
        return self.owner.post(f"{SETUP}/{path}", {**form, "one_time_token": token, "shown": shown[1]})

    def page(self, path: str = "create") -> str:
        return self.owner.get(f"{SETUP}/{path}").text

    def run(self) -> ProvisioningRun:
        with self.runtime.database.reading() as session:
            return session.exec(select(ProvisioningRun)).one()

    def outcomes(self) -> list[tuple[str, str]]:
        return [(result["step"], result["outcome"]) for result in self.run().results]

    def failure(self) -> str:
        """Return code and case of what the newest run failed with."""
        card = self.run().results[-1]["card"]
        return "/".join(filter(None, (card["code"], card["params"].get("case", ""))))

    def connection(self) -> Connection:
        with self.runtime.database.reading() as session:
            return session.exec(select(Connection)).one()

    def application(self) -> Application:
        with self.runtime.database.reading() as session:
            return session.exec(select(Application)).one()

    def events(self) -> list[AuditEvent]:
        with self.runtime.database.reading() as session:
            return list(session.exec(select(AuditEvent).order_by(AuditEvent.number)))


@pytest.fixture
def sandbox_options() -> dict[str, Any]:
    return {}


@pytest.fixture
def sandbox(sandbox_options: dict[str, Any]) -> Any:
    """An empty GitLab: without a service user."""
    with RunningSandbox(**sandbox_options) as running:
        yield running


@pytest.fixture
def draft(runtime: Runtime, sandbox: RunningSandbox, cast: Cast, owner: Visitor) -> Draft:
    principal = principal_of(runtime, cast.owner)
    assert store.create_draft(runtime, principal, "GitLab", Method.OAUTH).slug == SLUG
    instance.save_instance(runtime, principal, SLUG, instance.Entered(sandbox.url))
    assert checklist.run_checklist(runtime, principal, SLUG).is_passed
    return Draft(runtime, sandbox, owner)
