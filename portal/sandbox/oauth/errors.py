"""Refusals of the provider with GitLab's sentences instead of authlib's."""

# authlib is untyped.
# mypy: allow-untyped-calls, allow-subclassing-any

from __future__ import annotations

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749.errors import (
    InvalidClientError,
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
    UnsupportedGrantTypeError,
)

from portal.sandbox.oauth import texts

__all__ = [
    "InvalidClientError",
    "InvalidGrantError",
    "InvalidRequestError",
    "InvalidScopeError",
    "MissingParameter",
    "PageError",
    "UnauthorizedToRevoke",
    "UnsupportedGrantTypeError",
    "sentence_of",
    "status_of",
]


class MissingParameter(InvalidRequestError):
    """A required parameter is blank; the sentence names it on releases that do."""

    def __init__(self, name: str, release: tuple[int, int]) -> None:
        super().__init__(description=texts.missing_parameter(name, release))


class UnauthorizedToRevoke(OAuth2Error):
    """The revocation's client is missing, wrong, or not the token's."""

    error = "unauthorized_client"
    description = texts.UNAUTHORIZED_REVOKE
    status_code = 403


class PageError(OAuth2Error):
    """The authorize page refuses: a 200 page with this sentence, never a redirect."""

    def __init__(self, error: str, sentence: str) -> None:
        super().__init__(error=error, description=sentence)


_SENTENCES: dict[str, str] = {
    "invalid_client": texts.INVALID_CLIENT,
    "invalid_grant": texts.INVALID_GRANT,
    "invalid_scope": texts.INVALID_SCOPE,
    "unsupported_grant_type": texts.UNSUPPORTED_GRANT_TYPE,
}


def sentence_of(error: OAuth2Error) -> str:
    """Return what GitLab's engine says for this error."""
    return _SENTENCES.get(str(error.error)) or str(error.description or texts.INVALID_REQUEST)


def status_of(error: OAuth2Error) -> int:
    """Return the status GitLab's engine gives it."""
    return 401 if error.error == "invalid_client" else int(error.status_code)
