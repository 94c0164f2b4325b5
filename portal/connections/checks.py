"""The checks of a connection: how they are stored, as codes with parameters, and how they are worded when shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from portal.errors import Card
from portal.gitlab.identification import consequences_of, parse_version
from portal.web.times import moment


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
        note: code of what it says in addition to its state (`NOTES`), with its parameters.
        card: what is wrong and who can fix it.
        take: an address with which a button on this line replaces the one entered.
    """

    key: str
    state: CheckState
    note: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    card: dict[str, Any] | None = None
    take: str = ""

    @property
    def title(self) -> str:
        """What it is called in step 2."""
        return TITLES_WITHOUT_TLS.get(self.note) or TITLES.get(self.key, "")

    @property
    def detail(self) -> str:
        """What it says in addition to its state."""
        return note_text(self.note, self.params)

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

# Of the check of the certificate, where there is none.
TITLES_WITHOUT_TLS = {
    "in_clear": "The connection is not encrypted",
    "sandbox_in_clear": "Encryption is not needed here",
}


def _until(params: Mapping[str, Any]) -> str:
    return f"Valid until {datetime.fromisoformat(params['until']):%d %B %Y}."


def _skew(params: Mapping[str, Any]) -> str:
    way = "behind" if params["seconds"] > 0 else "ahead of"
    return f"GitLab's clock is {abs(params['seconds'])} seconds {way} this portal's. Tokens may end too early."


def _version(params: Mapping[str, Any]) -> str:
    version = parse_version(params["version"])
    lacking = [item.sentence for item in consequences_of(version)] if version else []
    return " ".join([f"{params['version']} {params['edition']}".strip() + ".", *lacking])


def _renewal_failed(params: Mapping[str, Any]) -> str:
    works = f" The token works until {_moment(params['until'])}." if params["until"] else ""
    return f"The last renewal failed: {Card.from_json(params['why']).sentence}{works}"


def _renewed(params: Mapping[str, Any]) -> str:
    since = f"Renewed {_moment(params['since'])}; " if params["since"] else ""
    return f"{since}renewed again by {_moment(params['by'])}."


def _moment(text: str) -> str:
    return moment(datetime.fromisoformat(text))


# What a check says in addition to its state, by code. A failure is a card instead, and these say nothing about what to
# do.
NOTES: dict[str, str | Callable[[Mapping[str, Any]], str]] = {
    "in_clear": "Plain HTTP: everything is sent unencrypted. Only for a GitLab on this machine.",
    "sandbox_in_clear": "The sandbox uses plain HTTP and never leaves this machine.",
    "valid_until": _until,
    "valid_not_long": lambda params: f"{_until(params)} That is in {params['days']} days.",
    "authority_not_long": lambda params: (
        f"The authority trusted here is valid until {datetime.fromisoformat(params['until']):%d %B %Y}. "
        f"That is in {params['days']} days."
    ),
    "api_answers": "Its API answers.",
    "clock_unknown": "GitLab does not report its time.",
    "clock_skew": _skew,
    "version": _version,
    "version_unknown": "GitLab reports its version only to those who have access.",
    "issuer_unknown": "GitLab does not report its own address, so it cannot be compared.",
    "issuer_invalid": "GitLab reports an external URL that is not a valid address.",
    "issuer_same": "{address}",
    "issuer_inner": (
        "GitLab calls itself {told}. You can continue. Until GitLab's administrator sets external_url to {entered}, "
        "links in GitLab's e-mails and clone addresses lead to the wrong place."
    ),
    "issuer_other": (
        "GitLab calls itself {told}, so browsers should be sent there. Gatehouse itself can keep using {api_url}."
    ),
    # After the authorization.
    "not_reached": "Not asked: GitLab cannot be reached.",
    "failure": lambda params: Card.from_json(params["why"]).sentence,
    "not_authorized": "No one has authorized it yet.",
    "kept": "GitLab has not answered; the credential is kept as it is.",
    "ends": lambda params: f"It expires on {_moment(params['until'])} and cannot be renewed.",
    "token_ends": lambda params: f"It expires on {_moment(params['until'])}.",
    "end_unknown": "GitLab does not say when it ends, so there will be no warning.",
    "rotates": lambda params: f"Rotated by {_moment(params['by'])}, before it expires on {_moment(params['until'])}.",
    "renewal_failed": _renewal_failed,
    "renewed": _renewed,
    "endless": "It does not expire.",
    "user": "@{username}",
    "user_renamed": "@{before} is now called @{username} in GitLab.",
    "user_unreadable": "The token lacks the permission to read its own user.",
    "scopes": "{scopes}",
    "scopes_unknown": "GitLab does not say which scopes the token has.",
    "git": "{base}",
    "git_browser": "{base}, which is the browser's address and not that of the API.",
    "git_elsewhere": "GitLab says to read repositories at {base}, which is neither of its addresses here.",
    "git_unknown": "The service user sees no project that could show it.",
    "hooks_missing": "Not set up yet.",
    "hooks_made": "Webhooks are set up; nothing has been delivered yet.",
    "hooks_deliver": lambda params: f"The newest delivery came {_moment(params['at'])}.",
    "hooks_unwanted": "Not wanted for this connection.",
}


def note_text(code: str, params: Mapping[str, Any]) -> str:
    """Return a note's wording; nothing for one from an older version."""
    told = NOTES.get(code, "")
    try:
        return told.format_map(params) if isinstance(told, str) else told(params)
    except (KeyError, TypeError, ValueError):
        return ""


def passed(key: str, note: str = "", **params: Any) -> Check:
    """Return a check that found nothing wrong."""
    return Check(key, CheckState.PASS, note, params)


def warned(key: str, note: str, card: Card | None = None, take: str = "", **params: Any) -> Check:
    """Return a check that works but says something; with a card it becomes an incident of level warning."""
    return Check(key, CheckState.WARN, note, params, card.to_json() if card else None, take)


def failed(key: str, card: Card, take: str = "") -> Check:
    """Return a check that failed, with what fixes it."""
    return Check(key, CheckState.FAIL, card=card.to_json(), take=take)


def skipped(key: str, note: str = "", **params: Any) -> Check:
    """Return a check that could not be made, or is not wanted."""
    return Check(key, CheckState.SKIPPED, note, params)
