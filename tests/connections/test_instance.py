"""Step 2: what may be entered, and what changing it means."""

from __future__ import annotations

import pytest
from flask import Flask

from portal.connections.models import Connection, ConnectionState, need_attention
from portal.connections.steps import Step
from portal.connections.store import is_sandbox, note_read
from portal.errors import Card
from portal.net import NetworkPolicy, OutboundClient, parse_address
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.accounts.support import BOTH_DATABASES, form_on, let_time_pass
from tests.connections.drafts import application_of, connection_named, draft
from tests.net.certificates import issue
from tests.support.people import PASSWORD
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("", "Enter the address"),
        ("gitlab@169.254.169.254", "no user name"),
        ("2130706433", "four numbers"),
        ("ftp://gitlab.example.com", "https://"),
        ("http://127.0.0.1:8000", "own address"),
        ("gitlab.example.com:22", "port"),
        ("gitlab.example.com/?x=1", "query"),
        ("https://git lab.example.com", "blanks"),
    ],
)
def test_domain_that_cannot_be_used_is_422_keeps_what_was_typed_and_changes_nothing(
    runtime: Runtime, owner: Visitor, typed: str, reason: str
) -> None:
    slug = draft(owner)

    answer = owner.post(f"/connections/{slug}/setup/instance", {"domain": typed})

    assert answer.status_code == 422
    assert reason in answer.text
    assert f'value="{typed}"' in answer.text
    assert connection_named(runtime, "GitLab").external_url == ""


@pytest.mark.parametrize("tail", ["", "/", "/users/sign_in", "/admin/applications/new", "/api/v4"])
def test_domain_is_forgiving(runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, tail: str) -> None:
    slug = draft(owner)

    owner.post(f"/connections/{slug}/setup/instance", {"domain": f"  {sandbox.url}{tail} "})

    assert connection_named(runtime, "GitLab").external_url == sandbox.url


def test_sandbox_may_be_entered_without_a_scheme(runtime: Runtime, sandbox: RunningSandbox, owner: Visitor) -> None:
    slug = draft(owner)

    owner.post(f"/connections/{slug}/setup/instance", {"domain": sandbox.url.removeprefix("http://")})

    assert connection_named(runtime, "GitLab").external_url == sandbox.url


def test_continue_goes_on_once_the_checks_passed(sandbox: RunningSandbox, owner: Visitor) -> None:
    slug = draft(owner)
    path = f"/connections/{slug}/setup/instance"
    owner.post(path, {"domain": sandbox.url})

    checks = owner.post(f"{path}/checks", htmx=True)
    answer = owner.post(path, {"domain": sandbox.url})

    assert "Everything is in place" in checks.text
    assert answer.headers["Location"].endswith("/setup/application")


def test_continue_stays_while_gitlab_cannot_be_reached(sandbox: RunningSandbox, owner: Visitor) -> None:
    slug = draft(owner)
    path = f"/connections/{slug}/setup/instance"
    owner.post(path, {"domain": sandbox.url})
    sandbox.stop()

    answer = owner.post(path, {"domain": sandbox.url})

    assert answer.headers["Location"].endswith("/setup/instance")
    assert "the port is closed" in owner.get(path).text


def test_checks_are_limited_to_five_a_minute(sandbox: RunningSandbox, owner: Visitor) -> None:
    slug = draft(owner)
    path = f"/connections/{slug}/setup/instance"
    owner.post(path, {"domain": sandbox.url})

    statuses = [owner.post(f"{path}/checks", htmx=True).status_code for _ in range(6)]

    assert statuses == [200] * 5 + [429]


def test_changed_domain_never_gets_the_stored_secret(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    """Attack story 2: someone points the connection at their own server and presses *Check again*."""
    path = f"/connections/{prepared.slug}/setup/instance"
    other = sandbox.url.replace("localhost", "127.0.0.1")
    evil_policy = NetworkPolicy(exempt=parse_address(other, allow_http=True), own_origin=runtime.settings.base_url)
    object.__setattr__(runtime, "outbound", OutboundClient(evil_policy))
    sandbox.requests.clear()

    owner.post(path, {"domain": other})
    owner.post(f"{path}/checks", htmx=True)
    answer = owner.post(
        f"/connections/{prepared.slug}/setup/credentials", {"application_id": prepared.application.uid, "secret": ""}
    )

    assert answer.status_code == 422
    assert "Paste the Secret" in answer.text
    assert application_of(runtime, prepared.connection).client_secret_sealed is None
    for request in sandbox.requests.all():
        assert "authorization" not in {name.lower() for name in request.headers}
        assert "private-token" not in {name.lower() for name in request.headers}
        assert prepared.secret not in str(request.form)


@BOTH_DATABASES
@pytest.mark.parametrize("name", ["domain", "api_url"])
def test_address_longer_than_can_be_stored_is_422(owner: Visitor, name: str) -> None:
    slug = draft(owner)
    form = {"domain": "gitlab.example.com", name: "gitlab.example.com/" + "a" * 1500}

    assert owner.post(f"/connections/{slug}/setup/instance", form).status_code == 422


@pytest.mark.parametrize("proxy", ["127.0.0.1:8000", "https://proxy.example.com:3128", "proxy.example.com/x", "p:22"])
def test_proxy_that_cannot_be_used_is_422_and_stays_in_its_field(owner: Visitor, proxy: str) -> None:
    slug = draft(owner)

    answer = owner.post(f"/connections/{slug}/setup/instance", {"domain": "gitlab.example.com", "proxy": proxy})

    assert answer.status_code == 422
    assert f'value="{proxy}"' in answer.text


def test_other_authority_voids_the_checks_and_keeps_the_version(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, live: Prepared
) -> None:
    with runtime.database.transaction() as session:
        session.get_one(Connection, live.connection.id).version_seen = "17.5.0"
    pem = issue("Test authority", is_authority=True).pem

    owner.post(f"/connections/{live.slug}/setup/instance", {"domain": sandbox.url, "ca_certificate": pem})

    changed = connection_named(runtime, "GitLab")
    assert (changed.checks, changed.version_seen, changed.state) == (None, "17.5.0", ConnectionState.CONNECTED)
    assert Step.INSTANCE not in changed.steps_done


def test_moved_connection_needs_attention_until_somebody_authorizes(
    runtime: Runtime, owner: Visitor, live: Prepared
) -> None:
    other = Card("unauthorized")

    owner.post(f"/connections/{live.slug}/setup/instance", {"domain": "other.example.com"})
    with runtime.database.transaction() as session:
        need_attention(session, live.connection.id, other)  # What still runs fails because of it,
        note_read(session, live.connection.id)  # or was all but done when it happened.

    moved = connection_named(runtime, "GitLab")
    assert moved.state == ConnectionState.NEEDS_ATTENTION
    assert moved.attention["code"] == "address_changed"


def test_address_that_only_begins_like_the_sandbox_is_not_the_sandbox(runtime: Runtime) -> None:
    object.__setattr__(runtime.settings, "sandbox_origin", "http://127.0.0.1:808")

    assert not is_sandbox(runtime, Connection(api_url="http://127.0.0.1:8080"))  # type: ignore[call-arg]
    assert not is_sandbox(runtime, Connection(api_url=""))  # type: ignore[call-arg]
    assert is_sandbox(runtime, Connection(api_url="http://127.0.0.1:808/gitlab"))  # type: ignore[call-arg]


def test_check_again_without_a_script_keeps_the_page_when_it_is_too_soon(
    sandbox: RunningSandbox, owner: Visitor
) -> None:
    slug = draft(owner)
    path = f"/connections/{slug}/setup/instance"
    owner.post(path, {"domain": sandbox.url})

    answers = [owner.post(f"{path}/checks") for _ in range(6)]

    assert [answer.status_code for answer in answers] == [303] * 5 + [429]
    assert f'value="{sandbox.url}"' in answers[-1].text
    assert answers[-1].headers["Retry-After"] == "60"


def test_change_of_the_way_is_sent_again_with_the_password(
    app: Flask, runtime: Runtime, owner: Visitor, live: Prepared
) -> None:
    let_time_pass(app, minutes=6)
    asked = owner.post(f"/connections/{live.slug}/setup/instance", {"domain": "other.example.com", "api_url": ""})
    action, hidden = form_on(asked)

    done = owner.post(action, {**hidden, "proof_password": PASSWORD})

    assert (asked.status_code, done.status_code) == (401, 303)
    assert connection_named(runtime, "GitLab").external_url == "https://other.example.com"


def test_way_that_stays_as_it_is_wants_no_password(
    app: Flask, sandbox: RunningSandbox, owner: Visitor, live: Prepared
) -> None:
    let_time_pass(app, minutes=6)

    answer = owner.post(f"/connections/{live.slug}/setup/instance", {"domain": sandbox.url})

    assert answer.headers["Location"].endswith("/setup/application")
