"""The four addresses by which browser, portal and GitLab find one another, and what is known about each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from portal.connections.checklist import CheckState
from portal.connections.models import Connection
from portal.health.models import HealthCheck, HealthWatch
from portal.net import is_same_address
from portal.runtime import Runtime

NOT_SEEN = "Not seen yet."


@dataclass(frozen=True)
class Route:
    """One row of the table of addresses.

    Attributes:
        state: of the check that covers it; empty if the portal cannot tell.
        known: how the portal knows.
    """

    title: str
    address: str
    state: str
    known: str


def routes_of(
    runtime: Runtime, connection: Connection, watch: HealthWatch | None, rows: Iterable[HealthCheck]
) -> list[Route]:
    """Return browser, API, git and hook."""
    current = {row.key: row for row in rows if row.is_current}
    told = watch.addresses if watch else {}
    return [
        _browser(connection, told, current.get("external_url")),
        Route("API", connection.api_url, *_seen(current.get("gitlab"), "Gatehouse asks at each check.")),
        Route("Git", told.get("git", ""), *_seen(current.get("git"), "GitLab says so about its projects.")),
        _hook(runtime, connection),
    ]


def _browser(connection: Connection, told: dict[str, str], row: HealthCheck | None) -> Route:
    state, _ = _seen(row, "")
    issuer = told.get("issuer", "")
    if not issuer:
        known = "GitLab has not reported its own address."
    elif is_same_address(issuer, connection.external_url):
        known = "GitLab uses the same address for itself."
    else:
        known = f"GitLab calls itself {issuer}."
    return Route("Browser", connection.external_url, state, f"{known} Only a browser can tell whether it gets there.")


def _hook(runtime: Runtime, connection: Connection) -> Route:
    known = "Not set up yet." if connection.hooks_wanted else "Not wanted for this connection."
    return Route("Webhook", runtime.settings.base_url if connection.hooks_wanted else "", "", known)


def _seen(row: HealthCheck | None, known: str) -> tuple[str, str]:
    if row is None or row.state == CheckState.SKIPPED:
        return "", row.detail if row and row.detail else NOT_SEEN
    return row.state, known
