"""`gatehouse check-host`: how the portal interprets a host, and whether it may be reached. Nothing is sent."""

from __future__ import annotations

from portal.net.address import AddressRefused, parse_address
from portal.net.deadline import exchange
from portal.net.errors import OutboundError
from portal.net.policy import NetworkPolicy
from portal.net.resolver import resolve_checked, system_resolve
from portal.settings import Settings

ALLOWED = 0
REFUSED = 2
LOOKUP_SECONDS = 10


def check_host(text: str, settings: Settings) -> tuple[int, list[str]]:
    """Return the exit code and the lines to print."""
    policy = NetworkPolicy.from_settings(settings)
    try:
        address = parse_address(text, allow_http=settings.allow_http)
    except AddressRefused as error:
        return REFUSED, [f"Refused ({error.code}): {error.sentence}"]
    lines = [f"Understood as {address.url}"]
    try:
        with exchange(LOOKUP_SECONDS):
            found = resolve_checked(policy, address, system_resolve)
    except OutboundError as error:
        return REFUSED, [*lines, f"Refused ({error.code}): {error.sentence}"]
    return ALLOWED, [*lines, f"Resolves to {', '.join(map(str, found))}", "Allowed"]
