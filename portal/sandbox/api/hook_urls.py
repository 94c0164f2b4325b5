"""Where GitLab lets hooks go: public addresses of known hosts, unless the administrator allows others."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

from portal.sandbox.settings import SandboxSettings

LOCAL_NAMES = frozenset({"localhost", "ip6-localhost", "localhost.localdomain"})
MAX_URL_LENGTH = 2048
SHARED = ipaddress.ip_network("100.64.0.0/10")
BLOCK_ALL_SINCE = (15, 10)


def blocked_because(url: str, settings: SandboxSettings, *, system: bool = False) -> str:
    """Return why no hook may go to `url`, in GitLab's words; empty if one may.

    The API never says them: it answers "Invalid url given" whatever the reason. Names are not looked up:
    `settings.resolver` knows some, `*.invalid` and `settings.unresolvable_hosts` count as unknown, `localhost` and
    `*.localhost` as local, every other name as public.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "URI is invalid"
    host = (parts.hostname or "").rstrip(".").lower()
    if parts.scheme not in ("http", "https"):
        return "Only allowed schemes are http, https"
    if not host or len(url) > MAX_URL_LENGTH:
        return "URI is invalid"
    told = settings.resolver.get(host, host)
    if _is_listed(parts, host, told, settings):
        return ""
    release = tuple(int(part) for part in settings.version.split(".")[:2])
    if settings.block_other_outbound and release >= BLOCK_ALL_SINCE:
        return "Requests to hosts and IP addresses not on the Allow List are denied"
    if host.endswith(".invalid") or host in settings.unresolvable_hosts:
        return "Host cannot be resolved or invalid"
    allows_local = settings.allow_local_system_hooks if system else settings.allow_local_hooks
    return "" if allows_local else _why_local(told)


def _is_listed(parts: SplitResult, host: str, told: str, settings: SandboxSettings) -> bool:
    """Return whether an entry of the allowlist covers it: a name or an address, with or without a port, or a range."""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    for entry in settings.outbound_allowlist:
        if entry.lower() in (host, told, f"{host}:{port}", f"{told}:{port}"):
            return True
        try:
            if ipaddress.ip_address(told) in ipaddress.ip_network(entry):
                return True
        except ValueError:
            continue
    return False


def _why_local(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        is_local = host in LOCAL_NAMES or host.endswith(".localhost")
        return "Requests to localhost are not allowed" if is_local else ""
    if address.is_global:
        return ""
    if address.is_loopback:
        return "Requests to loopback addresses are not allowed"
    if address.is_link_local:
        return "Requests to the link local network are not allowed"
    if address.version == 4 and address in SHARED:
        return "Requests to the shared address space are not allowed"
    return "Requests to the local network are not allowed"
