"""The lines of step 2's checklist, and how they are stored."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from portal.errors import Card


class CheckState(StrEnum):
    """The result of one check; the value is what the checklist component shows."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """One line of the checklist.

    Attributes:
        card: what is wrong and who can fix it.
        take: an address with which a button on this line replaces the one entered.
    """

    key: str
    title: str
    state: CheckState
    detail: str = ""
    card: dict[str, Any] | None = None
    take: str = ""

    @property
    def failure(self) -> Card | None:
        """The card as an object."""
        return Card.from_json(self.card) if self.card else None


@dataclass(frozen=True)
class Checklist:
    """All lines, the certificates seen, and when they were checked.

    Attributes:
        announces_issuer: whether GitLab says that its callbacks name their issuer (RFC 9207 §3); None: not told.
        issuer: what GitLab calls itself, as it writes it; empty if it did not say.
        scopes_supported: the scopes that GitLab says it has; empty if it did not say.
    """

    checks: list[Check]
    chain: list[dict[str, Any]]
    checked_at: datetime
    announces_issuer: bool | None = None
    issuer: str = ""
    scopes_supported: list[str] = field(default_factory=list)

    @property
    def is_passed(self) -> bool:
        """Whether nothing prevents continuing; warnings do not."""
        return all(check.state != CheckState.FAIL for check in self.checks)

    @property
    def is_answering(self) -> bool:
        """Whether GitLab was found at the address."""
        return any(check.key == "gitlab" and check.state == CheckState.PASS for check in self.checks)

    @property
    def failure(self) -> Card | None:
        """The card of the first failure."""
        return next((check.failure for check in self.checks if check.state == CheckState.FAIL), None)

    def to_json(self) -> dict[str, Any]:
        """Return what is stored on the connection."""
        return {
            "checks": [asdict(check) for check in self.checks],
            "chain": self.chain,
            "checked_at": self.checked_at.isoformat(),
            "announces_issuer": self.announces_issuer,
            "issuer": self.issuer,
            "scopes_supported": self.scopes_supported,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Checklist:
        """Read what `to_json` wrote."""
        return cls(
            checks=[Check(**{**item, "state": CheckState(item["state"])}) for item in data["checks"]],
            chain=data["chain"],
            checked_at=datetime.fromisoformat(data["checked_at"]),
            announces_issuer=data.get("announces_issuer"),
            issuer=data.get("issuer", ""),
            scopes_supported=data.get("scopes_supported", []),
        )


TITLES = {
    "name": "The name resolves",
    "port": "The port is open",
    "certificate": "The certificate is trusted",
    "gitlab": "It is GitLab",
    "external_url": "GitLab knows itself by this address",
    "clock": "The clocks agree",
    "version": "The version is new enough",
}


def passed(key: str, detail: str = "") -> Check:
    """Return a line that passed."""
    return Check(key, TITLES[key], CheckState.PASS, detail)


def warned(key: str, detail: str, take: str = "") -> Check:
    """Return a line with a warning."""
    return Check(key, TITLES[key], CheckState.WARN, detail, take=take)


def failed(key: str, card: Card, take: str = "") -> Check:
    """Return a line that failed, with what fixes it."""
    return Check(key, TITLES[key], CheckState.FAIL, card=card.to_json(), take=take)
