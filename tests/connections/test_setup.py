from __future__ import annotations

import pytest
from sqlmodel import select

from portal.accounts.models import Organization
from portal.audit.models import AuditEvent
from portal.connections.models import Application, Connection, ConnectionState
from portal.net import Door, NetworkPolicy, parse_address
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared, authorize, prepare


def connection_named(runtime: Runtime, name: str) -> Connection | None:
    with runtime.database.reading() as session:
        return session.exec(select(Connection).where(Connection.display_name == name)).first()


def application_of(runtime: Runtime, connection: Connection) -> Application:
    with runtime.database.reading() as session:
        return session.exec(select(Application).where(Application.connection_id == connection.id)).one()


def draft(owner: Visitor, name: str = "GitLab") -> str:
    answer = owner.post("/connections/new", {"method": "oauth", "display_name": name})
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"].removesuffix("/setup/instance").removeprefix("/connections/")


@pytest.fixture
def prepared(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> Prepared:
    return prepare(runtime, sandbox, cast.owner)


def test_draft_is_made_with_a_slug_that_stays_when_it_is_renamed(runtime: Runtime, owner: Visitor) -> None:
    slug = draft(owner, "Our GitLab")

    owner.post(f"/connections/{slug}/name", {"display_name": "Another name"})

    renamed = connection_named(runtime, "Another name")
    assert renamed is not None
    assert renamed.slug == slug == "our-gitlab"


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\x07b"])
def test_name_that_cannot_be_used_is_422_and_makes_nothing(runtime: Runtime, owner: Visitor, name: str) -> None:
    answer = owner.post("/connections/new", {"method": "oauth", "display_name": name})

    assert answer.status_code == 422
    with runtime.database.reading() as session:
        assert session.exec(select(Connection)).all() == []


def test_name_is_unique_in_the_organization_only(owner: Visitor, outsider: Visitor) -> None:
    draft(owner, "GitLab")

    again = owner.post("/connections/new", {"method": "oauth", "display_name": "gitlab"})
    elsewhere = outsider.post("/connections/new", {"method": "oauth", "display_name": "GitLab"})

    assert again.status_code == 422
    assert "is taken" in again.text
    assert elsewhere.status_code == 303


def test_plan_without_the_feature_says_what_is_missing(runtime: Runtime, owner: Visitor) -> None:
    with runtime.database.transaction() as session:
        session.get_one(Organization, 1).plan = "basic"

    page = owner.get("/connections/")
    answer = owner.post("/connections/new", {"method": "oauth", "display_name": "GitLab"})

    assert "does not include self-hosted GitLab" in page.text
    assert answer.status_code == 422


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
    """Attack story 2: somebody points the connection at a server of their own and presses *Check again*."""
    path = f"/connections/{prepared.slug}/setup/instance"
    other = sandbox.url.replace("localhost", "127.0.0.1")
    evil_policy = NetworkPolicy(exempt=parse_address(other, allow_http=True), own_origin=runtime.settings.base_url)
    object.__setattr__(runtime, "door", Door(evil_policy))
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


def test_application_page_shows_the_values_in_gitlabs_order(owner: Visitor, prepared: Prepared) -> None:
    page = owner.get(f"/connections/{prepared.slug}/setup/application").text

    order = [
        page.index(text)
        for text in ("Name</span>", "Redirect URI</span>", "<strong>Trusted", "<strong>Confidential", "Scopes:")
    ]
    assert order == sorted(order)
    assert f"http://127.0.0.1:8000/oauth/callback/{prepared.slug}" in page


def test_scopes_follow_the_services(owner: Visitor, prepared: Prepared) -> None:
    path = f"/connections/{prepared.slug}/setup/application"

    owner.post(f"{path}/preset", {"preset": "full"})

    page = owner.get(path).text
    assert "<code>api</code>" in page
    assert "<code>read_api</code>" not in page


@pytest.mark.parametrize("username", ["", "a", "two words", "x" * 256, "<b>"])
def test_user_name_that_gitlab_cannot_have_is_422(owner: Visitor, prepared: Prepared, username: str) -> None:
    answer = owner.post(f"/connections/{prepared.slug}/setup/service-user", {"service_username": username})

    assert answer.status_code == 422


def test_service_user_may_be_typed_with_its_at_sign(runtime: Runtime, owner: Visitor, prepared: Prepared) -> None:
    owner.post(f"/connections/{prepared.slug}/setup/service-user", {"service_username": " @portal-bot "})

    assert connection_named(runtime, "GitLab").service_username == "portal-bot"


def test_accepted_credentials_are_sealed_and_go_on(runtime: Runtime, owner: Visitor, prepared: Prepared) -> None:
    answer = owner.post(
        f"/connections/{prepared.slug}/setup/credentials",
        {"application_id": f" {prepared.application.uid}\n", "secret": f" {prepared.secret} "},
    )

    assert answer.headers["Location"].endswith("/setup/authorize")
    stored = application_of(runtime, prepared.connection)
    assert prepared.secret.encode() not in stored.client_secret_sealed
    assert stored.checked_at is not None
    assert connection_named(runtime, "GitLab").state == ConnectionState.AWAITING_AUTHORIZATION


def test_wrong_secret_is_told_here_and_not_after_the_popup(owner: Visitor, sandbox: RunningSandbox) -> None:
    slug = draft(owner)
    setup = f"/connections/{slug}/setup"
    owner.post(f"{setup}/instance", {"domain": sandbox.url})
    owner.post(f"{setup}/instance/checks")
    owner.post(f"{setup}/application")
    owner.post(f"{setup}/service-user", {"service_username": "gatehouse"})

    answer = owner.post(f"{setup}/credentials", {"application_id": "a" * 64, "secret": "gloas-" + "0" * 64})

    assert answer.status_code == 422
    assert "does not accept this Application ID with this Secret" in answer.text
    assert owner.get(f"{setup}/authorize").headers["Location"].endswith("/credentials")


@pytest.mark.parametrize(
    ("application_id", "secret", "sentence"),
    [
        ("gloas-" + "1" * 64, "x" * 64, "That is the Secret"),
        ("a" * 64, "glpat-abcdefghijklmnop", "personal access token"),
        ("a" * 64, "a" * 64, "Application ID once more"),
        ("", "x" * 64, "Paste the Application ID"),
        ("a" * 64, "x y" * 20, "no blanks"),
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


def test_empty_secret_keeps_the_stored_one(runtime: Runtime, owner: Visitor, prepared: Prepared) -> None:
    before = application_of(runtime, prepared.connection).client_secret_sealed

    answer = owner.post(
        f"/connections/{prepared.slug}/setup/credentials", {"application_id": prepared.application.uid, "secret": ""}
    )

    assert answer.status_code == 303
    assert application_of(runtime, prepared.connection).client_secret_sealed == before


def test_later_step_leads_to_the_first_open_one(owner: Visitor) -> None:
    slug = draft(owner)

    for step in ("application", "service-user", "credentials", "authorize", "services", "repositories"):
        answer = owner.get(f"/connections/{slug}/setup/{step}")
        assert answer.headers["Location"] == f"/connections/{slug}/setup/instance"
    assert owner.get(f"/connections/{slug}/setup").headers["Location"].endswith("/setup/instance")


def test_cancel_asks_and_discards(runtime: Runtime, owner: Visitor, prepared: Prepared) -> None:
    asked = owner.get(f"/connections/{prepared.slug}/setup/cancel")
    still_there = connection_named(runtime, "GitLab")
    owner.post(f"/connections/{prepared.slug}/setup/cancel")

    assert "Discard draft" in asked.text
    assert still_there is not None
    assert connection_named(runtime, "GitLab") is None
    with runtime.database.reading() as session:
        assert session.exec(select(Application)).all() == []


def test_services_cannot_be_empty(
    owner: Visitor, runtime: Runtime, sandbox: RunningSandbox, prepared: Prepared
) -> None:
    authorize(owner, sandbox, prepared.slug)

    refused = owner.post(f"/connections/{prepared.slug}/setup/services", {})
    accepted = owner.post(f"/connections/{prepared.slug}/setup/services", {"services": ["repositories"]})

    assert refused.status_code == 422
    assert accepted.headers["Location"].endswith("/setup/repositories")
    assert connection_named(runtime, "GitLab").services == ["repositories"]


def test_every_change_leaves_an_audit_row_without_secrets(runtime: Runtime, prepared: Prepared) -> None:
    with runtime.database.reading() as session:
        events = session.exec(select(AuditEvent)).all()

    assert [event.action for event in events] == [
        "connection.created",
        "connection.instance_changed",
        "application.confirmed",
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
    for path in ("", "/setup/credentials", "/setup/application"):
        assert prepared.secret not in owner.get(f"/connections/{prepared.slug}{path}").text
