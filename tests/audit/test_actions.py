"""Every action writes exactly one event, with all its fields (S83): driven here by its own address if that is short,
otherwise by the services behind it; what needs its own world is in its own test folder.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from portal import CAPABILITIES
from portal.audit.models import RESULTS, AuditEvent
from portal.audit_log.filters import KINDS
from portal.copies.confirmation import confirm_running
from portal.credentials.machine import RefusedClient, RefusedGrant
from portal.credentials.methods import REFUSED
from portal.credentials.models import CredentialState
from portal.credentials.refresh import settle, take_claim
from portal.credentials.store import TIMES
from portal.db import utc_now
from portal.installation import mark_restored
from portal.jobs.testing import run_pending
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.settings import Settings
from portal.vault import KeyRing
from tests.accounts.support import give_password
from tests.audit.conftest import events_of
from tests.conftest import BASE_URL
from tests.security.conftest import World, make_world
from tests.support.paired import pair
from tests.support.people import PASSWORD, Cast, add_actor
from tests.support.visitor import Visitor
from tests.support.walkthrough import authorize, prepare, principal_of

ROOT = Path(__file__).parents[2]
ACTION = re.compile(r"[a-z_]+\.[a-z_]+")
WRITERS = {"record", "_record", "_audit"}
REQUEST_ID = re.compile(r"[0-9a-f]{16}")
CONNECTION = "/connections/{slug}"
NEW_PASSWORD = "another lantern over marsh"

# What the owner sends, and what it does; the placeholders are objects of their organization.
# What GitLab has to say something to first (`application.saved`, `application.checked`) is tested with the walkthrough.
BY_ADDRESS: dict[str, tuple[str, dict[str, str]]] = {
    "session.proved": ("/prove", {"password": PASSWORD}),
    "session.others_ended": ("/profile/sessions/end", {}),
    "person.renamed": ("/profile/name", {"name": "Olga Other"}),
    "member.invited": ("/members/invitations", {"email": "new@example.com", "role": "auditor"}),
    "member.invitation_withdrawn": ("/members/invitations/{invitation_id}/withdrawal", {}),
    "member.role_changed": ("/members/{membership_id}/role", {"role": "auditor"}),
    "member.removed": ("/members/{membership_id}/removal", {}),
    "job.stop": ("/jobs/{job}/stop", {}),
    "audit.exported": ("/audit/export", {"format": "csv"}),
    "audit.verify_requested": ("/audit/verification", {}),
    "connection.created": (
        "/connections/new",
        {"services": "repositories", "method": "oauth", "display_name": "Another"},
    ),
    "connection.renamed": (CONNECTION + "/name", {"display_name": "Renamed {slug}"}),
    "connection.instance_changed": (CONNECTION + "/setup/instance", {"domain": "gitlab.example.com"}),
    "gitlab_server.gateway_changed": (
        "/servers/{server_id}",
        {"header_name": "X-Gateway", "header_value": "opensesame"},
    ),
    "connection.service_user_changed": (CONNECTION + "/setup/service-user", {"service_username": "bot"}),
    "connection.services_changed": (CONNECTION + "/setup/services", {"services": "issues"}),
    "authorization.started": (CONNECTION + "/authorization", {}),
    "catalogue.read_requested": (CONNECTION + "/catalogue", {}),
    "repository.enabled": ("/repositories/enable", {"repository_id": "{repository}"}),
    "health.check_requested": (CONNECTION + "/health/checks", {}),
    "support_bundle.taken": (CONNECTION + "/health/support-bundle", {}),
}


@pytest.fixture
def backend() -> str:
    """Another test covers how an event is written to each database; this one covers which."""
    return "sqlite"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path, ring: KeyRing) -> Iterator[World]:
    """One application for all actions: each checks the events that it made itself."""
    settings = Settings(base_url=BASE_URL, data_dir=tmp_path_factory.mktemp("world"))
    world = make_world(settings, migrated_file, ring)
    yield world
    world.runtime.database.close()


def events_after(runtime: Runtime, number: int, action: str) -> list[AuditEvent]:
    statement = select(AuditEvent).where(AuditEvent.number > number, AuditEvent.action == action)
    with runtime.database.reading() as session:
        return list(session.exec(statement))


def only_event(runtime: Runtime, number: int, action: str) -> AuditEvent:
    (event,) = events_after(runtime, number, action)
    assert event.at.tzinfo is not None
    assert event.object_type
    assert event.object_name or event.object_id or event.object_type == "audit_log"
    assert event.result in RESULTS
    return event


def newest(runtime: Runtime) -> int:
    return max((event.number for event in events_of(runtime)), default=0)


@pytest.mark.parametrize("action", BY_ADDRESS)
def test_request_writes_exactly_one_event_with_all_fields(world: World, action: str) -> None:
    names, visitor = world.names(world.cast.owner, "own"), world.signed_in()
    before = newest(world.runtime)
    path, form = BY_ADDRESS[action]

    answer = visitor.post(
        path.format(**names), {name: text.format(**names) for name, text in form.items()}, buffered=True
    )

    assert answer.status_code < 400 or answer.status_code == 422, answer.text
    event = only_event(world.runtime, before, action)
    assert (event.result, event.organization_id, event.actor.user_id) == ("ok", 1, world.cast.owner.user_id)
    assert event.actor_name.startswith("Olga")
    assert (event.source_address, event.user_agent[:8]) == ("127.0.0.1", "Werkzeug")
    assert REQUEST_ID.fullmatch(event.request_id)
    assert PASSWORD not in event.model_dump_json()


def test_disabling_is_recorded_after_enabling(world: World) -> None:
    names, visitor = world.names(world.cast.owner, "own"), world.signed_in()
    form = {"repository_id": names["repository"]}
    before = newest(world.runtime)

    visitor.post("/repositories/enable", form)
    visitor.post("/repositories/disable", form)

    event = only_event(world.runtime, before, "repository.disabled")
    assert event.foreign_fields == ["object_name", "details.path"]


def test_draft_that_is_discarded_is_recorded(world: World) -> None:
    visitor, before = world.signed_in(), newest(world.runtime)
    made = visitor.post(
        "/connections/new", {"services": "repositories", "method": "oauth", "display_name": "Draft"}
    ).headers["Location"]

    visitor.post(made.removesuffix("/instance") + "/cancel")

    assert only_event(world.runtime, before, "connection.discarded").object_name == "Draft"


def test_refusal_of_a_right_is_recorded(world: World) -> None:
    before = newest(world.runtime)

    world.signed_in(world.cast.auditor).post(
        "/connections/new", {"services": "repositories", "method": "oauth", "display_name": "x"}
    )

    event = only_event(world.runtime, before, "access.refused")
    assert (event.result, event.object_id, event.actor_name) == ("refused", "/connections/new", "Aud Auditor")


@pytest.mark.parametrize(
    ("password", "action", "result"), [(PASSWORD, "session.started", "ok"), ("wrong one", "session.refused", "refused")]
)
def test_both_outcomes_of_a_sign_in_are_recorded(world: World, password: str, action: str, result: str) -> None:
    before = newest(world.runtime)

    give_password(Visitor(world.app), world.cast.lead, password=password)

    event = only_event(world.runtime, before, action)
    assert (event.result, event.object_name, event.source_address) == (result, "lea@example.com", "127.0.0.1")


def test_new_password_is_recorded_without_it(world: World) -> None:
    actor = add_actor(world.runtime, 1, "Pat Person", world.cast.lead.role)
    before = newest(world.runtime)

    world.signed_in(actor).post("/profile/password", {"password": PASSWORD, "new_password": NEW_PASSWORD})

    event = only_event(world.runtime, before, "password.changed")
    assert event.actor.user_id == actor.user_id
    assert NEW_PASSWORD not in event.model_dump_json()


def test_invitation_that_is_accepted_is_recorded(world: World) -> None:
    page = world.signed_in().post("/members/invitations", {"email": "joins@example.com", "role": "auditor"}).text
    link = re.search(r"/invitations/[\w-]+", page)
    assert link
    before = newest(world.runtime)

    Visitor(world.app).post(link[0], {"name": "Jo Joins", "password": NEW_PASSWORD})

    event = only_event(world.runtime, before, "member.joined")
    assert (event.actor_name, event.details) == ("Jo Joins", {"role": "auditor"})


def test_authorization_and_the_tokens_it_replaces_are_recorded(
    runtime: Runtime, cast: Cast, owner: Visitor, sandbox: RunningSandbox
) -> None:
    slug = prepare(runtime, sandbox, cast.owner).slug
    authorize(owner, sandbox, slug)
    first = only_event(runtime, 0, "connection.authorized")
    authorize(owner, sandbox, slug)
    run_pending(runtime)

    again = only_event(runtime, first.number, "connection.authorized")
    assert sorted(again.foreign_fields) == ["details.gitlab_username", "details.scopes"]
    assert again.details["gitlab_username"] == "gatehouse"
    revoked = events_after(runtime, first.number, "token.revoked")
    assert {event.actor_name for event in revoked} == {"Gatehouse"}
    assert revoked


def test_refresh_and_each_verdict_are_recorded(runtime: Runtime, cast: Cast, sandbox: RunningSandbox) -> None:
    paired = pair(runtime, sandbox, cast.owner.organization_id)
    paired.make_due()
    paired.demand()
    event = only_event(runtime, 0, "credential.refreshed")
    assert (event.actor_name, event.result, event.object_name) == ("Gatehouse", "ok", "Gitlab")

    long_ago = utc_now() - timedelta(hours=1)
    refused = {"refusals": 6, "refused_at": long_ago, "client_refusals": 6, "client_refused_at": long_ago}
    for state, spent, refusal in (
        (CredentialState.SECRET_CHANGED, False, RefusedClient()),
        (CredentialState.REVOKED, False, RefusedGrant()),
        (CredentialState.LOST, True, RefusedGrant()),
    ):
        paired.change(state=CredentialState.ALIVE, may_be_spent=spent, expires_at=long_ago, **refused)
        paired.make_due()
        claim = take_claim(runtime, paired.connection_id, "test", TIMES)
        assert claim is not None
        settle(runtime, claim, refusal, REFUSED)
        assert only_event(runtime, event.number, f"credential.{state}").result == "failed"


def test_confirming_a_restore_is_recorded(runtime: Runtime, cast: Cast) -> None:
    with runtime.database.transaction() as session:
        mark_restored(session, backup_made_at=None)

    confirm_running(runtime, principal_of(runtime, cast.owner))

    # Every organization finds it in its own log.
    found = events_after(runtime, 0, "portal.restore_confirmed")
    assert sorted((event.organization_id, event.actor_name) for event in found) == [
        (1, "Olga Owner"),
        (2, "Olga Owner"),
    ]


def recorded_actions() -> set[str]:
    """Return every action that the product's code names where it records."""
    found: set[str] = set()
    for path in (ROOT / "portal").rglob("*.py"):
        if {"sandbox", "versions"} & set(path.parts):
            continue
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and name_of(call.func) in WRITERS:
                found |= {text for text in texts_in(call) if ACTION.fullmatch(text)}
    return found


def name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def texts_in(call: ast.Call) -> Iterator[str]:
    for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
        for node in ast.walk(argument):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_action_is_named_by_a_test() -> None:
    text = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))

    assert len(recorded_actions()) > 40
    assert [action for action in sorted(recorded_actions()) if f'"{action}"' not in text] == []


def test_every_action_has_a_sentence() -> None:
    assert recorded_actions() - set(CAPABILITIES.actions) == set()


def test_every_action_is_of_one_kind() -> None:
    for action in CAPABILITIES.actions:
        assert len([kind for kind, starts in KINDS.items() if action.startswith(starts)]) == 1, action
