"""Every check: what it is called, and on which route between browser, portal and GitLab it lies."""

from __future__ import annotations

from dataclasses import dataclass

from portal.connections.checklist import Check, CheckState
from portal.errors import Card

TITLES = {
    "name": "The name resolves",
    "port": "The port is open",
    "certificate": "The certificate is trusted",
    "gitlab": "GitLab's API answers",
    "clock": "The clocks agree",
    "version": "The version is new enough",
    "credential": "The credential is alive",
    "token": "GitLab accepts the token",
    "user": "It belongs to the service user",
    "scopes": "It has the scopes that are needed",
    "work": "Background work succeeds",
    "external_url": "GitLab knows itself by the browser's address",
    "git": "Repositories are at this GitLab's address",
    "hooks": "GitLab reaches Gatehouse",
}


@dataclass(frozen=True)
class Direction:
    """One route, with the checks along it in order."""

    title: str
    note: str
    keys: tuple[str, ...]
    # Title of the address it leads to, as `routes_of` calls it; empty if it leads to none.
    route: str = ""


DIRECTIONS = (
    Direction(
        "Gatehouse to GitLab’s API",
        "Layer by layer. After the first failure the rest are skipped.",
        ("name", "port", "certificate", "gitlab", "clock", "version"),
        "API",
    ),
    Direction(
        "Credential",
        "What Gatehouse shows GitLab, and what GitLab says about it.",
        ("credential", "token", "user", "scopes", "work"),
    ),
    Direction(
        "Browser to GitLab",
        "People are sent there to authorize. Only a browser can test this route itself.",
        ("external_url",),
        "Browser",
    ),
    Direction("Gatehouse to Git over HTTP", "Where GitLab says its repositories are.", ("git",), "Git"),
    Direction("GitLab to Gatehouse", "Webhooks report changes.", ("hooks",), "Webhook"),
)


def passed(key: str, detail: str = "") -> Check:
    """Return a check that found nothing wrong."""
    return Check(key, TITLES[key], CheckState.PASS, detail)


def warned(key: str, detail: str, card: Card | None = None) -> Check:
    """Return a check that works but says something; with a card it becomes an incident of level warning."""
    return Check(key, TITLES[key], CheckState.WARN, detail, card.to_json() if card else None)


def failed(key: str, card: Card) -> Check:
    """Return a check that failed."""
    return Check(key, TITLES[key], CheckState.FAIL, card=card.to_json())


def skipped(key: str, detail: str = "") -> Check:
    """Return a check that could not be made, or is not wanted."""
    return Check(key, TITLES[key], CheckState.SKIPPED, detail)
