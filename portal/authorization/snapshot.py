"""What an attempt keeps of the connection as it was at the start, and the check of the answer's `iss` against it.

So the answer of one GitLab cannot be passed off as another's (RFC 9700 §4.4.2; RFC 9207).
"""

from __future__ import annotations

from typing import Any

from portal.connections.applications import redirect_uri_of, wanted_scopes
from portal.connections.checklist import announced_issuer, announces_issuer
from portal.connections.models import Application, Connection
from portal.errors import Card
from portal.runtime import Runtime


def freeze(runtime: Runtime, connection: Connection, application: Application) -> dict[str, Any]:
    """Return what the attempt is checked against, whatever happens to the connection; `names_issuer`: RFC 9207 §3."""
    return {
        "browser_url": connection.external_url,
        "api_url": connection.api_url,
        "client_id": application.client_id,
        "redirect_uri": redirect_uri_of(runtime, connection),
        "scopes": wanted_scopes(connection),
        "service_username": connection.service_username,
        "names_issuer": announces_issuer(connection),
        "issuer": announced_issuer(connection),
    }


def refusal_of_issuer(frozen: dict[str, Any], issuer: str | None) -> Card | None:
    """Judge the `iss` of a callback, character by character (RFC 9207 §2.4).

    Args:
        frozen: what `freeze` returned.
        issuer: as it came, None if none did.

    Returns:
        What a person reads when the answer must not be used; None if it may.
    """
    if issuer is None:
        # Few GitLabs name themselves; for the others, the connection's own redirect URI takes that role.
        return Card("issuer_missing") if frozen.get("names_issuer") else None
    # What GitLab announced counts, however it spells its address: `http` behind a proxy that ends TLS, or with a port.
    expected = frozen.get("issuer") or frozen["browser_url"]
    return None if issuer == expected else Card("issuer_wrong")
