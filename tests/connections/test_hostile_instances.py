"""Step 2 against strange servers: the layer is named, nothing from the peer is shown, no 5xx."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from portal.connections.limits import CHECKS, count_try
from portal.connections.steps import Step
from portal.connections.store import discard_draft
from portal.errors import RateLimited
from portal.runtime import Runtime
from tests.accounts.at_once import crowd
from tests.accounts.support import BOTH_DATABASES
from tests.connections.drafts import connection_named, draft
from tests.connections.peers import PAGE, Peer, let_through, serving
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import principal_of


def checks_of(owner: Visitor, url: str, name: str = "GitLab") -> str:
    """Enter an address and return the checklist."""
    slug = draft(owner, name)
    assert owner.post(f"/connections/{slug}/setup/instance", {"domain": url}).status_code == 303
    answer = owner.post(f"/connections/{slug}/setup/instance/checks", htmx=True)
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.mark.parametrize(
    "date",
    [
        "",
        "soon",
        "Thu, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 0001 00:00:00 +2359",
        "Thu, 01 Jan 2026 00:00:00 +999999",
        "Thu, 99 Jan 2026 00:00:00 GMT",
    ],
)
def test_time_that_is_none_is_a_warning(owner: Visitor, runtime: Runtime, date: str) -> None:
    with serving(runtime, Peer(date=date)) as peer:
        found = checks_of(owner, peer.url)

    assert "GitLab does not report its time." in found or "GitLab&#39;s clock is" in found


@pytest.mark.parametrize(
    "issuer", ["http://[bad", "https://gitlab.example.com:99999999", "javascript:alert(1)", "x" * 5000, "https://"]
)
def test_issuer_that_is_no_address_is_not_offered(owner: Visitor, runtime: Runtime, issuer: str) -> None:
    with serving(runtime, Peer(issuer=issuer)) as peer:
        found = checks_of(owner, peer.url)

    assert "GitLab reports an external URL that is not a valid address." in found
    assert 'name="use_external"' not in found


@pytest.mark.parametrize(
    ("issuer", "told", "take"),
    [
        ("https://gitlab.example.com:443", "", ""),
        ("https://GitLab.example.com/", "", ""),
        ("http://gitlab.example.com", "sets external_url to https://gitlab.example.com", ""),
        ("http://gitlab.example.com:443", "sets external_url to https://gitlab.example.com", ""),
        ("http://3f2a9c1b7d10", "sets external_url to https://gitlab.example.com", ""),
        ("https://localhost", "sets external_url to https://gitlab.example.com", ""),
        ("https://git.example.com", "browsers should be sent there", "https://git.example.com"),
        ("https://gitlab.example.com/git", "browsers should be sent there", "https://gitlab.example.com/git"),
    ],
)
def test_what_gitlab_calls_itself_is_compared_as_an_address_and_every_button_offered_works(
    owner: Visitor, runtime: Runtime, issuer: str, told: str, take: str
) -> None:
    slug = draft(owner)
    entered = {"domain": "https://gitlab.example.com"}
    with serving(runtime, Peer(issuer=issuer)) as peer:
        owner.post(f"/connections/{slug}/setup/instance", {**entered, "api_url": peer.url})
        found = owner.post(f"/connections/{slug}/setup/instance/checks", htmx=True).text
        line = found.partition('id="check-external_url"')[2].partition("</li>")[0]

        assert told in line
        assert ("GitLab calls itself" in line) == bool(told)
        assert re.findall(r'name="use_external" value="([^"]+)"', found) == [take] * bool(take)
        if take:
            pressed = owner.post(f"/connections/{slug}/setup/instance", {**entered, "use_external": take})
            assert pressed.status_code == 303
            assert connection_named(runtime, "GitLab").external_url == take


def test_only_the_check_that_found_an_address_offers_it(owner: Visitor, runtime: Runtime) -> None:
    with serving(runtime, Peer(hidden="/deep")) as peer:
        found = checks_of(owner, f"{peer.url}/deep")

    assert re.findall(r'name="(use|use_external)" value="([^"]+)"', found) == [("use", peer.url)]


def test_site_that_is_no_gitlab_shows_nothing_of_itself(owner: Visitor, runtime: Runtime) -> None:
    with serving(runtime, Peer(api=PAGE)) as peer:
        found = checks_of(owner, peer.url)

    assert "it was not GitLab" in found
    assert "internal-wiki-7" not in found


@contextmanager
def banner(text: bytes) -> Iterator[str]:
    """Another protocol's server: it speaks first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            while True:
                try:
                    visitor, _ = listener.accept()
                except OSError:
                    return
                with visitor:
                    visitor.sendall(text)

        threading.Thread(target=greet, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("text", [b"-ERR unknown command internal-redis-3\r\n", b"SSH-2.0-internal-ssh-5\r\n"])
def test_other_service_shows_nothing_of_itself(owner: Visitor, runtime: Runtime, text: bytes) -> None:
    with banner(text) as url:
        let_through(runtime, url)
        found = checks_of(owner, url)

    assert "Something is in the way" in found
    assert "internal-" not in found


def test_step_is_done_only_once_the_checks_passed(owner: Visitor, runtime: Runtime) -> None:
    slug = draft(owner)
    owner.post(f"/connections/{slug}/setup/instance", {"domain": "gitlab.nowhere.invalid"})

    assert Step.INSTANCE not in connection_named(runtime, "GitLab").steps_done
    assert owner.get(f"/connections/{slug}/setup/application").status_code == 303

    with serving(runtime, Peer()) as peer:
        owner.post(f"/connections/{slug}/setup/instance", {"domain": peer.url})
        owner.post(f"/connections/{slug}/setup/instance/checks", htmx=True)
    assert Step.INSTANCE in connection_named(runtime, "GitLab").steps_done


def test_root_found_above_the_api_url_leaves_the_browsers_address(owner: Visitor, runtime: Runtime) -> None:
    slug = draft(owner)
    with serving(runtime, Peer(hidden="/deep")) as peer:
        form = {"domain": "https://git.example.com", "api_url": f"{peer.url}/deep"}
        owner.post(f"/connections/{slug}/setup/instance", form)
        found = owner.post(f"/connections/{slug}/setup/instance/checks", htmx=True).text
        owner.post(f"/connections/{slug}/setup/instance", {**form, "use": peer.url})

    assert f"Use {peer.url}" in found
    connection = connection_named(runtime, "GitLab")
    assert (connection.external_url, connection.api_url) == ("https://git.example.com", peer.url)


def test_domain_that_only_browsers_call_may_have_any_port(owner: Visitor, runtime: Runtime) -> None:
    slug = draft(owner)

    form = {"domain": "https://git.example.com:8443", "api_url": "https://git.internal.example.com"}
    assert owner.post(f"/connections/{slug}/setup/instance", form).status_code == 303
    refused = owner.post(f"/connections/{slug}/setup/instance", {"domain": "https://git.example.com:8443"})

    assert refused.status_code == 422


@pytest.mark.parametrize(("proxy", "status"), [("proxy.example.com:3128", 303), ("proxy.example.com:22", 422)])
def test_proxy_may_only_be_at_a_port_for_proxies(owner: Visitor, proxy: str, status: int) -> None:
    slug = draft(owner)

    form = {"domain": "https://git.example.com", "proxy": proxy}
    assert owner.post(f"/connections/{slug}/setup/instance", form).status_code == status


def test_checks_are_limited_for_the_organization_and_not_for_each_draft(owner: Visitor, runtime: Runtime) -> None:
    statuses = []
    with serving(runtime, Peer()) as peer:
        for number in range(3):
            slug = draft(owner, f"Number {number}")
            owner.post(f"/connections/{slug}/setup/instance", {"domain": peer.url})
            for _ in range(3):
                statuses.append(owner.post(f"/connections/{slug}/setup/instance/checks", htmx=True).status_code)

    assert statuses == [200] * 5 + [429] * 4


@BOTH_DATABASES
def test_tries_at_the_same_moment_count_each_other(runtime: Runtime, cast: Cast) -> None:
    principal = principal_of(runtime, cast.owner)

    def look() -> bool:
        try:
            with runtime.database.transaction() as session:
                count_try(session, principal, CHECKS)
        except RateLimited:
            return False
        return True

    assert sum(crowd(runtime.database, "outbound_try", *[look] * 9)) == 5


def test_too_many_tries_leave_the_page_with_what_was_typed(owner: Visitor, runtime: Runtime) -> None:
    slug = draft(owner)
    with serving(runtime, Peer(api=PAGE)) as peer:
        owner.post(f"/connections/{slug}/setup/instance", {"domain": peer.url})
        answers = [owner.post(f"/connections/{slug}/setup/instance", {"domain": peer.url}) for _ in range(6)]

    assert answers[-1].status_code == 429
    assert f'value="{peer.url}"' in answers[-1].text
    assert "Press the button again in a minute" in answers[-1].text


class Discarding(Peer):
    """Discards the draft while it is being checked."""

    discard: Callable[[], None] = staticmethod(lambda: None)

    def answer(self, path: str) -> tuple[int, str, str]:
        self.discard()
        self.discard = lambda: None
        return super().answer(path)


def test_draft_discarded_while_it_is_looked_at_is_not_found(owner: Visitor, runtime: Runtime, cast: Cast) -> None:
    slug = draft(owner)
    peer = Discarding()
    with serving(runtime, peer):
        owner.post(f"/connections/{slug}/setup/instance", {"domain": peer.url})
        peer.discard = lambda: discard_draft(runtime, principal_of(runtime, cast.owner), slug)
        answer = owner.post(f"/connections/{slug}/setup/instance/checks", htmx=True)

    assert answer.status_code == 404
