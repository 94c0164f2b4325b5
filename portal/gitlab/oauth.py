"""GitLab's OAuth endpoints as a client sees them (RFC 6749, 7636, 7009; docs/gitlab.md).

authlib builds the addresses and the PKCE pair; our transport sends the requests, and the answers are read here,
because GitLab's own words, status and request id have to survive.
"""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from authlib.common.security import generate_token
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from portal.foreign import Scopes
from portal.gitlab.answers import (
    ForbiddenByRole,
    GitLabError,
    InsufficientScope,
    MalformedAnswer,
    OAuthBlocked,
    OAuthRefused,
    TokenInfo,
    Unauthorized,
    User,
    error_text,
    failure_of,
    read_answer,
    request_id_of,
)
from portal.net import Answer, HostSession, OutboundError
from portal.net.json_reader import JSONRefused, read_json
from portal.vault import Secret

TOKEN_PATH = "/oauth/token"
REVOKE_PATH = "/oauth/revoke"
AUTHORIZE_PATH = "/oauth/authorize"
USER_PATH = "/api/v4/user"
TOKEN_INFO_PATH = "/oauth/token/info"
TOKEN_SECONDS = 20.0
PROBE_SECONDS = 10.0
INFO_SECONDS = 30.0
# A refresh that is cut off may have spent the pair: it gets more time than anything else.
REFRESH_SECONDS = 60.0
VERIFIER_LENGTH = 64
# GitLab's fixed lifetime (integration/oauth_provider): used instead of a number that makes no sense.
LIFETIME_SECONDS = 7200
MAX_LIFETIME_SECONDS = 10 * 366 * 24 * 3600
MAX_TOKEN_LENGTH = 4096
MAX_ANSWER_BYTES = 1024 * 1024
# Window bits by which zlib tells the two apart.
GZIP, ZLIB = 31, 15
# No one ever gets this code, so a client that GitLab accepts gets `invalid_grant`.
BAD_CODE = "gatehouse-checks-these-credentials"


@dataclass(frozen=True)
class ClientCredentials:
    """Application ID and Secret (RFC 6749 §2.3.1)."""

    client_id: str
    client_secret: Secret


@dataclass(frozen=True)
class TokenAnswer:
    """A token pair, and whatever else in the answer was readable.

    Attributes:
        access_token: None if only the other half was readable, with which the pair can be revoked or renewed.
        scopes: None if the answer did not name any (RFC 6749 §5.1; at a refresh Doorkeeper means "none left" by it).
        expires_in: in seconds; None if GitLab names none (before 15.0).
        ends_at: when a rotated access token ends; of those, GitLab names the day.
        is_bearer: whether it may be sent as `Authorization: Bearer` (RFC 6750).
    """

    access_token: Secret | None
    refresh_token: Secret | None
    scopes: tuple[str, ...] | None
    expires_in: int | None
    is_bearer: bool = True
    ends_at: datetime | None = None

    @property
    def stands_for_both(self) -> Secret:
        """The half with which the whole pair is revoked."""
        token = self.refresh_token or self.access_token
        assert token is not None  # `read_tokens` never returns a pair without either half.
        return token


class ClientVerdict(StrEnum):
    """What GitLab thinks of Application ID, Secret and redirect URI."""

    ACCEPTED = "accepted"
    REFUSED = "refused"


class TokenVerdict(StrEnum):
    """What GitLab's API says about an access token."""

    # 200 with the user it was issued to.
    ALIVE = "alive"
    # 401 with the reason that it was revoked.
    REVOKED = "revoked"
    # 401 with the reason that it has expired, which a revoked token is called too once its time is over.
    EXPIRED = "expired"
    # 401 without a reason: GitLab does not know it, or something in front of GitLab answered.
    UNCLEAR = "unclear"


def new_verifier() -> Secret:
    """Return a new PKCE verifier (RFC 7636 §4.1)."""
    return Secret(generate_token(VERIFIER_LENGTH))


def challenge_of(verifier: Secret) -> str:
    """Return the S256 challenge of a verifier (RFC 7636 §4.2)."""
    return str(create_s256_code_challenge(verifier.reveal()))


def authorize_url(
    *, browser_url: str, client_id: str, redirect_uri: str, scopes: list[str], state: str, code_challenge: str
) -> str:
    """Return the address that browsers are sent to (RFC 6749 §4.1.1)."""
    url = prepare_grant_uri(
        browser_url + AUTHORIZE_PATH,
        client_id,
        "code",
        redirect_uri,
        scopes,
        state,
        code_challenge=code_challenge,
        code_challenge_method="S256",
    )
    return str(url)


def exchange_code(
    http: HostSession, application: ClientCredentials, code: str, redirect_uri: str, verifier: Secret
) -> TokenAnswer:
    """Exchange an authorization code for a token pair, with verifier and secret (RFC 7636 §4.5).

    Never repeat it: the first request uses up the code, even if the answer was lost.

    Raises:
        OAuthRefused: GitLab's verdict. GitLabError, OutboundError: no verdict.
    """
    form = {"code": code, "redirect_uri": redirect_uri, "code_verifier": verifier.reveal()}
    return _token_request(http, application, "authorization_code", form)


def refresh(
    http: HostSession, application: ClientCredentials, refresh_token: Secret, redirect_uri: str | None = None
) -> TokenAnswer:
    """Spend a refresh token for a new pair; GitLab kills the old pair at once (docs/gitlab.md).

    Raises:
        OAuthRefused: GitLab's verdict. GitLabError, OutboundError: no verdict; the pair may be spent all the same.
    """
    form = {"refresh_token": refresh_token.reveal(), **({"redirect_uri": redirect_uri} if redirect_uri else {})}
    return _token_request(http, application, "refresh_token", form, REFRESH_SECONDS)


def probe_token(http: HostSession, token: Secret, user_id: int, seconds: float = PROBE_SECONDS) -> TokenVerdict:
    """Ask GitLab's API once, without retrying, whether an access token works (api/users, api/oauth2).

    Only GitLab's own 200 with the user it was issued to counts as alive.

    Raises:
        GitLabError, OutboundError: no verdict.
    """
    headers = {"Authorization": f"Bearer {token.reveal()}"}
    answer = http.fetch("GET", USER_PATH, headers=headers, deadline_seconds=seconds, is_held=False)
    try:
        found = read_answer(answer, User).id
    except Unauthorized as error:
        known = {"revoked": TokenVerdict.REVOKED, "expired": TokenVerdict.EXPIRED}
        return known.get(error.reason, TokenVerdict.UNCLEAR)
    except (InsufficientScope, ForbiddenByRole):
        # A scope or a permission is missing, or a gateway refuses: this needs neither, and says whose token it is.
        answer = http.fetch("GET", TOKEN_INFO_PATH, headers=headers, deadline_seconds=seconds, is_held=False)
        found = read_answer(answer, TokenInfo).resource_owner_id
    if found != user_id:
        raise MalformedAnswer(status=answer.status, request_id=request_id_of(answer))
    return TokenVerdict.ALIVE


def token_info(http: HostSession, token: Secret) -> TokenInfo:
    """Return the scopes, the user and the expiry of an OAuth token (api/oauth2); needs no scope.

    Raises:
        GitLabError, OutboundError: no answer.
    """
    headers = {"Authorization": f"Bearer {token.reveal()}"}
    return read_answer(http.fetch("GET", TOKEN_INFO_PATH, headers=headers, deadline_seconds=INFO_SECONDS), TokenInfo)


def revoke(http: HostSession, application: ClientCredentials, token: Secret) -> None:
    """Revoke a token, and with it the other half of its pair (RFC 7009). Unknown tokens are accepted.

    Raises:
        GitLabError, OutboundError: it is not known to be revoked.
    """
    answer = _post(http, REVOKE_PATH, application, {"token": token.reveal()})
    if answer.status not in {200, 204}:
        raise _refusal_of(answer, REVOKE_PATH)
    if _is_page(answer):  # Doorkeeper sends `{}`, others nothing; a sign-in page has not revoked anything.
        raise OAuthBlocked(REVOKE_PATH, status=answer.status)
    if answer.content.strip():
        read_answer(answer, dict[str, Any])


def may_have_issued(error: GitLabError | OutboundError) -> bool:
    """Return whether GitLab may have issued a pair despite this outcome of the token request.

    An OAuth error comes before anything is done. Behind a 5xx, a limit, a page or a broken body GitLab may have done it
    all: something in front of it may have answered instead.
    """
    if isinstance(error, OutboundError):
        return error.may_have_been_processed
    return not isinstance(error, OAuthRefused)


def check_client(http: HostSession, application: ClientCredentials, redirect_uri: str) -> ClientVerdict:
    """Find out whether GitLab accepts ID and Secret by sending an invalid code: it checks the client first.

    Raises:
        GitLabError, OutboundError: no verdict.
    """
    verifier = new_verifier()
    try:
        exchange_code(http, application, BAD_CODE, redirect_uri, verifier)
    except OAuthRefused as error:
        if error.error == "invalid_grant":
            return ClientVerdict.ACCEPTED
        if error.error in {"invalid_client", "unauthorized_client"}:
            return ClientVerdict.REFUSED
        raise
    except MalformedAnswer as error:
        raise OAuthBlocked(TOKEN_PATH, status=error.status) from None
    raise OAuthBlocked(TOKEN_PATH, status=200)  # A server that accepts any code is not GitLab.


def _token_request(
    http: HostSession,
    application: ClientCredentials,
    grant_type: str,
    form: dict[str, str],
    seconds: float = TOKEN_SECONDS,
) -> TokenAnswer:
    answer = _post(http, TOKEN_PATH, application, {"grant_type": grant_type, **form}, seconds)
    if not 200 <= answer.status < 300:
        raise _refusal_of(answer, TOKEN_PATH)
    if _is_page(answer):
        raise OAuthBlocked(TOKEN_PATH, status=answer.status)
    found = read_tokens(answer.content)
    if found is None:
        raise MalformedAnswer(status=answer.status, request_id=request_id_of(answer))
    return found


def _post(
    http: HostSession,
    path: str,
    application: ClientCredentials,
    form: dict[str, str],
    seconds: float = TOKEN_SECONDS,
) -> Answer:
    credentials = {"client_id": application.client_id, "client_secret": application.client_secret.reveal()}
    answer = http.fetch(
        "POST",
        path,
        form={**credentials, **form},
        deadline_seconds=seconds,
        max_bytes=MAX_ANSWER_BYTES,
        takes_any_encoding=True,
        is_held=False,
    )
    return replace(answer, content=decoded(answer.content))


def _refusal_of(answer: Answer, path: str) -> GitLabError:
    if answer.status == 429 or answer.status >= 500:
        return failure_of(answer)
    try:
        body = read_json(answer.content, answer.headers.get("content-type", ""), dict[str, Any])
    except (JSONRefused, msgspec.MsgspecError):
        body = {}
    error = body.get("error")
    # RFC 6749 §5.2 knows no other statuses, and GitLab's API none of these codes; a gateway answers in its own way.
    if answer.status not in {400, 401, 403} or not isinstance(error, str):
        return OAuthBlocked(path, status=answer.status)
    return OAuthRefused(error, error_text(body), status=answer.status, request_id=request_id_of(answer))


def _is_page(answer: Answer) -> bool:
    return "html" in answer.headers.get("content-type", "").lower() and answer.content.lstrip()[:1] == b"<"


def read_tokens(content: bytes) -> TokenAnswer | None:
    """Read a token pair out of the body of a 2xx answer; None if there is no usable token in it.

    The pair now exists at GitLab and this answer comes only once, so nothing else in it may lose the tokens: not a
        content type, a missing member, or one that is not what RFC 6749 §5.1 says.
    """
    try:
        # Python refuses to read numbers of thousands of digits, and takes long for those of hundreds.
        body = json.loads(content, parse_int=lambda text: int(text) if len(text) < 20 else math.inf)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict):
        return None
    access_token, refresh_token = token_in(body, "access_token"), token_in(body, "refresh_token")
    if access_token is None and refresh_token is None:
        return None
    kind, scopes = body.get("token_type"), body.get("scope")
    if not isinstance(scopes, str) and not (isinstance(scopes, list) and all(isinstance(it, str) for it in scopes)):
        scopes = None
    seconds = body.get("expires_in")
    if isinstance(seconds, str) and seconds.strip().isascii() and seconds.strip().isdigit() and len(seconds) < 20:
        seconds = int(seconds)
    if seconds is not None:  # A whole number, also from a float or text; for nonsense, GitLab's own lifetime.
        is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
        is_usable = is_number and 0 < seconds <= MAX_LIFETIME_SECONDS
        seconds = max(int(seconds), 1) if is_usable else LIFETIME_SECONDS
    return TokenAnswer(
        access_token=access_token,
        refresh_token=refresh_token,
        scopes=None if scopes is None else Scopes(scopes),
        expires_in=seconds,
        is_bearer=not isinstance(kind, str) or kind.strip().lower() in {"", "bearer"},
    )


def token_in(body: dict[str, Any], name: str) -> Secret | None:
    """Return a token from an answer; None if it cannot be sent in a header."""
    text = body.get(name)
    is_token = isinstance(text, str) and 0 < len(text) <= MAX_TOKEN_LENGTH and text.isascii() and text.isprintable()
    return Secret(text) if isinstance(text, str) and is_token and " " not in text else None


def decoded(content: bytes) -> bytes:
    """Undo gzip or deflate if a body is encoded, whatever its header says; anything else is left as it is."""
    for kind, begins in ((GZIP, b"\x1f\x8b"), (ZLIB, b"\x78")):
        if content.startswith(begins):
            decoder = zlib.decompressobj(kind)
            try:
                plain = decoder.decompress(content, MAX_ANSWER_BYTES)
            except zlib.error:
                return content
            return plain if decoder.eof else content
    return content
