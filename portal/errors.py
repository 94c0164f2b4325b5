"""What can go wrong, organized by what the person reading the page can do next.

    PortalError                  500  our fault
    ├── BadRequest               400  the request itself makes no sense
    ├── SignInRequired           401  no one is signed in
    ├── NotFound                 404  does not exist, or may not be seen: the two look the same
    ├── Conflict                 409  someone or something changed it in the meantime
    ├── InvalidInput             422  a form has errors
    ├── RateLimited              429  Too many attempts
    ├── Unavailable              503  the portal cannot do it now
    │   └── NothingStored        503  the disk is full or cannot be written; carries a Card
    └── UpstreamFailed           502  GitLab, or the way to it, failed; carries a Card

A Card is a failure on the way to GitLab or in background work: where, what is wrong, who can fix it, and how.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from string import Formatter
from typing import Any

from portal.failures import UNKNOWN, Failure, Layer, Responsible, Surface, Way, failure_of
from portal.foreign import ShortText, Words, clean

__all__ = ["Layer", "Responsible", "Surface", "Way"]
MAX_PARAMETER = 500


@dataclass(frozen=True)
class CardAction:
    """A button or link that fixes a failure, or helps to."""

    label: str
    url: str
    external: bool = False


@dataclass(frozen=True)
class Card:
    """A failure: stored as code and parameters, worded by `portal.failures` for the place where it is read.

    Attributes:
        code: stable, for tests, support and the audit log (`tls_unknown_ca`).
        params: values that the texts name; `case` chooses among the entries of one code, and so does `method`, the
            credential's.
        words: GitLab's own words, always cleaned.
        request_id: GitLab's `x-request-id`, for its administrator's log search.
        because: the failure that led to this one.
        surface: where it is read; None if only code and sentence matter.
        method: of the connection that it is read on, if the failure itself does not know.
    """

    code: str
    params: Mapping[str, Any] = field(default_factory=dict)
    words: str = ""
    request_id: str = ""
    because: Card | None = None
    surface: Surface | None = None
    method: str = ""

    def __post_init__(self) -> None:
        """Clean foreign text, also in a row that an older version wrote."""
        object.__setattr__(self, "words", Words(self.words))
        object.__setattr__(self, "request_id", ShortText(self.request_id))
        params = {
            key: clean(value, MAX_PARAMETER) if isinstance(value, str) else value for key, value in self.params.items()
        }
        object.__setattr__(self, "params", params)

    def at(self, surface: Surface | str, method: str = "") -> Card:
        """Return what people read at one place in the portal, about a connection with a method of access."""
        return replace(self, surface=Surface(surface), method=method)

    def of(self, method: str) -> Card:
        """Return the failure of one credential, whatever its connection uses by the time someone reads it."""
        return replace(self, params={**self.params, "method": str(method)})

    @property
    def layer(self) -> Layer:
        """Where on the way to GitLab it failed."""
        return self.because.layer if self.because else self._failure.layer

    @property
    def sentence(self) -> str:
        """What is wrong."""
        also = [failure_of(code).sentence for code in self.params.get("also", ())]
        return self._fill(" ".join([self._failure.told_at(self.surface).sentence, *also]))

    @property
    def remedy(self) -> str:
        """What to do."""
        kept = " What was stored before is kept and still used." if self.params.get("is_kept") else ""
        return self._fill(self._failure.told_at(self.surface).remedy) + kept

    @property
    def responsible(self) -> Responsible:
        """Who can do it."""
        return self._failure.told_at(self.surface).who or Responsible.YOU

    @property
    def ways(self) -> tuple[Way, ...]:
        """Where else in the portal or in GitLab it can be done."""
        return self._failure.ways_at(self.surface)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types, for one of our rows."""
        told: dict[str, Any] = {"code": self.code, "params": dict(self.params)}
        told |= {name: str(getattr(self, name)) for name in ("words", "request_id") if getattr(self, name)}
        return told | ({"because": self.because.to_json()} if self.because else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Card:
        """Read what `to_json` wrote; a row of an older version holds the sentence itself."""
        params = data["params"] if "params" in data else {"sentence": data.get("sentence", "")}
        because = cls.from_json(data["because"]) if data.get("because") else None
        return cls(data["code"], params, data.get("words", ""), data.get("request_id", ""), because)

    @property
    def _failure(self) -> Failure:
        found = failure_of(self.code, str(self.params.get("case", "")), str(self.params.get("method") or self.method))
        names = {name for _, name, _, _ in Formatter().parse(found.sentence) if name}
        # A row of an older version may lack what the entry names.
        return found if names <= {*self.params, "because"} else UNKNOWN

    def _fill(self, text: str) -> str:
        seconds = self.params.get("retry_after_seconds")
        when = "in a minute"
        if isinstance(seconds, (int, float)) and seconds > 60:
            when = f"in {math.ceil(seconds / 60)} minutes, as GitLab asks"
        because = self.because.sentence if self.because else ""
        return text.format_map({**self.params, "because": because, "when": when}).strip()


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
    """No one is signed in, or the session has ended."""

    status = 401
    code = "sign_in_required"
    title = "Please sign in"
    sentence = "Your session has ended. Sign in to continue."


class NotFound(PortalError):
    """It does not exist, or this person may not see it; both look the same."""

    status = 404
    code = "not_found"
    title = "There is nothing here"
    sentence = "The page does not exist, or you have no right to see it."


class Conflict(PortalError):
    """It has been changed since; nothing was overwritten."""

    status = 409
    code = "conflict"
    title = "This changed in the meantime"
    sentence = "Someone changed it while you were looking at it. Reload to see the current state."


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
    """Too many attempts; `retry_after_seconds` says when the next one is allowed."""

    status = 429
    code = "rate_limited"
    title = "Too many attempts"
    sentence = "Wait a moment, then try again."

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
    """The disk or the database cannot be written. The card says why and who can fix it."""

    title = "Nothing can be stored now"
    surface = Surface.PAGE

    def __init__(self, card: Card) -> None:
        super().__init__(card.sentence, code=card.code)
        self.card = card


class UpstreamFailed(PortalError):
    """GitLab, or the way to it, failed. The card says where and who can fix it."""

    status = 502
    code = "upstream_failed"
    title = "GitLab could not be asked"
    surface = Surface.START

    def __init__(self, card: Card) -> None:
        super().__init__(card.sentence, code=card.code)
        self.card = card
