"""Where GitLab lets hooks go: public addresses of known hosts, unless the administrator allows local ones."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from portal.sandbox.settings import SandboxSettings

LOCAL_NAMES = frozenset({"localhost", "ip6-localhost", "localhost.localdomain"})


def is_allowed_url(url: str, settings: SandboxSettings) -> bool:
    """Return whether a hook may go to `url`.

    Names are not looked up: `*.invalid` and `settings.unresolvable_hosts` count as unknown, `localhost` and
    `*.localhost` as local, every other name as public.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    host = (parts.hostname or "").rstrip(".").lower()
    if parts.scheme not in ("http", "https") or not host:
        return False
    if host.endswith(".invalid") or host in settings.unresolvable_hosts:
        return False
    return settings.allow_local_hooks or not _is_local(host)


def _is_local(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host in LOCAL_NAMES or host.endswith(".localhost")
    return not address.is_global
