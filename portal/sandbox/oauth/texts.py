"""The engine's own sentences, character for character: clients and people recognise them."""

from __future__ import annotations

INVALID_CLIENT = (
    "Client authentication failed due to unknown client, no client authentication included, "
    "or unsupported authentication method."
)
INVALID_GRANT = (
    "The provided authorization grant is invalid, expired, revoked, does not match the redirection URI used in "
    "the authorization request, or was issued to another client."
)
INVALID_SCOPE = "The requested scope is invalid, unknown, or malformed."
INVALID_REQUEST = (
    "The request is missing a required parameter, includes an unsupported parameter value, or is otherwise malformed."
)
INVALID_REDIRECT_URI = "The requested redirect uri is malformed or doesn't match client redirect URI."
INVALID_REDIRECT_URI_OLD = "The redirect URI included is not valid."
INVALID_CODE_CHALLENGE_METHOD = "The code_challenge_method must be one of plain, S256."
UNSUPPORTED_RESPONSE_TYPE = "The authorization server does not support this response type."
UNSUPPORTED_RESPONSE_MODE = "The authorization server does not support this response mode."
UNSUPPORTED_GRANT_TYPE = "The authorization grant type is not supported by the authorization server."
ACCESS_DENIED = "The resource owner or authorization server denied the request."
UNAUTHORIZED_REVOKE = "You are not authorized to revoke this token"

# The first releases whose engine names the missing parameter, and whose locale has the longer redirect URI sentence.
NAMES_MISSING_PARAMETER_SINCE = (13, 0)
LONG_REDIRECT_URI_TEXT_SINCE = (13, 0)


def missing_parameter(name: str, release: tuple[int, int]) -> str:
    """Return the sentence for a missing parameter; before 13 the engine did not say which."""
    if release < NAMES_MISSING_PARAMETER_SINCE:
        return INVALID_REQUEST
    return f"Missing required parameter: {name}."


def invalid_redirect_uri(release: tuple[int, int]) -> str:
    """Return the sentence for a wrong redirect URI in the locale of this release."""
    return INVALID_REDIRECT_URI if release >= LONG_REDIRECT_URI_TEXT_SINCE else INVALID_REDIRECT_URI_OLD
