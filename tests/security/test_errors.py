from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask, g
from sqlalchemy import text

from portal.errors import BadRequest, Card, RateLimited, Unavailable, UpstreamFailed
from portal.logs import get_logger
from portal.requestinfo import RequestInfo, requesting
from portal.runtime import Runtime
from portal.vault import Secret
from tests.conftest import BASE_URL
from tests.security.logged import Lines, catching_lines
from tests.support.people import Cast
from tests.support.visitor import Visitor

VIEWS = {
    "accounts": ("accounts.profile", "/profile"),
    "audit": ("audit.index", "/audit"),
    "jobs": ("jobs.index", "/jobs"),
    "connections": ("connections.index", "/connections/"),
    "credentials": ("credentials.show", "/connections/gitlab/credential"),
    "authorization": ("authorization.callback", "/oauth/callback/gitlab"),
    "bulk": ("bulk.ask", "/repositories/change?do=enable"),
    "repositories": ("repositories.index", "/repositories/"),
    "theme": ("theme.choose", "/theme"),
    "health": ("health.show", "/connections/gitlab/health"),
    "disconnection": ("disconnection.ask", "/connections/gitlab/disconnect"),
    "backup": ("backup.show", "/restored"),
    "grants": ("grants.index", "/members/1/groups"),
    "access_tokens": ("access_tokens.show", "/connections/gitlab/setup/token"),
    "provisioning": ("provisioning.show", "/connections/gitlab/setup/create"),
    "servers": ("servers.index", "/servers/"),
    "rules": ("rules.show", "/connections/gitlab/rules"),
    "requests": ("requests.index", "/repositories/requests"),
    "review": ("review.index", "/repositories/review"),
    "unseen": ("unseen.show", "/connections/gitlab/unseen"),
    "services": ("services.show", "/repositories/1"),
    "missing": ("missing.index", "/repositories/missing"),
    "budgets": ("budgets.show", "/connections/gitlab/budget"),
    "reports": ("reports.index", "/reports"),
    "environments": ("environments.index", "/repositories/1/environments"),
    "sites": ("sites.index", "/sites/"),
    "webhooks": ("webhooks.index", "/connections/gitlab/webhooks"),
    "handover": ("handover.sealed", "/hand-over/0123456789abcdef"),
}
VALUE = "5f2d9c81e07b4a63" * 4
REQUEST_ID = re.compile(r"<code>([0-9a-f]{16})</code>")


@pytest.fixture
def lines(app: Flask) -> Iterator[Lines]:
    with catching_lines() as lines:
        yield lines


def replace(app: Flask, endpoint: str, raising: Callable[[], Exception]) -> None:
    declared = app.view_functions[endpoint].declared_right

    def view(**_: str) -> str:
        raise raising()

    view.declared_right = declared  # type: ignore[attr-defined]
    app.view_functions[endpoint] = view


def bad() -> Exception:
    token = Secret(VALUE)
    return RuntimeError(f"detail of /srv/gatehouse with {token.reveal()}")


@pytest.mark.parametrize("blueprint", VIEWS)
def test_failure_is_a_page_without_detail_and_a_log_line_with_the_same_id(
    app: Flask, owner: Visitor, lines: Lines, blueprint: str
) -> None:
    endpoint, path = VIEWS[blueprint]
    replace(app, endpoint, bad)

    answer = owner.post(path) if blueprint == "theme" else owner.get(path)

    assert answer.status_code == 500
    for word in ("Traceback", "RuntimeError", "detail of", "/srv/gatehouse", VALUE, ".py"):
        assert word not in answer.text
    (line,) = lines.named("unexpected_error")
    assert REQUEST_ID.findall(answer.text)[0] == line["request_id"]
    assert "RuntimeError: detail of /srv/gatehouse with ***" in line["exception"]
    assert VALUE not in lines.text


def test_every_blueprint_is_tried(app: Flask) -> None:
    assert set(VIEWS) == set(app.blueprints)


def test_failure_is_a_fragment_for_htmx(app: Flask, owner: Visitor, lines: Lines) -> None:
    replace(app, "jobs.index", bad)

    answer = owner.get("/jobs", htmx=True)

    assert (answer.status_code, answer.headers["HX-Retarget"], answer.headers["HX-Reswap"]) == (
        500,
        "#alerts",
        "innerHTML",
    )
    assert "<html" not in answer.text
    assert REQUEST_ID.findall(answer.text) == [lines.named("unexpected_error")[0]["request_id"]]


def test_broken_database_is_a_page_too(app: Flask, runtime: Runtime, owner: Visitor, lines: Lines) -> None:
    with runtime.database.transaction() as session:
        session.execute(text("DROP TABLE session"))

    for htmx in (False, True):
        answer = owner.get("/jobs", htmx=htmx)
        assert answer.status_code == 500
        assert "session" not in answer.text.lower().replace("sessionstorage", "")
        assert answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
    assert len(lines.named("unexpected_error")) == 2


@pytest.mark.parametrize("host", ["x" * 300, "a..b", ".", "\u00e9" * 70])
def test_host_that_is_no_name_is_refused_like_any_other(app: Flask, host: str) -> None:
    answer = Visitor(app).http.get("/sign-in", headers={"Host": host}, base_url=BASE_URL)

    assert answer.status_code == 400
    assert answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadRequest(), 400),
        (Unavailable(), 503),
        (RateLimited(retry_after_seconds=77), 429),
        (UpstreamFailed(Card("connect_failed")), 502),
    ],
)
def test_portal_error_has_its_status_and_its_id(app: Flask, owner: Visitor, error: Exception, status: int) -> None:
    replace(app, "jobs.index", lambda: error)

    answer = owner.get("/jobs")

    assert answer.status_code == status
    assert len(REQUEST_ID.findall(answer.text)) == 1
    assert answer.headers.get("Retry-After") == ("77" if status == 429 else None)


def test_request_ids_differ_and_are_ours(visitor: Visitor) -> None:
    found = {
        REQUEST_ID.findall(visitor.get("/nothing", headers={"X-Request-Id": "0123456789abcdef"}).text)[0]
        for _ in range(20)
    }

    assert len(found) == 20
    assert "0123456789abcdef" not in found


def test_address_of_an_error_is_escaped_and_not_shown(visitor: Visitor) -> None:
    answer = visitor.get("/<script>alert(1)</script>?<b>")

    assert answer.status_code == 404
    assert "alert(1)" not in answer.text


def test_refusal_is_logged_with_who_and_what(lead: Visitor, cast: Cast, lines: Lines) -> None:
    lead.get("/audit?actor=secret-query")

    (line,) = lines.named("access_refused")
    assert (line["user_id"], line["right"], line["path"], line["method"]) == (
        cast.lead.user_id,
        "see_audit",
        "/audit",
        "GET",
    )
    assert "secret-query" not in lines.text


def test_failure_logs_neither_query_nor_body_nor_cookie(app: Flask, owner: Visitor, lines: Lines) -> None:
    replace(app, "authorization.callback", bad)
    replace(app, "theme.choose", bad)
    cookie = owner.http.get_cookie("gatehouse", domain="127.0.0.1")
    assert cookie is not None

    owner.get("/oauth/callback/gitlab?code=canary-code-1&state=canary-state-2")
    owner.post("/theme", {"theme": "canary-body-3"}, headers={"Authorization": "Bearer canary-header-4"})

    assert len(lines.named("unexpected_error")) == 2
    assert "canary" not in lines.text
    assert cookie.value not in lines.text


def test_line_is_json_in_utc_with_level_and_logger(lines: Lines) -> None:
    with requesting(RequestInfo("0011223344556677", "1.2.3.4")):
        get_logger("portal.test").warning("something", count=3, note='two\nlines "\x1b[31m')

    (line,) = lines.named("something")
    when = datetime.fromisoformat(line["timestamp"])
    assert when.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - when) < timedelta(minutes=1)
    assert (line["level"], line["logger"], line["count"], line["request_id"]) == (
        "warning",
        "portal.test",
        3,
        "0011223344556677",
    )
    assert len(lines.text.splitlines()) == 1


def test_standard_library_goes_the_same_way(lines: Lines) -> None:
    Secret(VALUE)

    logging.getLogger("some.library").error("it failed with %s", VALUE)

    (line,) = lines.events
    assert line["event"] == "it failed with ***"
    assert line["logger"] == "some.library"


@pytest.mark.parametrize(
    "values",
    [
        {"note": f"before {VALUE} after"},
        {"url": f"https://x/?code={VALUE}&b"},
        {"many": [VALUE, {"deep": VALUE}]},
        {"raw": VALUE.encode()},
        {"client_secret": "short"},
        {"access_token": "short"},
        {"password": "short"},
        {"Authorization": "Bearer short"},
        {"form": {"password": "short"}},
    ],
    ids=lambda values: next(iter(values)),
)
def test_secret_never_reaches_a_line(lines: Lines, values: dict[str, object]) -> None:
    Secret(VALUE)

    get_logger("portal.test").info("something", **values)

    assert VALUE not in lines.text
    assert "short" not in lines.text
    assert "***" in lines.text


def test_deep_and_long_values_are_cut_and_never_fail(lines: Lines) -> None:
    deep: list[object] = ["the innermost"]
    for _ in range(100):
        deep = [deep]
    Secret(VALUE)

    get_logger("portal.test").info("something", deep=deep, long="x" * 10_000_000, cut="y" * 7980 + VALUE)

    (event,) = lines.named("something")
    assert len(str(event)) < 10_000
    assert "the innermost" not in lines.text
    assert VALUE[:16] not in lines.text


def test_secret_in_a_chained_exception_is_redacted(lines: Lines) -> None:
    Secret(VALUE)
    try:
        try:
            raise ValueError(VALUE)
        except ValueError as error:
            raise RuntimeError(f"and {VALUE}") from error
    except RuntimeError:
        get_logger("portal.test").exception("failed")

    assert VALUE not in lines.text
    assert lines.text.count("***") >= 2


def test_request_context_is_gone_after_the_request(app: Flask, owner: Visitor) -> None:
    owner.get("/jobs")

    with app.app_context():
        assert "principal" not in g
