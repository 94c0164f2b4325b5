"""Whatever the body, the response is 4xx before any view has seen it, and nothing is changed (S75, S99, S100)."""

from __future__ import annotations

import pytest
from werkzeug.test import TestResponse

from portal.web.request_checks import BODY_BROKEN, BODY_PROBLEM, BODY_TOO_LARGE, BODY_TOO_SLOW
from tests.conftest import BASE_URL
from tests.security.conftest import World
from tests.security.hostile_bodies import BODIES
from tests.security.logged import catching_lines
from tests.security.rights_matrix import PAGES, PUBLIC, Row
from tests.security.tables import digests
from tests.security.test_limits import REPEATABLE
from tests.support.visitor import Visitor

POSTS = [row for row in PAGES if row.method == "POST"]


def send(visitor: Visitor, method: str, path: str, body: bytes, content_type: str, token: str) -> TestResponse:
    headers = {"Sec-Fetch-Site": "same-origin", "X-CSRFToken": token}
    if content_type:
        headers["Content-Type"] = content_type
    return visitor.http.open(path, method=method, base_url=BASE_URL, headers=headers, data=body, buffered=True)


@pytest.mark.parametrize("row", POSTS, ids=lambda row: row.endpoint)
def test_body_that_no_page_sends_is_400_and_changes_nothing(world: World, row: Row) -> None:
    visitors = [world.signed_in(), *([Visitor(world.app)] if row.right == PUBLIC else [])]
    path = row.path.format(**world.untouched)
    field = next(iter(set(row.form) - REPEATABLE), "name").encode()

    for visitor in visitors:
        token, before = visitor.csrf_token(), digests(world.runtime.database)
        with catching_lines() as lines:
            found = {
                name: send(visitor, "POST", path, body.replace(b"{field}", field), content_type, token).status_code
                for name, (content_type, body, _) in BODIES.items()
            }
        # A wrong one-time link is noticed before the fields are checked.
        wrong = {name for name, status in found.items() if status == 404 and "/wrong" in row.path}
        assert found == {name: 404 if name in wrong else status for name, (_, _, status) in BODIES.items()}
        assert "Traceback" not in lines.text
        assert digests(world.runtime.database) == before


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", ["/sign-in", "/connections/", "/healthz", "/no-such-page", "/static/css/base.css"])
def test_body_where_none_belongs_is_400(world: World, method: str, path: str) -> None:
    for content_type in ("application/x-www-form-urlencoded", "application/json", ""):
        assert send(world.signed_in(), method, path, b"a=b", content_type, "").status_code == 400
    # A length of 0 is no body.
    assert send(world.signed_in(), method, path, b"", "", "").status_code in {200, 303, 404}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "X" * 1000])
def test_other_methods_are_405_and_change_nothing(world: World, method: str) -> None:
    owner = world.signed_in()
    token, before = owner.csrf_token(), digests(world.runtime.database)

    for path in ("/sign-in", "/profile/name", "/connections/", "/healthz"):
        answer = owner.http.open(
            path, method=method, base_url=BASE_URL, headers={"X-CSRFToken": token, "Sec-Fetch-Site": "same-origin"}
        )
        assert answer.status_code == 405
        assert answer.headers["Allow"]

    assert digests(world.runtime.database) == before


@pytest.mark.parametrize(
    ("problem", "status", "sentence"),
    [
        (BODY_TOO_SLOW, 408, "Not all of the request arrived in time"),
        (BODY_BROKEN, 400, "request ended early"),
        (BODY_TOO_LARGE, 413, "larger than"),
    ],
)
def test_what_the_web_server_could_not_read_is_answered_by_a_page(
    world: World, problem: str, status: int, sentence: str
) -> None:
    answer = world.signed_in().post("/theme", {"theme": "dark"}, environ_overrides={BODY_PROBLEM: problem})

    assert answer.status_code == status
    assert sentence in answer.text
    assert "Content-Security-Policy" in answer.headers


@pytest.mark.parametrize("query", ["q=%ff", "q=%ed%a0%80", "q=%", "q=%zz", "q=%00", "%00=1", "next=%c0%af"])
@pytest.mark.parametrize("path", ["/sign-in", "/repositories/", "/audit", "/no-such-page"])
def test_query_that_is_no_text_is_400(world: World, path: str, query: str) -> None:
    assert world.signed_in().get(path, query_string=query).status_code == 400
