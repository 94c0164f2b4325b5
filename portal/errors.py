"""What can go wrong, shaped by what the person in front of the page can do next.

    PortalError                  500  our fault
    ├── BadRequest               400  the request itself makes no sense
    ├── SignInRequired           401  nobody is signed in
    ├── NotFound                 404  does not exist, or may not be seen: the two look the same
    ├── Conflict                 409  somebody or something changed it meanwhile
    ├── InvalidInput             422  a form has errors
    ├── RateLimited              429  too many tries
    ├── Unavailable              503  we cannot do it now
    │   └── NothingStored        503  the disk is full, or takes no writes; carries a Card
    └── UpstreamFailed           502  GitLab, or the way to it, failed; carries a Card

A Card is what a person reads of a failure: the layer, one plain sentence, who can mend it, and how.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from portal.foreign import ShortText, Words


class Layer(StrEnum):
    """Where on the way to GitLab something failed; the value is the word people read."""

    POLICY = "Network policy"
    DNS = "Name resolution"
    TCP = "Connection"
    TLS = "TLS"
    PROXY = "Proxy"
    HTTP = "HTTP"
    GITLAB = "GitLab"
    OAUTH = "OAuth"
    SCOPE = "Scope"
    ROLE = "Role"
    PORTAL = "Gatehouse"


class Mender(StrEnum):
    """Who can mend a failure."""

    YOU = "You"
    GITLAB_ADMIN = "Your GitLab administrator"
    NETWORK = "Your network team"
    OPERATOR = "The operator of this portal"
    NOBODY = "Nobody: it mends itself"


@dataclass(frozen=True)
class CardAction:
    """A button or link that mends, or helps to."""

    label: str
    url: str
    external: bool = False
    method: str = "get"


@dataclass(frozen=True)
class Card:
    """A failure as a person reads it.

    Attributes:
        code: stable, for tests, support and the audit log (`tls_unknown_ca`).
        words: GitLab's own words; whatever is given or was stored is cleaned.
        request_id: GitLab's `x-request-id`, for its administrator's log search.
    """

    code: str
    layer: Layer
    sentence: str
    remedy: str
    mender: Mender
    words: str = ""
    request_id: str = ""
    actions: tuple[CardAction, ...] = field(default=())

    def __post_init__(self) -> None:
        """Clean what is foreign: also of a row that an older version wrote."""
        object.__setattr__(self, "words", Words(self.words))
        object.__setattr__(self, "request_id", ShortText(self.request_id))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types, for a row of ours."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Card:
        """Read what `to_json` wrote."""
        fields = dict(data)
        fields["layer"] = Layer(fields["layer"])
        fields["mender"] = Mender(fields["mender"])
        fields["actions"] = tuple(CardAction(**action) for action in fields.get("actions", ()))
        return cls(**fields)


class PortalError(Exception):
    """Something failed inside the portal; the base of every error that reaches a page."""

    status = 500
    code = "internal"
    title = "Something went wrong on our side"
    sentence = "The page could not be made. Nothing you entered was used."

    def __init__(self, sentence: str | None = None, *, code: str | None = None) -> None:
        self.sentence = sentence or type(self).sentence
        self.code = code or type(self).code
        super().__init__(self.sentence)


class BadRequest(PortalError):
    """The request cannot be understood; a browser following our pages never sends it."""

    status = 400
    code = "bad_request"
    title = "That request does not make sense"
    sentence = "Go back, reload the page and try again."


class Forbidden(PortalError):
    """The request was refused before it reached a page (CSRF, foreign origin)."""

    status = 403
    code = "forbidden"
    title = "This request was refused"
    sentence = "It did not come from a page of this portal, or the page was too old. Reload it and try again."


class SignInRequired(PortalError):
    """Nobody is signed in, or the session has ended."""

    status = 401
    code = "sign_in_required"
    title = "Please sign in"
    sentence = "Your session has ended. Sign in to go on."


class NotFound(PortalError):
    """It does not exist, or this person may not see it; both look the same."""

    status = 404
    code = "not_found"
    title = "There is nothing here"
    sentence = "The page does not exist, or you have no right to see it."


class Conflict(PortalError):
    """It was changed meanwhile; nothing was overwritten."""

    status = 409
    code = "conflict"
    title = "This changed in the meantime"
    sentence = "Somebody changed it while you were looking. Reload to see how it is now."


class InvalidInput(PortalError):
    """Something entered cannot be accepted. `field_errors` maps a field's name to its sentence."""

    status = 422
    code = "invalid_input"
    title = "Please check what you entered"
    sentence = "Something on the form cannot be accepted."

    def __init__(self, sentence: str | None = None, *, field_errors: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.field_errors = field_errors or {}


class RateLimited(PortalError):
    """Too many tries; `retry_after_seconds` tells when the next one is allowed."""

    status = 429
    code = "rate_limited"
    title = "Too many tries"
    sentence = "Wait a little, then try again."

    def __init__(self, sentence: str | None = None, *, retry_after_seconds: int = 60) -> None:
        super().__init__(sentence)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(PortalError):
    """We cannot do it now (database locked, restored mode); trying again later helps."""

    status = 503
    code = "unavailable"
    title = "Not available at the moment"
    sentence = "Try again in a minute. Nothing was changed."


class NothingStored(Unavailable):
    """The disk or the database takes no change. The card says what it lacks and who mends it."""

    title = "Nothing can be stored now"

    def __init__(self, card: Card) -> None:
        super().__init__(card.sentence, code=card.code)
        self.card = card


class UpstreamFailed(PortalError):
    """GitLab, or the way to it, failed. The card says where and who mends it."""

    status = 502
    code = "upstream_failed"
    title = "GitLab could not be asked"

    def __init__(self, card: Card) -> None:
        super().__init__(card.sentence, code=card.code)
        self.card = card
