from __future__ import annotations

from urllib.parse import urlencode

import pytest
from werkzeug.datastructures import MultiDict

from tests.conftest import BASE_URL
from tests.security.conftest import World
from tests.security.rights_matrix import PAGES, PUBLIC, Row
from tests.security.tables import digests
from tests.support.visitor import Visitor

POSTS = [row for row in PAGES if row.method == "POST"]
FORMS = [row for row in POSTS if "/wrong" not in row.path]
# What someone might hope to set along the way.
SMUGGLED = ("is_admin", "organization_id", "connection_id", "created_by_user_id", "state", "_method")
# Fields that a page sends several times: one value for each box that is ticked.
REPEATABLE = {"services", "repository_id"}
LARGE = 2_000_000
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"


def endpoint_of(row: Row) -> str:
    return row.endpoint


def multipart(*values: bytes) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\n'
    return b"".join(head + value + b"\r\n" for value in values) + b"--b--\r\n"


@pytest.mark.parametrize("row", POSTS, ids=endpoint_of)
def test_body_beyond_the_limit_is_413_on_every_form(world: World, row: Row) -> None:
    owner = world.signed_in()
    path = row.path.format(**world.untouched)
    token, before = owner.csrf_token(), digests(world.runtime.database)

    form = owner.post(path, b"name=" + b"x" * LARGE, token=token, content_type=URLENCODED)
    json = owner.post(path, b"[" * LARGE, token=token, content_type="application/json")
    plain = owner.post(path, b"x" * LARGE, token=token, content_type="text/plain")
    parts = owner.post(path, multipart(*(b"x" for _ in range(10_000))), token=token, content_type=MULTIPART)
    file = owner.post(path, multipart(b"x" * LARGE), token=token, content_type=MULTIPART)

    assert [answer.status_code for answer in (form, json, plain, parts, file)] == [413] * 5
    assert digests(world.runtime.database) == before


def test_limit_is_the_same_for_htmx_and_answers_a_fragment(world: World) -> None:
    answer = world.signed_in().post("/profile/name", b"x" * LARGE, htmx=True, content_type=URLENCODED)

    assert answer.status_code == 413
    assert "<html" not in answer.text


@pytest.mark.parametrize("path", ["/sign-in", "/jobs", "/audit", "/repositories/", "/no-such-page", "/healthz"])
def test_query_beyond_the_limit_is_413(world: World, path: str) -> None:
    assert world.signed_in().get(path, query_string="q=" + "x" * 10_000).status_code == 413


@pytest.mark.parametrize("row", [row for row in PAGES if row.method == "GET"], ids=endpoint_of)
def test_query_that_nobody_expects_never_fails(world: World, row: Row) -> None:
    owner = world.signed_in()
    path = row.path.format(**world.untouched)

    for query in (
        "before=abc&after=zzz&state=no&q=%00&page=-1&group=%ff",
        "before=99999999999999999999999&after=1:x&state=&actor=%25_%5c&action=%25",
        "before=-1&after=-1:x&q=" + "%F0%9F%98%80" * 50,
        "after=%C2%B2:x&before=%C2%B2",
        urlencode({"q": "'; DROP TABLE user; --", "sort": "id;drop", "actor": "' OR 1=1"}),
        "q=a&q=b&before=1&before=2&action=a&action=b",
        "&&&===&=",
    ):
        answer = owner.get(path, query_string=query, buffered=True)
        assert answer.status_code < 500, query


@pytest.mark.parametrize("row", FORMS, ids=endpoint_of)
def test_field_that_the_page_does_not_have_is_400_and_changes_nothing(world: World, row: Row) -> None:
    owner, names = world.signed_in(), world.untouched
    token, before = owner.csrf_token(), digests(world.runtime.database)

    found = {
        field: owner.post(row.path.format(**names), {**world.form(row, names), field: "1"}, token=token).status_code
        for field in SMUGGLED
        if (row.endpoint, field) not in {("repositories.enable", "state"), ("repositories.disable", "state")}
    }

    assert found == dict.fromkeys(found, 400)
    assert digests(world.runtime.database) == before


@pytest.mark.parametrize("row", [row for row in FORMS if set(row.form) - REPEATABLE], ids=endpoint_of)
def test_field_that_comes_twice_is_400_and_changes_nothing(world: World, row: Row) -> None:
    owner, names = world.signed_in(), world.untouched
    token, before = owner.csrf_token(), digests(world.runtime.database)

    for field in set(row.form) - REPEATABLE:
        form = MultiDict(world.form(row, names))
        form.add(field, "owner")
        assert owner.post(row.path.format(**names), form, token=token).status_code == 400

    assert digests(world.runtime.database) == before


@pytest.mark.parametrize("row", FORMS, ids=endpoint_of)
def test_hostile_values_never_fail(world: World, row: Row) -> None:
    owner, token = world.signed_in(), ""
    names = world.names(world.cast.owner, "own")

    for value in (
        "",
        "\x00",
        "\ud83d".encode("utf-16", "surrogatepass").decode("latin-1"),
        "x" * 100_000,
        "'\"<>",
        "-1",
    ):
        # Each may have ended the session (a new role, signing out), so each has its own.
        owner = world.signed_in()
        token = owner.csrf_token()
        answer = owner.post(row.path.format(**names), dict.fromkeys(row.form, value), token=token)
        assert answer.status_code < 500


@pytest.mark.parametrize("row", [row for row in FORMS if row.form and row.right != PUBLIC], ids=endpoint_of)
def test_json_is_no_form(world: World, row: Row) -> None:
    owner, names = world.signed_in(), world.untouched
    before = digests(world.runtime.database)

    for body in (b"[" * 200_000, b'{"role": "owner", "name": "x"}', b"\xff\xfe"):
        answer = owner.post(row.path.format(**names), body, content_type="application/json")
        assert answer.status_code == 400

    assert digests(world.runtime.database) == before


@pytest.mark.parametrize("header", ["User-Agent", "Cookie", "HX-Target", "X-Forwarded-For", "Accept-Language"])
def test_long_header_does_no_harm(world: World, header: str) -> None:
    answer = Visitor(world.app).http.get("/sign-in", headers={header: "x" * 60_000}, base_url=BASE_URL)

    assert answer.status_code == 200
