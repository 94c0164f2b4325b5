"""Application ID and Secret, in step 3 and later, and what GitLab says about them."""

from __future__ import annotations

import pytest
from flask import Flask

from portal.connections.checklist import wanted_scopes
from portal.connections.models import Connection, ConnectionState
from portal.connections.store import open_client_credentials, redirect_uri_of
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.accounts.support import form_on, let_time_pass
from tests.connections.drafts import application_of, connection_named, draft
from tests.support.people import PASSWORD
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared

WRONG = "gloas-" + "0" * 64


def test_accepted_credentials_are_sealed_and_go_on(runtime: Runtime, owner: Visitor, prepared: Prepared) -> None:
    answer = owner.post(
        f"/connections/{prepared.slug}/setup/credentials",
        {
            "application_id": f"\ufeff {prepared.application.uid}\n",
            "secret": f"\u00a0{prepared.secret} \u200b",
        },
    )

    assert answer.headers["Location"].endswith("/setup/service-user")
    stored = application_of(runtime, prepared.connection)
    assert prepared.secret.encode() not in stored.client_secret_sealed
    assert stored.checked_at is not None
    assert connection_named(runtime, "GitLab").state == ConnectionState.AWAITING_AUTHORIZATION


def test_wrong_secret_is_told_here_and_not_after_the_popup(owner: Visitor, sandbox: RunningSandbox) -> None:
    slug = draft(owner)
    setup = f"/connections/{slug}/setup"
    owner.post(f"{setup}/instance", {"domain": sandbox.url})
    owner.post(f"{setup}/instance/checks")

    answer = owner.post(f"{setup}/credentials", {"application_id": "a" * 64, "secret": "gloas-" + "0" * 64})

    assert answer.status_code == 422
    assert "does not accept this Application ID with this Secret" in answer.text
    assert owner.get(f"{setup}/authorize").headers["Location"].endswith("/application")


@pytest.mark.parametrize(
    ("application_id", "secret", "sentence"),
    [
        ("gloas-" + "1" * 64, "x" * 64, "That is the Secret"),
        ("a" * 64, "glpat-abcdefghijklmnop", "personal access token"),
        ("a" * 64, "https://gitlab.example.com/oauth/applications/7", "That is an address"),
        ("a" * 64, "a" * 64, "That is the Application ID"),
        ("", "x" * 64, "Paste the Application ID"),
        ("a" * 64, "x y" * 20, "no blanks"),
        ("a" * 64, "gloas-\u200b" + "x" * 58, "an invisible character in the middle"),
        ("a" * 30 + "\ufeff" + "a" * 34, "x" * 64, "invisible character (U+FEFF)"),
    ],
)
def test_usual_paste_mistakes_are_named(
    owner: Visitor, prepared: Prepared, application_id: str, secret: str, sentence: str
) -> None:
    answer = owner.post(
        f"/connections/{prepared.slug}/setup/credentials", {"application_id": application_id, "secret": secret}
    )

    assert answer.status_code == 422
    assert sentence in answer.text
    assert secret not in answer.text or secret == application_id
    assert "gloas-" not in answer.text


def test_empty_secret_keeps_the_stored_one(runtime: Runtime, owner: Visitor, prepared: Prepared) -> None:
    before = application_of(runtime, prepared.connection).client_secret_sealed

    answer = owner.post(
        f"/connections/{prepared.slug}/setup/credentials", {"application_id": prepared.application.uid, "secret": ""}
    )

    assert answer.status_code == 303
    assert application_of(runtime, prepared.connection).client_secret_sealed == before


@pytest.mark.parametrize("is_down", [False, True])
def test_accepted_secret_of_a_draft_stays_until_gitlab_accepts_another(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared, is_down: bool
) -> None:
    if is_down:
        sandbox.stop()

    form = {"application_id": prepared.application.uid, "secret": WRONG}
    answer = owner.post(f"/connections/{prepared.slug}/setup/credentials", form)

    assert answer.status_code == 422
    assert "What was stored before is kept" in answer.text
    connection = connection_named(runtime, "GitLab")
    assert open_client_credentials(runtime, connection).client_secret.reveal() == prepared.secret
    assert "application" in connection.steps_done


def test_connection_that_was_not_looked_at_is_before_its_secret_is_sent(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, live: Prepared
) -> None:
    with runtime.database.transaction() as session:
        session.get_one(Connection, live.connection.id).checks = None
    sandbox.requests.clear()

    form = {"application_id": live.application.uid, "secret": live.secret}
    answer = owner.post(f"/connections/{live.slug}/setup/credentials", form)

    assert answer.status_code == 303
    asked = [request.path for request in sandbox.requests.all()]
    assert asked.index("/api/v4/version") < asked.index("/oauth/token")


def test_connection_that_cannot_be_looked_at_keeps_its_secret_to_itself(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, live: Prepared
) -> None:
    with runtime.database.transaction() as session:
        session.get_one(Connection, live.connection.id).checks = None
    sandbox.stop()

    form = {"application_id": "b" * 64, "secret": live.secret}
    answer = owner.post(f"/connections/{live.slug}/setup/credentials", form)

    assert answer.status_code == 422
    assert "connect_failed" in answer.text
    assert f'value="{"b" * 64}"' in answer.text
    assert live.secret not in answer.text


def test_other_application_of_a_live_connection_needs_a_new_authorization(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, live: Prepared
) -> None:
    uri, scopes = redirect_uri_of(runtime, live.connection), tuple(wanted_scopes(live.connection))
    other, secret = sandbox.world.oauth.create_application("Another", uri, scopes, trusted=True)

    form = {"application_id": other.uid, "secret": str(secret)}
    assert owner.post(f"/connections/{live.slug}/setup/credentials", form).status_code == 303

    changed = connection_named(runtime, "GitLab")
    assert (changed.state, changed.attention["code"]) == (ConnectionState.NEEDS_ATTENTION, "application_changed")


def test_too_many_tries_keep_the_application_id_and_tell_when(owner: Visitor, prepared: Prepared) -> None:
    form = {"application_id": "q" * 64, "secret": WRONG}

    answers = [owner.post(f"/connections/{prepared.slug}/setup/credentials", form) for _ in range(5)]

    assert answers[-1].status_code == 429
    assert f'value="{"q" * 64}"' in answers[-1].text
    assert answers[-1].headers["Retry-After"] == "60"


def test_question_for_the_password_loses_nothing_but_the_secret_and_says_so(
    app: Flask, owner: Visitor, live: Prepared
) -> None:
    let_time_pass(app, minutes=6)
    form = {"application_id": "z" * 64, "secret": "gloas-canary"}

    asked = owner.post(f"/connections/{live.slug}/setup/credentials", form)
    action, hidden = form_on(asked)
    page = owner.get(owner.post(action, {**hidden, "password": PASSWORD}).headers["Location"]).text

    assert asked.status_code == 401
    assert f'value="{"z" * 64}"' in page
    assert "Paste the Secret once more" in page
    assert "canary" not in asked.text + page


def test_draft_never_wants_the_password(app: Flask, owner: Visitor, prepared: Prepared) -> None:
    let_time_pass(app, minutes=6)

    form = {"application_id": prepared.application.uid, "secret": prepared.secret}
    assert owner.get(f"/connections/{prepared.slug}/setup/application").status_code == 200
    assert owner.post(f"/connections/{prepared.slug}/setup/credentials", form).status_code == 303


def test_both_values_are_checked_as_soon_as_they_are_there(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    path = f"/connections/{prepared.slug}/setup/application/check"
    one = owner.post(path, {"application_id": prepared.application.uid, "secret": ""}, htmx=True)
    assert "GitLab" not in one.text.replace("Asking GitLab", "")

    refused = owner.post(path, {"application_id": prepared.application.uid, "secret": WRONG}, htmx=True)
    assert "does not accept this Application ID with this Secret" in refused.text
    assert WRONG not in refused.text

    sandbox.requests.clear()
    form = {"application_id": prepared.application.uid, "secret": prepared.secret}
    assert "GitLab accepts both" in owner.post(path, form, htmx=True).text
    answer = owner.post(f"/connections/{prepared.slug}/setup/application", form)
    assert answer.headers["Location"].endswith("/setup/service-user")
    # GitLab has accepted exactly these already.
    assert sandbox.requests.count("/oauth/token") == 0
    assert (
        open_client_credentials(runtime, connection_named(runtime, "GitLab")).client_secret.reveal() == prepared.secret
    )
