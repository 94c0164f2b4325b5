"""Why GitLab refuses a URL. GitLab only says "Invalid url given", so the reason is worked out from the address itself.

https://docs.gitlab.com/security/webhooks/: webhooks may not call the local network unless an administrator allows it or
lists the host; since 15.10 everything that is not listed can be blocked; and a name must resolve on the web server that
stores the hook.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from enum import StrEnum
from urllib.parse import urlsplit

from portal.errors import Card
from portal.net.resolver import system_resolve

LOCAL_NAMES = ("localhost", "localhost.localdomain")


class Reach(StrEnum):
    """Where the portal's address leads, seen from the portal."""

    LOOPBACK = "loopback"
    LOCAL = "local"
    PUBLIC = "public"


def host_of(base_url: str) -> str:
    """Return the line for GitLab's list: the host, with its port if it is not the scheme's own."""
    parts = urlsplit(base_url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return f"{host}:{parts.port}" if parts.port else host


def reach_of(base_url: str, resolve: Callable[[str, int], list[str]] = system_resolve) -> Reach:
    """Return where the portal's address leads; a name that does not resolve here counts as public."""
    host = urlsplit(base_url).hostname or ""
    if host in LOCAL_NAMES or host.endswith(".localhost"):
        return Reach.LOOPBACK
    try:
        found = [ipaddress.ip_address(text) for text in resolve(host, 443)]
    except (OSError, ValueError):
        return Reach.PUBLIC
    if any(address.is_loopback for address in found):
        return Reach.LOOPBACK
    return Reach.LOCAL if any(not address.is_global for address in found) else Reach.PUBLIC


def explain_refused_url(base_url: str, *, are_others_accepted: bool) -> Card:
    """Return why GitLab refuses the portal's URL.

    If it accepts others, the setting is right on the servers that stored those; only some differ.
    """
    about = {"host": host_of(base_url), "name": urlsplit(base_url).hostname or ""}
    if are_others_accepted:
        return Card("hook_url_refused", about)
    return Card("hooks_url_refused", {**about, "case": str(reach_of(base_url))})


def expected_refusal(base_url: str) -> Card | None:
    """Return what GitLab will probably say to the portal's URL, before it is asked; None if nothing speaks against it.

    GitLab may allow it already; only the first hook shows that.
    """
    reach = reach_of(base_url)
    if reach == Reach.PUBLIC:
        return None
    return Card("hooks_url_expected", {"host": host_of(base_url), "case": str(reach)})
