"""What people read in step 5 if GitLab issued no token, or refuses the one it issued: true there, and possible."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import select

from portal.authorization.attempts import AuthorizationAttempt
from portal.errors import Card, Responsible, Surface
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared, come_back, pass_gitlab, start

TOKEN, USER = "/oauth/token", "/api/v4/user"
# GitLab's words for the state of a user (lib/gitlab/auth/user_access_denied_reason.rb).
STATES = {
    "You (@gatehouse) must accept the Terms of Service in order to perform this action. To accept these terms, please "
    "access GitLab from a web browser at https://gitlab.example.com.": ("accept them", Responsible.YOU),
    "Your password expired. Please access GitLab from a web browser to update your password.": (
        "change it",
        Responsible.YOU,
    ),
    "Your primary email address is not confirmed. Please check your inbox for the confirmation instructions.": (
        "Open the link in GitLab's e-mail",
        Responsible.YOU,
    ),
    "Your account has been deactivated by your administrator. Please log back in from a web browser to reactivate your "
    "account at https://gitlab.example.com": ("which reactivates it", Responsible.YOU),
    "Your account has been blocked.": ("Unblock", Responsible.GITLAB_ADMIN),
    "Your account is pending approval from your administrator and hence blocked.": (
        "Approve",
        Responsible.GITLAB_ADMIN,
    ),
    "This action cannot be performed by internal users": ("Use an ordinary user", Responsible.YOU),
}


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """What people read is the same on each database."""
    return str(request.param)


def told(runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared, **fault: Any) -> Card:
    """Authorize while GitLab has a fault; return the failure as step 5 shows it."""
    location = pass_gitlab(sandbox, start(owner, prepared.slug), "gatehouse")
    sandbox.faults.add(fault.pop("path"), **fault)
    come_back(owner, location)
    with runtime.database.reading() as session:
        attempt = session.exec(select(AuthorizationAttempt)).one()
    card = Card.from_json(attempt.card or {}).at(Surface.AUTHORIZE)
    page = owner.get(f"/connections/{prepared.slug}/setup/authorize").text
    assert card.remedy.replace("'", "&#39;") in page
    return card


@pytest.mark.parametrize("words", STATES)
def test_state_of_the_service_user_has_its_own_remedy(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared, words: str
) -> None:
    body = {"message": f"403 Forbidden - {words}"}

    card = told(runtime, sandbox, owner, prepared, path=USER, status=403, body=body)

    remedy, who = STATES[words]
    assert (card.code, card.layer) == ("forbidden_by_role", "Role")
    assert remedy in card.remedy
    assert card.responsible == who
    assert "role" not in card.remedy


@pytest.mark.parametrize(("status", "code"), [(503, "gitlab_unavailable"), (429, "gitlab_rate_limited")])
@pytest.mark.parametrize("path", [TOKEN, USER])
def test_gitlab_that_is_busy_is_not_waited_for_where_only_the_person_can_go_on(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared, path: str, status: int, code: str
) -> None:
    card = told(
        runtime, sandbox, owner, prepared, path=path, status=status, body="Retry later\n", headers={"Retry-After": "99"}
    )

    if card.code == "exchange_lost":  # A 5xx: GitLab may have given a token.
        assert card.because is not None
        assert (card.because.code, "revoke this application" in card.remedy) == (code, True)
    else:
        assert card.code == code
        assert card.remedy.startswith("Nothing was stored. Authorize again in ")
    assert card.responsible == Responsible.YOU


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, "<html>challenge</html>"),
        (404, {"error": "404 Not Found"}),
        (405, {"message": "405 Method Not Allowed"}),
        (422, "<html>rejected</html>"),
        (200, "<html>Sign in</html>"),
    ],
)
def test_blocked_token_endpoint_is_named_at_the_callback_as_well(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared, status: int, body: Any
) -> None:
    card = told(runtime, sandbox, owner, prepared, path=TOKEN, status=status, body=body, html=isinstance(body, str))

    assert card.because is not None
    assert card.because.code == "oauth_blocked"
    assert f"GitLab's /oauth/token cannot be reached: something else answered ({status})." in card.sentence


def test_scope_that_gatehouse_does_not_ask_for_is_not_looked_for_in_gitlab(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, prepared: Prepared
) -> None:
    body = {"error": "insufficient_scope", "error_description": "Higher privileges needed.", "scope": "api"}

    card = told(runtime, sandbox, owner, prepared, path=USER, status=403, body=body)

    assert "Tick Webhooks under what the connection is used for" in card.remedy
    assert owner.get(f"/connections/{prepared.slug}/setup/purpose").status_code in {200, 303}
