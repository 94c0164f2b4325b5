"""Changing a connection that is in use: what works keeps working until something better is known to work."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlmodel import select

from portal.accounts.models import SessionRecord
from portal.audit.models import AuditEvent
from portal.connections import applications, store
from portal.connections.instance import Entered, save_instance
from portal.connections.models import Connection, ConnectionState
from portal.connections.store import note_version
from portal.db import utc_now
from portal.errors import Conflict
from portal.foreign import ShortText
from portal.gitlab.answers import Metadata
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.connections.drafts import connection_named, draft
from tests.connections.peers import PAGE, Peer, serving
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared, prepare, principal_of

WRONG = "gloas-" + "0" * 64


def stored_secret(runtime: Runtime) -> str:
    connection = connection_named(runtime, "GitLab")
    return store.open_client_credentials(runtime, connection).client_secret.reveal()


def actions(runtime: Runtime) -> list[tuple[str, str]]:
    with runtime.database.reading() as session:
        return [(event.action, event.result) for event in session.exec(select(AuditEvent))]


def test_refused_secret_leaves_the_one_that_works(runtime: Runtime, owner: Visitor, live: Prepared) -> None:
    form = {"application_id": live.application.uid, "secret": WRONG}

    answer = owner.post(f"/connections/{live.slug}/setup/credentials", form)

    assert answer.status_code == 422
    assert "What was stored before is kept" in answer.text
    assert stored_secret(runtime) == live.secret
    assert connection_named(runtime, "GitLab").state == ConnectionState.CONNECTED
    assert ("application.checked", "failed") in actions(runtime)


def test_gitlab_that_is_down_leaves_the_secret_that_works(
    runtime: Runtime, owner: Visitor, live: Prepared, sandbox: RunningSandbox
) -> None:
    sandbox.stop()

    answer = owner.post(
        f"/connections/{live.slug}/setup/credentials", {"application_id": live.application.uid, "secret": WRONG}
    )

    assert answer.status_code == 422
    assert stored_secret(runtime) == live.secret


def test_other_domain_needs_attention_and_forgets_the_version(runtime: Runtime, owner: Visitor, live: Prepared) -> None:
    with runtime.database.transaction() as session:
        session.get_one(Connection, live.connection.id).version_seen = "8.17.0"

    owner.post(f"/connections/{live.slug}/setup/instance", {"domain": "other.example.com"})

    moved = connection_named(runtime, "GitLab")
    assert moved.state == ConnectionState.NEEDS_ATTENTION
    assert moved.attention["code"] == "address_changed"
    assert moved.version_seen == ""


def test_wider_services_lead_to_a_new_authorization(runtime: Runtime, owner: Visitor, live: Prepared) -> None:
    form = {"services": ["repositories", "merge_requests", "issues"], "hooks_wanted": "y"}

    answer = owner.post(f"/connections/{live.slug}/setup/services", form)

    assert answer.headers["Location"].endswith("/setup/authorize")
    attention = connection_named(runtime, "GitLab").attention
    assert attention["code"] == "missing_scopes"
    assert attention["params"] == {"scopes": "api"}
    assert "Authorize again" in owner.get(f"/connections/{live.slug}").text


def test_other_service_user_needs_a_new_authorization(runtime: Runtime, owner: Visitor, live: Prepared) -> None:
    owner.post(f"/connections/{live.slug}/setup/service-user", {"service_username": "somebody-else"})

    attention = connection_named(runtime, "GitLab").attention
    assert attention["code"] == "wrong_user"
    assert attention["params"]["expected"] == "somebody-else"


def test_address_changed_while_gitlab_is_asked_voids_the_verdict(
    runtime: Runtime, live: Prepared, sandbox: RunningSandbox, cast: Cast
) -> None:
    principal = principal_of(runtime, cast.owner)
    sandbox.requests.clear()
    sandbox.faults.add("/oauth/token", delay_seconds=0.5, times=1)
    raised: list[Exception] = []

    def save() -> None:
        try:
            applications.save_credentials(runtime, principal, live.slug, live.application.uid, live.secret)
        except Conflict as error:
            raised.append(error)

    asking = threading.Thread(target=save)
    asking.start()
    sandbox.requests.wait_for("/oauth/token")
    save_instance(runtime, principal, live.slug, Entered("other.example.com"))
    asking.join()

    assert len(raised) == 1
    assert "application" not in connection_named(runtime, "GitLab").steps_done


def test_secret_is_sent_to_nothing_that_is_not_known_to_be_gitlab(runtime: Runtime, owner: Visitor) -> None:
    slug = draft(owner)
    with serving(runtime, Peer(api=PAGE)) as peer:
        owner.post(f"/connections/{slug}/setup/instance", {"domain": peer.url})
        owner.post(f"/connections/{slug}/setup/instance/checks", htmx=True)
        answer = owner.post(
            f"/connections/{slug}/setup/credentials", {"application_id": "a" * 64, "secret": "canary" + "b" * 58}
        )

    assert answer.headers["Location"].endswith("/setup/instance")
    assert peer.bodies == []


def test_secrets_are_not_guessed_faster_than_five_a_minute(
    runtime: Runtime, owner: Visitor, sandbox: RunningSandbox, cast: Cast
) -> None:
    prepared = prepare(runtime, sandbox, cast.owner)
    form = {"application_id": prepared.application.uid, "secret": WRONG}

    statuses = [owner.post(f"/connections/{prepared.slug}/setup/credentials", form).status_code for _ in range(6)]

    assert statuses == [422, 422, 422, 422, 429, 429]


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("instance/checks", {}),
        ("application", {}),
        ("service-user", {"service_username": "gatehouse"}),
        ("credentials", {"application_id": "a" * 64, "secret": "b" * 64}),
    ],
)
def test_later_step_of_a_fresh_draft_leads_to_the_first(owner: Visitor, path: str, form: dict[str, str]) -> None:
    slug = draft(owner)

    answer = owner.post(f"/connections/{slug}/setup/{path}", form)

    assert (answer.status_code, answer.headers["Location"]) == (303, f"/connections/{slug}/setup/instance")


@pytest.mark.parametrize(("first", "second"), [("Äpfel", "äPFEL"), ("Äpfel", "A\u0308pfel"), ("ﬁre", "Fire")])
def test_names_that_people_take_for_the_same_are_422(owner: Visitor, first: str, second: str) -> None:
    draft(owner, first)

    again = owner.post("/connections/new", {"services": "repositories", "method": "oauth", "display_name": second})

    assert again.status_code == 422
    assert "is taken" in again.text


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/name", {"display_name": "x" * 300}),
        ("/setup/service-user", {"service_username": "x" * 300}),
        ("/setup/credentials", {"application_id": "x" * 3000, "secret": "y" * 64}),
        ("/setup/services", {"services": "everything"}),
    ],
)
def test_form_that_cannot_be_accepted_is_422(owner: Visitor, live: Prepared, path: str, form: dict[str, str]) -> None:
    assert owner.post(f"/connections/{live.slug}{path}", form).status_code == 422


def test_changes_of_a_live_connection_want_the_password_again(runtime: Runtime, owner: Visitor, live: Prepared) -> None:
    let_proof_age(runtime)

    answers = [
        owner.post(f"/connections/{live.slug}/setup/instance", {"domain": "other.example.com"}),
        owner.get(f"/connections/{live.slug}/setup/credentials"),
        owner.post(f"/connections/{live.slug}/setup/credentials", {"application_id": "a" * 64, "secret": "b" * 64}),
        owner.post(f"/connections/{live.slug}/hand-over/application", {"recipient": "Mads Hansen", "days": "3"}),
    ]

    assert [answer.status_code for answer in answers] == [401] * 4
    assert connection_named(runtime, "GitLab").external_url == live.connection.external_url


def let_proof_age(runtime: Runtime) -> None:
    with runtime.database.transaction() as session:
        for row in session.exec(select(SessionRecord)):
            row.proved_at = utc_now() - timedelta(minutes=6)


def test_list_offers_another_gitlab_beside_the_first(owner: Visitor, live: Prepared) -> None:
    assert "Connect a GitLab" in owner.get("/connections/").text


def test_version_told_after_the_authorization_reaches_the_checks_of_before(
    runtime: Runtime, owner: Visitor, live: Prepared
) -> None:
    page = f"/connections/{live.slug}/setup/instance"
    before = owner.get(page).text
    note_version(runtime, live.connection.id, Metadata(version=ShortText("18.4.1-ee"), enterprise=True))

    after = owner.get(page).text
    note_version(runtime, live.connection.id, Metadata(version=ShortText("8.17.0")))
    too_old = owner.get(page).text

    assert "GitLab reports its version only to those who have access." in before
    assert "18.4.1-ee EE." in after
    assert "only to those who have access" not in after
    assert "Gatehouse needs 9.0 or newer" in too_old
