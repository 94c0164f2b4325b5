"""Faults: each kind as a client sees it, on a real connection."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.rest import api

URL = "https://portal.example.com/webhooks/1"


@pytest.fixture
def client(sandbox: RunningSandbox) -> Iterator[httpx2.Client]:
    with api(sandbox) as client:
        yield client


def test_status_and_body_replace_the_answer_as_often_as_told(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    fault = sandbox.faults.add("/api/v4/version", status=500, body={"message": "500 Internal Server Error"}, times=2)

    answers = [client.get("/version") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [500, 500, 200]
    assert answers[0].json() == {"message": "500 Internal Server Error"}
    assert answers[0].headers["content-type"] == "application/json"
    assert fault.used == 2


def test_pattern_method_and_query_choose_the_requests(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    sandbox.faults.add("/api/v4/projects/*/hooks", "POST", status=502)
    sandbox.faults.add("/api/v4/projects", query_pattern="*page=2*", status=503)

    assert client.get("/projects/1/hooks").status_code == 200
    assert client.post("/projects/1/hooks", json={"url": URL}).status_code == 502
    assert client.get("/projects?page=1").status_code == 200
    assert client.get("/projects?page=2").status_code == 503


def test_first_requests_may_pass(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    sandbox.faults.add("/api/v4/version", status=500, skip=2, times=1)

    assert [client.get("/version").status_code for _ in range(4)] == [200, 200, 500, 200]


def test_pattern_does_not_name_the_relative_root() -> None:
    with RunningSandbox(relative_root="/gitlab") as sandbox, api(sandbox, "root") as client:
        sandbox.faults.add("/api/v4/version", status=500)

        assert client.get("/version").status_code == 500


def test_html_page_intercepts_the_api(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    sandbox.faults.add("/api/v4/version", html=True, times=1)
    sandbox.faults.add("/api/v4/version", status=502, html=True, times=1)

    sign_in, bad_gateway = client.get("/version"), client.get("/version")

    assert (sign_in.status_code, sign_in.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (bad_gateway.status_code, "502 Bad Gateway" in bad_gateway.text) == (502, True)


def test_redirect_leads_elsewhere(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    sandbox.faults.add("/api/v4/user", redirect="https://sso.example.com/login")

    answer = client.get("/user")

    assert (answer.status_code, answer.headers["Location"]) == (302, "https://sso.example.com/login")


def test_both_kinds_of_429(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    sandbox.faults.throttle("/api/v4/version", retry_after_seconds=7)
    sandbox.faults.limit("/api/v4/version")

    throttled, limited, good = (client.get("/version") for _ in range(3))

    assert (throttled.status_code, throttled.text, throttled.headers["Retry-After"]) == (429, "Retry later\n", "7")
    assert throttled.headers["RateLimit-Remaining"] == "0"
    assert (limited.status_code, "Retry-After" in limited.headers) == (429, False)
    assert limited.json()["message"]["error"].startswith("This endpoint has been requested too many times")
    assert good.status_code == 200


def test_dropped_before_leaves_nothing_done(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    sandbox.faults.add("/api/v4/projects/1/hooks", "POST", drop="before", times=1)

    with pytest.raises(httpx2.TransportError):
        client.post("/projects/1/hooks", json={"url": URL})

    assert client.get("/projects/1/hooks").json() == []


def test_dropped_after_has_been_done(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    sandbox.faults.add("/api/v4/projects/1/hooks", "POST", drop="after", times=1)

    with pytest.raises(httpx2.TransportError):
        client.post("/projects/1/hooks", json={"url": URL})

    assert len(client.get("/projects/1/hooks").json()) == 1
    assert [seen.status for seen in sandbox.requests.all("*/hooks")] == [None, 200]


def test_processed_hides_a_success_behind_another_answer(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    sandbox.faults.add("/api/v4/projects/1/hooks", "POST", status=504, html=True, processed=True, times=1)

    assert client.post("/projects/1/hooks", json={"url": URL}).status_code == 504
    assert len(client.get("/projects/1/hooks").json()) == 1


def test_lost_refresh_burns_the_pair(sandbox: RunningSandbox) -> None:
    application, secret = sandbox.world.oauth.create_application("Portal", "http://127.0.0.1/cb", ["api"])
    token = sandbox.world.oauth.create_token(application.id, 1, ["api"])
    form = {"grant_type": "refresh_token", "refresh_token": token.refresh_token}
    form |= {"client_id": application.uid, "client_secret": secret}
    sandbox.faults.add("/oauth/token", drop="after", times=1)

    with pytest.raises(httpx2.TransportError):
        httpx2.post(f"{sandbox.url}/oauth/token", data=form, trust_env=False)
    retried = httpx2.post(f"{sandbox.url}/oauth/token", data=form, trust_env=False)

    assert (retried.status_code, retried.json()["error"]) == (400, "invalid_grant")


def test_truncated_body_breaks_off(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    sandbox.faults.add("/api/v4/projects", truncate=100)

    with pytest.raises(httpx2.RemoteProtocolError):
        client.get("/projects")


def test_dripped_body_arrives_whole_but_slowly(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    whole = client.get("/version").content
    sandbox.faults.add("/api/v4/version", drip=(len(whole) // 4 + 1, 0.02))
    started = time.perf_counter()

    dripped = client.get("/version").content

    assert dripped == whole
    assert time.perf_counter() - started >= 0.06


def test_delay_holds_the_answer_back(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    sandbox.faults.add("/api/v4/version", delay_seconds=0.1)

    assert client.get("/version").elapsed.total_seconds() >= 0.1
    with pytest.raises(httpx2.ReadTimeout):
        client.get("/version", timeout=0.02)


def test_headers_and_content_type_are_added_to_the_real_answer(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    sandbox.faults.add("/api/v4/version", headers={"X-Extra": "1"}, content_type="text/html")

    answer = client.get("/version")

    assert (answer.headers["X-Extra"], answer.headers["content-type"]) == ("1", "text/html")
    assert answer.headers.get_list("content-type") == ["text/html"]
    assert answer.json()["version"]


def test_cleared_faults_strike_no_more(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    sandbox.faults.add("*", status=500)
    sandbox.faults.clear()

    assert client.get("/version").status_code == 200


def test_stopping_does_not_wait_for_a_slow_answer() -> None:
    with RunningSandbox() as sandbox:
        sandbox.faults.add("/api/v4/projects", delay_seconds=60)
        failed: list[Exception] = []

        def ask() -> None:
            try:
                httpx2.get(f"{sandbox.api}/projects", timeout=30, trust_env=False)
            except httpx2.TransportError as error:
                failed.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        sandbox.requests.wait_for("*/projects")
        started = time.perf_counter()
        sandbox.stop()
        thread.join(5)

    assert time.perf_counter() - started < 5
    assert len(failed) == 1


ASCENDING = {"order_by": "id", "sort": "asc", "membership": "true"}


def test_members_of_rows_are_replaced_or_left_out(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    whole = client.get("/projects", params=ASCENDING).json()
    sandbox.faults.add(
        "/api/v4/projects",
        set_members={"web_url": None, "namespace.full_path": None, "owner.name": None},
        drop_members=("namespace.kind",),
        only_rows=(whole[1]["id"],),
        rows={whole[2]["id"]: {"name": 5}},
    )

    rows = client.get("/projects", params=ASCENDING).json()

    namespace = {name: value for name, value in whole[1]["namespace"].items() if name != "kind"}
    changed = whole[1] | {"web_url": None, "namespace": namespace | {"full_path": None}}
    assert rows == [whole[0], changed, whole[2] | {"name": 5}, *whole[3:]]


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"max_rows": 3}, [0, 1, 2]),
        ({"max_rows": 0}, []),
        ({"arrange": "doubled", "max_rows": 3}, [0, 0, 1]),
        ({"arrange": "swapped", "max_rows": 3}, [1, 0, 2]),
        ({"arrange": "reversed", "max_rows": 2}, [-1, -2]),
    ],
)
def test_rows_of_a_list_are_cut_and_rearranged(
    sandbox: RunningSandbox, client: httpx2.Client, details: dict[str, Any], expected: list[int]
) -> None:
    whole = client.get("/projects", params=ASCENDING)
    sandbox.faults.add("/api/v4/projects", **details)

    spoilt = client.get("/projects", params=ASCENDING)

    assert spoilt.json() == [whole.json()[place] for place in expected]
    assert spoilt.headers["Link"] == whole.headers["Link"]


def test_headers_of_a_page_are_left_out(sandbox: RunningSandbox, client: httpx2.Client) -> None:
    sandbox.faults.add("/api/v4/groups", drop_headers=("X-Next-Page", "x-total", "Link"))

    headers = client.get("/groups").headers

    assert not {"x-next-page", "x-total", "link"} & set(headers)
    assert headers["x-page"] == "1"
