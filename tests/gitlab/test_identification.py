"""What counts as a GitLab, and what does not."""

from __future__ import annotations

import pytest

from portal.gitlab.answers import GitLabUnavailable, NotGitLab, Unproved
from portal.gitlab.identification import identify
from portal.net import NetworkPolicy, OutboundClient, RedirectRefused, parse_address
from tests.gitlab.impostors import DISCOVERY, GITLAB_REFUSAL, GITLABS, IMPOSTORS, VERSION, Reply, Table, openid, playing


def identified(table: Table, prefix: str = "", external_url: str = "") -> bool:
    """Let the portal check a server; return whether it recognises it as a GitLab."""
    with playing(table, prefix) as impostor:
        address = parse_address(impostor.url + prefix, allow_http=True)
        with OutboundClient(NetworkPolicy(exempt=address)).session(address) as line:
            try:
                found = identify(line, external_url)
            except NotGitLab:
                return False
            assert found.api.status in {200, 401}
            return True


def test_there_are_more_than_twenty_impostors() -> None:
    assert len(IMPOSTORS) > 20


@pytest.mark.parametrize("name", IMPOSTORS)
def test_what_is_no_gitlab_is_not_taken_for_one(name: str) -> None:
    assert not identified(IMPOSTORS[name])


@pytest.mark.parametrize("prefix", ["", "/tools/gitlab"])
@pytest.mark.parametrize("name", GITLABS)
def test_gitlab_is_known_by_what_proxies_leave_of_it(name: str, prefix: str) -> None:
    assert identified(GITLABS[name], prefix)


@pytest.mark.parametrize(
    ("issuer", "external_url", "is_about_it"),
    [
        ("https://gitlab.example.com", "https://gitlab.example.com", True),
        ("https://gitlab.example.com:443/", "https://gitlab.example.com", True),
        ("https://GitLab.example.com", "https://gitlab.example.com", True),
        # TLS ends at a proxy that does not say so.
        ("http://gitlab.example.com", "https://gitlab.example.com", True),
        ("https://gitlab.example.com/git", "https://gitlab.example.com/git", True),
        ("https://gitlab.example.com/git", "https://gitlab.example.com", False),
        ("https://gitlab.example.com.evil.test", "https://gitlab.example.com", False),
        ("https://gitlab.example.com:8443", "https://gitlab.example.com", False),
        ("https://gitlab.example.com", "", False),
        ("https://[bad", "https://gitlab.example.com", False),
    ],
)
def test_document_counts_only_if_it_is_about_this_gitlab(issuer: str, external_url: str, is_about_it: bool) -> None:
    base = issuer.rstrip("/")
    document = openid(f"{base}/oauth/authorize", f"{base}/oauth/token", issuer)

    table = {VERSION: GITLAB_REFUSAL, DISCOVERY: document, "*": Reply(404, "")}
    assert identified(table, external_url=external_url) == is_about_it


@pytest.mark.parametrize("changed", ["authorization_endpoint", "token_endpoint"])
def test_document_counts_only_with_the_endpoints_of_gitlab(changed: str) -> None:
    document = openid("{base}/oauth/authorize", "{base}/oauth/token")
    document.body[changed] = "{base}/oauth/authorise"

    assert not identified({VERSION: GITLAB_REFUSAL, DISCOVERY: document, "*": Reply(404, "")})


def test_gitlab_that_cannot_show_its_document_now_is_not_called_something_else() -> None:
    table = {VERSION: GITLAB_REFUSAL, DISCOVERY: Reply(502, ""), "*": Reply(404, "")}
    with pytest.raises(GitLabUnavailable):
        identified(table)


def test_redirect_of_the_document_is_named() -> None:
    moved = Reply(302, "", {"Location": "https://sso.example.com/"})
    with pytest.raises(RedirectRefused):
        identified({VERSION: GITLAB_REFUSAL, DISCOVERY: moved, "*": Reply(404, "")})


def test_missing_proof_says_which_header_and_which_path_to_let_through() -> None:
    card = Unproved(status=401).card()

    assert "X-Request-Id" in card.remedy
    assert DISCOVERY in card.remedy
