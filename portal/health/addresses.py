"""The four addresses between browser, portal, GitLab and its repositories: which one to change if they don't agree."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from portal.connections.models import Connection
from portal.net import is_same_address

BROWSER, API, GIT, HOOK = "external_url", "gitlab", "git", "hooks"
# Checks of the API's route whose failure may mean that the address is wrong, not that the server is down.
ADDRESS_CHECKS = frozenset({"name", "gitlab"})
CLONE_URL = "Admin, Settings, General, Visibility and access controls, Custom Git clone URL for HTTP(S)"


def what_to_change(
    connection: Connection, *, issuer: str, git: str, base_url: str, failed: Collection[str]
) -> dict[str, str]:
    """Return a sentence for each direction whose address should change: which one, where, and to what.

    Args:
        connection: its Domain and its API URL.
        issuer: what GitLab calls itself; empty if it has not said.
        git: where GitLab says its repositories are; empty if it has not said.
        base_url: of this portal, where GitLab's webhooks go.
        failed: keys of the checks that failed.
    """
    domain, api = connection.external_url, connection.api_url
    found: dict[str, str] = {}
    if issuer and not is_same_address(issuer, domain):
        found[BROWSER] = _change_of_browser(issuer, domain, api)
    if ADDRESS_CHECKS & set(failed):
        found[API] = (
            f"If GitLab has moved, change the API URL here ({api}); the Domain can stay."
            if not is_same_address(domain, api)
            else "If GitLab has moved, change the Domain here. If this portal reaches GitLab by another name than "
            "browsers do, enter that name as API URL."
        )
    if git and not any(is_same_address(git, one) for one in (domain, api)):
        found[GIT] = (
            "GitLab builds this address from its external_url: what is said about browsers corrects both."
            if issuer and is_same_address(git, issuer)
            else f"Have GitLab's administrator correct {CLONE_URL}: it says {git}."
        )
    elif git and not is_same_address(git, api):
        found[GIT] = (
            f"If this portal cannot reach {git}, have GitLab's administrator set {CLONE_URL} to {api}. "
            "Nothing has to change here."
        )
    if connection.hooks_wanted and (hint := _change_of_hook(base_url, api)):
        found[HOOK] = hint
    return found


def _change_of_browser(issuer: str, domain: str, api: str) -> str:
    told, typed = urlsplit(issuer), urlsplit(domain)
    in_gitlab = f"have GitLab's administrator set external_url in GitLab to {domain}"
    if is_same_address(issuer, api):
        return f"GitLab knows only the address this portal uses. If browsers should keep using {domain}, {in_gitlab}."
    if told.hostname == typed.hostname and told.scheme != typed.scheme:
        return f"The two differ in http and https: {in_gitlab}."
    return f"If browsers open {issuer}, change the Domain here to it. If not, {in_gitlab}."


def _change_of_hook(base_url: str, api: str) -> str:
    host = urlsplit(base_url).hostname or ""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        ip = None
    is_here = host == "localhost" or bool(ip and ip.is_loopback)
    if is_here and urlsplit(api).hostname not in {"localhost", "127.0.0.1", "::1"}:
        return (
            f"{base_url} only leads here from this very machine: have the operator of this portal set "
            "GATEHOUSE_BASE_URL to an address that GitLab's server can open."
        )
    if ip and ip.is_private:
        return (
            "GitLab refuses private addresses by default: have its administrator allow this one (Admin, Settings, "
            "Network, Outbound requests)."
        )
    return ""
