"""`POST /oauth/token` for codes: the body, and each refusal in GitLab's order."""

from __future__ import annotations

import time

import httpx2
import pytest

from portal.sandbox.oauth import texts
from portal.sandbox.oauth.authorize import challenge_of
from portal.sandbox.testing import RunningSandbox
from tests.sandbox.browser import Person
from tests.sandbox.consent import CALLBACK, CHALLENGE, VERIFIER, Registered


def refused(answer: httpx2.Response) -> tuple[int, str]:
    """Return status and error, after checking body and header agree."""
    body = answer.json()
    assert list(body) == ["error", "error_description"]
    challenge = f'Bearer realm="Doorkeeper", error="{body["error"]}", error_description="{body["error_description"]}"'
    assert answer.headers["WWW-Authenticate"] == challenge
    return answer.status_code, body["error"]


def test_exchange_answers_a_pair(root: Person, registered: Registered) -> None:
    answer = registered.exchange(registered.code(root, scope="api read_user"))

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["Cache-Control"].startswith("no-store")
    body = answer.json()
    assert body.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "scope", "created_at"}
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 7200, "api read_user")
    assert len(body["access_token"]) == len(body["refresh_token"]) == 64
    assert abs(body["created_at"] - time.time()) < 60


def test_old_gitlab_spells_the_token_type_small(sandbox: RunningSandbox, root: Person, registered: Registered) -> None:
    sandbox.world.settings.token_type = "bearer"

    assert registered.exchange(registered.code(root)).json()["token_type"] == "bearer"


def test_challenge_of_the_documented_verifier() -> None:
    assert challenge_of(VERIFIER) == CHALLENGE


@pytest.mark.parametrize(("method", "challenge"), [("S256", CHALLENGE), ("plain", VERIFIER)])
def test_right_verifier_is_accepted_and_wrong_one_refused(
    root: Person, registered: Registered, method: str, challenge: str
) -> None:
    code = registered.code(root, code_challenge=challenge, code_challenge_method=method)

    wrong = registered.exchange(code, code_verifier="x" * 43)
    missing = registered.exchange(code)
    right = registered.exchange(code, code_verifier=VERIFIER)

    assert refused(wrong) == (400, "invalid_grant")
    assert missing.json()["error_description"] == "Missing required parameter: code_verifier."
    assert right.status_code == 200


def test_verifier_nobody_asked_for_is_refused(root: Person, registered: Registered) -> None:
    answer = registered.exchange(registered.code(root), code_verifier=VERIFIER)

    assert refused(answer) == (400, "invalid_grant")


def test_code_works_once(root: Person, registered: Registered) -> None:
    code = registered.code(root)

    first, second = registered.exchange(code), registered.exchange(code)

    assert first.status_code == 200
    assert refused(second) == (400, "invalid_grant")
    assert second.json()["error_description"] == texts.INVALID_GRANT


def test_code_dies_after_ten_minutes(sandbox: RunningSandbox, root: Person, registered: Registered) -> None:
    code, late = registered.code(root), registered.code(root, scope="read_user")
    sandbox.world.clock.advance(590)
    in_time = registered.exchange(code)
    sandbox.world.clock.advance(20)

    assert in_time.status_code == 200
    assert refused(registered.exchange(late)) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"grant_type": None}, (400, "invalid_request", "Missing required parameter: grant_type.")),
        ({"grant_type": "magic"}, (400, "unsupported_grant_type", texts.UNSUPPORTED_GRANT_TYPE)),
        ({"code": None}, (400, "invalid_request", "Missing required parameter: code.")),
        ({"redirect_uri": None}, (400, "invalid_request", "Missing required parameter: redirect_uri.")),
        (
            {"redirect_uri": None, "client_secret": "bad"},
            (400, "invalid_request", "Missing required parameter: redirect_uri."),
        ),
        ({"client_id": "nobody"}, (401, "invalid_client", texts.INVALID_CLIENT)),
        ({"client_secret": "bad"}, (401, "invalid_client", texts.INVALID_CLIENT)),
        ({"client_secret": None}, (401, "invalid_client", texts.INVALID_CLIENT)),
        ({"client_id": None, "client_secret": None}, (401, "invalid_client", texts.INVALID_CLIENT)),
        ({"client_secret": "bad", "code": "bad"}, (401, "invalid_client", texts.INVALID_CLIENT)),
        ({"code": "bad"}, (400, "invalid_grant", texts.INVALID_GRANT)),
        ({"redirect_uri": CALLBACK + "2"}, (400, "invalid_grant", texts.INVALID_GRANT)),
    ],
)
def test_exchange_refusals(
    root: Person, registered: Registered, changes: dict[str, str | None], expected: tuple[int, str, str]
) -> None:
    code = registered.code(root)

    answer = registered.exchange(**({"code": code} | changes))

    assert (*refused(answer), answer.json()["error_description"]) == expected
    assert registered.exchange(code).status_code == 200


def test_code_of_another_application_is_refused(sandbox: RunningSandbox, root: Person, registered: Registered) -> None:
    other, secret = sandbox.world.oauth.create_application("Other", CALLBACK, ["api"])

    answer = registered.exchange(registered.code(root), client_id=other.uid, client_secret=secret)

    assert refused(answer) == (400, "invalid_grant")


def test_basic_credentials_win_over_the_body(root: Person, registered: Registered) -> None:
    form = {"grant_type": "authorization_code", "redirect_uri": CALLBACK}

    def post(password: str, secret_in_body: str) -> httpx2.Response:
        body = form | {"code": registered.code(root), "client_id": "ignored", "client_secret": secret_in_body}
        basic = (registered.application.uid, password)
        return httpx2.post(f"{registered.base}/oauth/token", data=body, auth=basic, trust_env=False)

    assert post(registered.secret, "bad").status_code == 200
    assert refused(post("bad", registered.secret)) == (401, "invalid_client")


def test_public_application_needs_no_secret_but_a_sent_one_must_be_right(sandbox: RunningSandbox, root: Person) -> None:
    application, secret = sandbox.world.oauth.create_application("Portal", CALLBACK, ["api"], confidential=False)
    registered = Registered(application, secret, sandbox.url)

    without = registered.exchange(registered.code(root), client_secret=None)
    wrong = registered.exchange(registered.code(root), client_secret="bad")

    assert without.status_code == 200
    assert refused(wrong) == (401, "invalid_client")


def test_old_engine_does_not_name_the_missing_parameter(
    old_sandbox: RunningSandbox,
) -> None:
    application, secret = old_sandbox.world.oauth.create_application("Portal", CALLBACK, ["api"])

    answer = Registered(application, secret, old_sandbox.url).exchange("any", redirect_uri=None)

    assert answer.json()["error_description"] == texts.INVALID_REQUEST
    assert len(secret) == 64
    assert application.secret_text == secret
