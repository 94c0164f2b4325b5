"""Every page about the connection warns about plain HTTP for as long as it is used."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from portal.connections.models import Connection
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.connections.drafts import draft
from tests.support.connected import connect
from tests.support.people import Cast
from tests.support.visitor import Visitor

SENTENCE = "Tokens and code cross the network unencrypted."
PLAIN = "http://gitlab.example.com"
PAGES = (
    "",
    "/credential",
    "/health",
    "/setup/instance",
    "/setup/services",
    "/setup/authorize",
    "/disconnect",
)


class Banner(HTMLParser):
    """The content of the element with the banner's id."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.depth, self.tags, self.text = 0, [], ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.depth or ("id", "in-clear") in attrs:
            self.depth += tag not in {"use", "path"}
            self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.depth -= bool(self.depth and tag not in {"use", "path"})

    def handle_data(self, data: str) -> None:
        self.text += data if self.depth else ""


def lead_to(runtime: Runtime, connection_id: int, address: str) -> None:
    with runtime.database.transaction() as session:
        connection = session.get_one(Connection, connection_id)
        connection.api_url = connection.external_url = address


@pytest.fixture
def connected(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> int:
    return connect(runtime, sandbox, cast.owner)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_about_a_connection_over_plain_http_says_so(
    runtime: Runtime, owner: Visitor, connected: int, page: str
) -> None:
    lead_to(runtime, connected, PLAIN)

    answer = owner.get(f"/connections/gitlab{page}")

    assert answer.status_code == 200
    banner = Banner(answer.text)
    assert SENTENCE in banner.text
    assert PLAIN in banner.text
    assert "Who can fix it: your GitLab administrator" in banner.text
    assert not {"button", "form"} & set(banner.tags)


@pytest.mark.parametrize("page", ["", "/credential", "/health"])
@pytest.mark.parametrize("address", ["https://gitlab.example.com", "https://http.example.com/http:"])
def test_nothing_is_said_of_https(runtime: Runtime, owner: Visitor, connected: int, page: str, address: str) -> None:
    lead_to(runtime, connected, address)

    assert SENTENCE not in owner.get(f"/connections/gitlab{page}").text


def test_address_of_the_api_decides(runtime: Runtime, owner: Visitor, connected: int) -> None:
    with runtime.database.transaction() as session:
        connection = session.get_one(Connection, connected)
        connection.external_url, connection.api_url = "https://gitlab.example.com", "http://gitlab.internal/git"

    assert SENTENCE in owner.get("/connections/gitlab").text


def test_sandbox_that_the_operator_started_is_no_network(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, connected: int
) -> None:
    assert SENTENCE in owner.get("/connections/gitlab").text
    local = runtime.settings.model_copy(update={"sandbox_origin": sandbox.url})

    object.__setattr__(runtime, "settings", local)

    assert SENTENCE not in owner.get("/connections/gitlab").text


def test_who_may_not_change_the_address_is_told_who_does(runtime: Runtime, lead: Visitor, connected: int) -> None:
    lead_to(runtime, connected, PLAIN)

    banner = Banner(lead.get("/connections/gitlab").text)

    assert "an administrator of Gatehouse enters the https address" in banner.text
    assert "a" not in banner.tags


def test_pages_about_no_connection_or_one_without_an_address_say_nothing(
    runtime: Runtime, owner: Visitor, connected: int
) -> None:
    lead_to(runtime, connected, PLAIN)
    slug = draft(owner, "Second")

    for page in ("/connections/", "/connections/new", "/repositories/", "/jobs", f"/connections/{slug}/setup/instance"):
        assert SENTENCE not in owner.get(page).text
