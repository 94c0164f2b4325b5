from __future__ import annotations

import re
from urllib.parse import quote, urlencode

import pytest

from portal.web.addresses import safe_next
from tests.conftest import BASE_URL
from tests.security.conftest import World
from tests.support.visitor import Visitor

START = "/connections/"
REFUSED = [
    "//evil.example.com",
    # One of our routes matches what follows the first slash; a browser reads it as a host.
    "//profile",
    "//jobs",
    "///evil.example.com",
    "/\\evil.example.com",
    "\\/evil.example.com",
    "\\\\evil.example.com",
    "/\t/evil.example.com",
    "\t//evil.example.com",
    " //evil.example.com",
    "/\n/evil.example.com",
    "/\r/evil.example.com",
    "/ok\r\nSet-Cookie: a=b",
    "/jobs\r\nLocation: //evil.example.com",
    "/jobs\n",
    "/jobs\x00",
    "/jobs\x0b",
    "/jobs\u2028",
    "/jobs\u3002",
    "https:evil.example.com",
    "https:/evil.example.com",
    "https://evil.example.com",
    "HTTPS://evil.example.com",
    "http://127.0.0.1:8000@evil.example.com/",
    "http://127.0.0.1:8000/jobs",
    "javascript:alert(1)",
    "java\tscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "/%5c/evil.example.com",
    "/%2f/evil.example.com",
    "/%09/evil.example.com",
    "/.//evil.example.com",
    "/..//evil.example.com",
    "/@evil.example.com",
    "/;//evil.example.com",
    "evil.example.com",
    "jobs",
    "?next=//evil.example.com",
    "#//evil.example.com",
    "/jobs#fragment",
    '/jobs"><script>',
    "/no-such-page",
    "/sign-out",
    "/profile/name",
    "",
    " ",
    "/",
    "/jobs?" + "x" * 10_000,
    "/" + "x" * 10_000,
    "\u2215\u2215evil.example.com",
    "\uff0f\uff0fevil.example.com",
    "/\ud7ff",
]
# The start page only redirects; it is safe, though no one is sent there.
ALLOWED = [
    "/jobs",
    "/audit?action=member.&actor=%C3%A9",
    "/connections/new",
    "/connections/gitlab/setup/instance",
    "/repositories/?q=a+b&group=x%2Fy",
    "/profile",
    "/connections",
    "/jobs?next=//evil.example.com",
]


def is_ours(location: str) -> bool:
    return re.fullmatch(r"/(?![/\\])[\x21-\x7e]*", location) is not None


@pytest.mark.parametrize("text", [text for text in REFUSED if text != "/"], ids=lambda text: repr(text)[:40])
def test_address_that_is_not_one_of_ours_is_dropped(world: World, text: str) -> None:
    with world.app.test_request_context("/", base_url=BASE_URL):
        assert safe_next(text) == ""

    owner, query = world.signed_in(), urlencode({"next": text}, encoding="utf-8")
    signed_in = owner.http.get(f"/sign-in?{query}", base_url=BASE_URL)
    theme = owner.post("/theme", {"theme": "dark", "next": text})
    refused = 413 if len(text) > 8000 else 400 if "\x00" in text else 0

    assert (signed_in.status_code, signed_in.headers.get("Location")) == ((refused, None) if refused else (303, START))
    assert (theme.status_code, theme.headers.get("Location")) == ((400, None) if refused == 400 else (303, "/"))


# Anything longer is refused for its length, which the test above covers.
@pytest.mark.parametrize("text", [text for text in REFUSED if len(text) <= 8000], ids=lambda text: repr(text)[:40])
def test_sign_in_form_does_not_carry_it_on(world: World, text: str) -> None:
    visitor = Visitor(world.app)

    page = visitor.http.get("/sign-in?" + urlencode({"next": text}), base_url=BASE_URL)
    again = visitor.post("/sign-in", {"email": "", "password": "x" * 2000, "next": text})

    for answer in (page, again):
        assert answer.status_code in ({400} if "\x00" in text else {200, 422, 429})
        carried = re.search(r'name="next" value="([^"]*)"', answer.text)
        assert carried is None or is_ours(carried.group(1))


@pytest.mark.parametrize("raw", ["%0d%0aX:y", "+"])
def test_odd_bytes_lead_nowhere_else(world: World, raw: str) -> None:
    answer = world.signed_in().http.get(f"/sign-in?next=/{raw}", base_url=BASE_URL)

    assert (answer.status_code, answer.headers["Location"]) == (303, START)


@pytest.mark.parametrize("raw", ["%00", "%ff", "%", "%zz", "%c0%af%c0%afevil.example.com"])
def test_broken_bytes_are_a_bad_request(world: World, raw: str) -> None:
    assert world.signed_in().http.get(f"/sign-in?next=/{raw}", base_url=BASE_URL).status_code == 400


@pytest.mark.parametrize("text", ALLOWED)
def test_address_of_ours_is_gone_on_to(world: World, text: str) -> None:
    owner = world.signed_in()

    answer = owner.get("/sign-in?next=" + quote(text))
    theme = owner.post("/theme", {"theme": "dark", "next": text})

    assert answer.headers["Location"] == text
    assert theme.headers["Location"] == text
    assert is_ours(text)


def test_visitor_comes_back_to_the_page_they_asked_for(world: World) -> None:
    answer = Visitor(world.app).get("/audit?action=member.")

    assert answer.headers["Location"] == "/sign-in?next=/audit?action%3Dmember."


def test_htmx_is_sent_to_the_same_places_only(world: World) -> None:
    owner = world.signed_in()

    answer = owner.post("/theme", {"theme": "dark", "next": "//evil.example.com"}, htmx=True)

    assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, "/")
