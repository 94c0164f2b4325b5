"""`/oauth/authorize`: each way a person leaves it."""

from __future__ import annotations

import pytest

from portal.sandbox.oauth import texts
from portal.sandbox.testing import RunningSandbox
from tests.sandbox.browser import Person
from tests.sandbox.consent import CALLBACK, CHALLENGE, Registered, answer_of


def test_visitor_signs_in_and_resumes_the_request(sandbox: RunningSandbox, registered: Registered) -> None:
    with Person(sandbox.url) as person:
        answer = person.get("/oauth/authorize", **registered.query(state="a&b=ü"))
        assert answer.status_code == 302
        assert answer.headers["Location"] == "/users/sign_in"

        resumed = person.follow(person.sign_in("root"))

        assert resumed.status_code == 200
        assert "is requesting access to your account" in resumed.text
        assert 'name="state" value="a&amp;b=ü"' in resumed.text


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"client_id": None}, "Missing required parameter: client_id."),
        ({"client_id": "nobody"}, texts.INVALID_CLIENT),
        ({"client_id": "nobody", "response_type": None}, texts.INVALID_CLIENT),
        ({"redirect_uri": None}, texts.INVALID_REDIRECT_URI),
        ({"redirect_uri": CALLBACK + "/"}, texts.INVALID_REDIRECT_URI),
        ({"redirect_uri": "https://evil.example/", "scope": "nonsense"}, texts.INVALID_REDIRECT_URI),
        ({"response_type": None}, "Missing required parameter: response_type."),
        ({"response_type": "token"}, texts.UNSUPPORTED_RESPONSE_TYPE),
        ({"response_mode": "fragment"}, texts.UNSUPPORTED_RESPONSE_MODE),
        ({"scope": "nonsense"}, texts.INVALID_SCOPE),
        ({"scope": "api sudo"}, texts.INVALID_SCOPE),
        ({"code_challenge": CHALLENGE}, texts.INVALID_CODE_CHALLENGE_METHOD),
        ({"code_challenge": CHALLENGE, "code_challenge_method": "S512"}, texts.INVALID_CODE_CHALLENGE_METHOD),
    ],
)
def test_refusal_is_a_page_with_status_200(
    root: Person, registered: Registered, changes: dict[str, str | None], sentence: str
) -> None:
    answer = root.get("/oauth/authorize", **registered.query(**changes))

    assert answer.status_code == 200
    assert '<h1 class="page-title">An error has occurred</h1>' in answer.text
    assert sentence.replace("'", "&#39;") in answer.text


def test_consent_form_carries_the_request(root: Person, registered: Registered) -> None:
    query = registered.query(code_challenge=CHALLENGE, code_challenge_method="S256", nonce="n-1")
    page = root.get("/oauth/authorize", **query)

    assert page.status_code == 200
    for name, value in query.items():
        assert f'<input type="hidden" name="{name}" value="{value}">' in page.text
    assert "You are an administrator" in page.text


def test_authorize_button_redirects_with_code_and_state(root: Person, registered: Registered) -> None:
    page = root.get("/oauth/authorize", **registered.query())

    answer = root.press(page, "Authorize Portal")

    assert answer.status_code == 302
    location = answer.headers["Location"]
    code = answer_of(location)["code"]
    assert location == f"{CALLBACK}?code={code}&state=state-1"
    assert len(code) == 64
    assert set(code) <= set("0123456789abcdef")


def test_deny_button_redirects_with_access_denied(root: Person, registered: Registered) -> None:
    page = root.get("/oauth/authorize", **registered.query())

    answer = root.press(page, "Deny")

    assert answer.status_code == 302
    assert answer.headers["Location"] == (
        f"{CALLBACK}?error=access_denied&error_description=The+resource+owner+or+authorization+server+denied+the"
        "+request.&state=state-1"
    )


def test_consent_without_session_token_is_refused(root: Person, registered: Registered) -> None:
    answer = root.client.post(f"{root.base}/oauth/authorize", data=registered.query())

    assert answer.status_code == 422


def test_missing_scope_becomes_the_default_one(root: Person, registered: Registered) -> None:
    page = root.get("/oauth/authorize", **registered.query(scope=None))

    assert '<input type="hidden" name="scope" value="api">' in page.text


def test_trusted_application_leaves_by_script_with_status_200(sandbox: RunningSandbox, root: Person) -> None:
    registered = register(sandbox, trusted=True)

    answer = root.get("/oauth/authorize", **registered.query())

    assert answer.status_code == 200
    assert "<title>Redirecting" in answer.text
    assert f'<a href="{CALLBACK}?code=' in answer.text
    assert '&amp;state=state-1" data-redirect>' in answer.text


def test_repeated_authorization_needs_no_consent_even_with_expired_token(
    sandbox: RunningSandbox, root: Person, registered: Registered
) -> None:
    registered.exchange(registered.code(root))
    sandbox.world.clock.advance(3 * 3600)

    same = root.get("/oauth/authorize", **registered.query())
    wider = root.get("/oauth/authorize", **registered.query(scope="api read_user"))

    assert "<title>Redirecting" in same.text
    assert "is requesting access" in wider.text


def test_revoked_token_asks_for_consent_again(root: Person, registered: Registered) -> None:
    token = registered.exchange(registered.code(root)).json()
    registered.post("revoke", token=token["access_token"], **registered.credentials)

    page = root.get("/oauth/authorize", **registered.query())

    assert "is requesting access" in page.text


def test_public_application_always_asks(sandbox: RunningSandbox, root: Person) -> None:
    registered = register(sandbox, confidential=False)
    assert registered.exchange(registered.code(root)).status_code == 200

    page = root.get("/oauth/authorize", **registered.query())

    assert "is requesting access" in page.text


def test_administrator_is_refused_while_the_switch_is_on(
    sandbox: RunningSandbox, root: Person, registered: Registered
) -> None:
    sandbox.world.settings.disable_admin_oauth_scopes = True
    trusted = register(sandbox, trusted=True)

    refused = root.get("/oauth/authorize", **registered.query())
    allowed = root.get("/oauth/authorize", **trusted.query())

    assert refused.status_code == 200
    assert "may not be authorized by an administrator" in refused.text
    assert "<title>Redirecting" in allowed.text


def test_unconfirmed_person_sees_an_error_page(sandbox: RunningSandbox, registered: Registered, root: Person) -> None:
    sandbox.world.people.by_username("root").confirmed = False

    answer = root.get("/oauth/authorize", **registered.query())

    assert answer.status_code == 200
    assert "Your email address is not confirmed." in answer.text


def test_pages_may_not_be_framed_and_say_so(sandbox: RunningSandbox, root: Person, registered: Registered) -> None:
    plain = root.get("/oauth/authorize", **registered.query())
    sandbox.world.settings.coop_same_origin = True
    isolated = root.get("/oauth/authorize", **registered.query())

    assert plain.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert "form-action" not in plain.headers["Content-Security-Policy"]
    assert "Cross-Origin-Opener-Policy" not in plain.headers
    assert isolated.headers["Cross-Origin-Opener-Policy"] == "same-origin"


def register(sandbox: RunningSandbox, *, trusted: bool = False, confidential: bool = True) -> Registered:
    scopes = ("api", "read_user", "openid", "email")
    application, secret = sandbox.world.oauth.create_application("Portal", CALLBACK, scopes, confidential, trusted)
    return Registered(application, secret, sandbox.url)
