"""The token endpoint on a bad day: refused good tokens, lost answers, and answers with odd members."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import httpx2
import pytest

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.browser import Person
from tests.sandbox.consent import Registered

REFRESHES = "*grant_type=refresh_token*"


@pytest.fixture
def pair(root: Person, registered: Registered) -> dict[str, Any]:
    body: dict[str, Any] = registered.exchange(registered.code(root, scope="api read_user")).json()
    return body


def outcome(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("error", "")


def test_good_refresh_token_is_refused_so_often_and_then_accepted(
    sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any]
) -> None:
    sandbox.world.settings.refuse_good_refreshes = 2

    unknown = outcome(registered.refresh("unknown"))
    answers = [registered.refresh(pair["refresh_token"]) for _ in range(3)]

    assert unknown == (400, "invalid_grant")  # A bad one is refused anyway and does not count.
    assert [outcome(answer) for answer in answers] == [(400, "invalid_grant")] * 2 + [(200, "")]


def test_right_client_is_refused_so_often_and_then_accepted(
    sandbox: RunningSandbox, root: Person, registered: Registered, pair: dict[str, Any]
) -> None:
    code = registered.code(root)
    sandbox.world.settings.refuse_good_clients = 3

    refreshes = [outcome(registered.refresh(pair["refresh_token"])) for _ in range(2)]
    exchanges = [outcome(registered.exchange(code)) for _ in range(2)]

    assert refreshes == [(401, "invalid_client")] * 2
    assert exchanges == [(401, "invalid_client"), (200, "")]
    assert outcome(registered.refresh(pair["refresh_token"])) == (200, "")


@pytest.mark.parametrize(
    ("details", "status"),
    [
        ({"drop": "after"}, None),
        ({"status": 502, "html": True, "processed": True}, 502),
        ({"status": 403, "html": True, "processed": True}, 403),
        ({"redirect": "https://sso.example.com/login", "processed": True}, 302),
    ],
)
def test_refresh_is_done_although_its_answer_is_lost(
    sandbox: RunningSandbox,
    registered: Registered,
    pair: dict[str, Any],
    details: dict[str, Any],
    status: int | None,
) -> None:
    sandbox.faults.add("/oauth/token", body_pattern=REFRESHES, times=1, **details)

    if status is None:
        with pytest.raises(httpx2.TransportError):
            registered.refresh(pair["refresh_token"])
    else:
        assert registered.refresh(pair["refresh_token"]).status_code == status

    assert outcome(registered.refresh(pair["refresh_token"])) == (400, "invalid_grant")


def test_throttle_in_front_may_hide_a_refresh_that_was_done(
    sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any]
) -> None:
    sandbox.faults.throttle("/oauth/token", processed=True)

    assert registered.refresh(pair["refresh_token"]).status_code == 429
    assert outcome(registered.refresh(pair["refresh_token"])) == (400, "invalid_grant")


def test_pattern_of_the_body_tells_a_refresh_from_an_exchange(
    sandbox: RunningSandbox, root: Person, registered: Registered, pair: dict[str, Any]
) -> None:
    sandbox.faults.add("/oauth/token", body_pattern=REFRESHES, status=502)

    assert registered.exchange(registered.code(root)).status_code == 200
    assert registered.refresh(pair["refresh_token"]).status_code == 502


def test_held_request_is_processed_after_its_client_has_left(
    sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any]
) -> None:
    sandbox.requests.clear()
    sandbox.faults.hold("/oauth/token")
    form = {"grant_type": "refresh_token", "refresh_token": pair["refresh_token"], **registered.credentials}

    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(f"{sandbox.url}/oauth/token", data=form, timeout=0.05, trust_env=False)
    token = sandbox.world.oauth.find_refresh_token(pair["refresh_token"])
    assert token is not None
    assert not token.is_revoked
    sandbox.faults.release()
    sandbox.requests.wait_until_answered("/oauth/token")

    assert token.is_revoked
    assert outcome(registered.refresh(pair["refresh_token"])) == (400, "invalid_grant")


def test_control_holds_and_releases_over_http() -> None:
    with RunningSandbox(control=True) as sandbox:
        faults = f"{sandbox.url}/-/sandbox/faults"
        fault = {"path_pattern": "/users/sign_in", "held": True, "times": 1}
        httpx2.post(faults, json=fault, trust_env=False)

        with pytest.raises(httpx2.ReadTimeout):
            httpx2.get(f"{sandbox.url}/users/sign_in", timeout=0.05, trust_env=False)
        assert httpx2.post(f"{faults}/release", trust_env=False).status_code == 204
        sandbox.requests.wait_until_answered("/users/sign_in")


@pytest.mark.parametrize("expires_in", [0, -1, 7200.5, "7200", 400 * 86400, None])
def test_token_answer_with_an_odd_member(
    sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any], expires_in: object
) -> None:
    sandbox.faults.add("/oauth/token", set_members={"expires_in": expires_in, "scope": None})

    body = registered.refresh(pair["refresh_token"]).json()

    assert (body["expires_in"], body["scope"]) == (expires_in, None)
    assert sandbox.world.oauth.find_access_token(body["access_token"]) is not None


def test_token_answer_without_members(sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any]) -> None:
    sandbox.faults.add("/oauth/token", drop_members=("scope", "refresh_token", "expires_in", "created_at"))

    assert set(registered.refresh(pair["refresh_token"]).json()) == {"access_token", "token_type"}


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_token_answer_of_an_unexpected_type_and_encoding(
    sandbox: RunningSandbox, registered: Registered, pair: dict[str, Any], encoding: str
) -> None:
    sandbox.faults.add("/oauth/token", content_type="text/plain", encoding=encoding)
    form = {"grant_type": "refresh_token", "refresh_token": pair["refresh_token"], **registered.credentials}
    headers = {"Accept-Encoding": "identity"}

    with httpx2.stream("POST", f"{sandbox.url}/oauth/token", data=form, headers=headers, trust_env=False) as answer:
        raw = b"".join(answer.iter_raw())

    assert (answer.headers["content-type"], answer.headers["content-encoding"]) == ("text/plain", encoding)
    read = {"gzip": gzip.decompress, "deflate": zlib.decompress, "br": bytes}[encoding]
    assert b"access_token" in read(raw)  # type: ignore[operator]
