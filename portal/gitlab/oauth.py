"""GitLab's OAuth endpoints as a client sees them (RFC 6749, 7636, 7009; gitlab-contract §1).

authlib makes the addresses and the PKCE pair and sends the requests over the door's transport; the answers are read
here, because GitLab's own words, status and request id have to survive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from authlib.common.security import generate_token
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from portal.gitlab import errors
from portal.gitlab.answers import error_text, failure_of, read_answer, request_id_of
from portal.gitlab.payloads import TokenAnswerPayload, User
from portal.net import Answer, Line
from portal.net.json_reader import JSONRefused, read_json
from portal.vault import Secret

TOKEN_PATH = "/oauth/token"
REVOKE_PATH = "/oauth/revoke"
AUTHORIZE_PATH = "/oauth/authorize"
USER_PATH = "/api/v4/user"
TOKEN_SECONDS = 20.0
PROBE_SECONDS = 10.0
# A refresh that is cut off may have spent the pair: it is given more time than anything else.
REFRESH_SECONDS = 60.0
VERIFIER_LENGTH = 64
MAX_LIFETIME_SECONDS = 366 * 24 * 3600
MAX_TOKEN_LENGTH = 4096
# Nobody ever gets this code, so a client that GitLab accepts hears `invalid_grant`.
BAD_CODE = "gatehouse-checks-these-credentials"


@dataclass(frozen=True)
class ClientCredentials:
    """Application ID and Secret (RFC 6749 §2.3.1)."""

    client_id: str
    client_secret: Secret


@dataclass(frozen=True)
class TokenAnswer:
    """A token pair; `expires_in` is in seconds, None when GitLab names none (before 15.0)."""

    access_token: Secret
    refresh_token: Secret | None
    scopes: tuple[str, ...]
    expires_in: int | None


class ClientVerdict(StrEnum):
    """What GitLab thinks of Application ID, Secret and redirect URI."""

    ACCEPTED = "accepted"
    REFUSED = "refused"


class TokenVerdict(StrEnum):
    """What GitLab's API thinks of an access token."""

    ALIVE = "alive"
    # GitLab says that it was revoked.
    DEAD = "dead"
    # Expired, which a revoked token is called too once its time is over; or a 401 of something in front of GitLab.
    UNCLEAR = "unclear"


def new_verifier() -> Secret:
    """Return a fresh PKCE verifier (RFC 7636 §4.1)."""
    return Secret(generate_token(VERIFIER_LENGTH))


def challenge_of(verifier: Secret) -> str:
    """Return the S256 challenge of a verifier (RFC 7636 §4.2)."""
    return str(create_s256_code_challenge(verifier.reveal()))


def authorize_url(
    *, browser_url: str, client_id: str, redirect_uri: str, scopes: list[str], state: str, code_challenge: str
) -> str:
    """Return the address that browsers are sent to (RFC 6749 §4.1.1)."""
    client = OAuth2Client(client_id=client_id, redirect_uri=redirect_uri, scope=" ".join(scopes), trust_env=False)
    with client:
        url, _ = client.create_authorization_url(
            browser_url + AUTHORIZE_PATH, state=state, code_challenge=code_challenge, code_challenge_method="S256"
        )
    return str(url)


def exchange_code(
    line: Line, application: ClientCredentials, code: str, redirect_uri: str, verifier: Secret
) -> TokenAnswer:
    """Exchange an authorization code for a token pair, with verifier and secret (RFC 7636 §4.5).

    Never repeat it: a code is burnt by the first request, also when the answer was lost.

    Raises:
        OAuthRefused: GitLab's verdict. GitLabError, OutboundError: no verdict.
    """
    form = {"code": code, "redirect_uri": redirect_uri, "code_verifier": verifier.reveal()}
    return _token_request(line, application, "authorization_code", form)


def refresh(line: Line, application: ClientCredentials, refresh_token: Secret, redirect_uri: str) -> TokenAnswer:
    """Spend a refresh token for a new pair; GitLab kills the old pair at once (§1.5).

    Raises:
        OAuthRefused: GitLab's verdict. GitLabError, OutboundError: no verdict; the pair may be spent all the same.
    """
    form = {"refresh_token": refresh_token.reveal(), "redirect_uri": redirect_uri}
    return _token_request(line, application, "refresh_token", form, REFRESH_SECONDS)


def probe_token(line: Line, token: Secret) -> TokenVerdict:
    """Ask GitLab's API whether an access token lives, once and without repeating (§5.1; api/users).

    Raises:
        GitLabError, OutboundError: no verdict.
    """
    headers = {"Authorization": f"Bearer {token.reveal()}"}
    answer = line.fetch("GET", USER_PATH, headers=headers, deadline_seconds=PROBE_SECONDS)
    try:
        read_answer(answer, User)
    except errors.Unauthorized as error:
        return TokenVerdict.DEAD if error.reason == "revoked" else TokenVerdict.UNCLEAR
    except (errors.InsufficientScope, errors.ForbiddenByRole):
        return TokenVerdict.ALIVE  # GitLab knew whom it refused.
    return TokenVerdict.ALIVE


def revoke(line: Line, application: ClientCredentials, token: Secret) -> None:
    """Revoke a token, and with it the other half of its pair (RFC 7009; §1.6). Unknown tokens are fine.

    Raises:
        GitLabError, OutboundError: it is not known to be revoked.
    """
    answer = _post(line, REVOKE_PATH, application, {"token": token.reveal()})
    if answer.status != 200:
        raise _refusal_of(answer)
    read_answer(answer, dict[str, Any])  # A login page with status 200 has revoked nothing.


def check_client(line: Line, application: ClientCredentials, redirect_uri: str) -> ClientVerdict:
    """Learn whether GitLab accepts ID and Secret, by sending a code that cannot be good (§1.3: client before code).

    Raises:
        GitLabError, OutboundError: no verdict.
    """
    verifier = new_verifier()
    try:
        exchange_code(line, application, BAD_CODE, redirect_uri, verifier)
    except errors.OAuthRefused as error:
        if error.error == "invalid_grant":
            return ClientVerdict.ACCEPTED
        if error.error in {"invalid_client", "unauthorized_client"}:
            return ClientVerdict.REFUSED
        raise
    raise errors.MalformedAnswer(status=200)  # A server that takes any code is not GitLab.


def _token_request(
    line: Line, application: ClientCredentials, grant_type: str, form: dict[str, str], seconds: float = TOKEN_SECONDS
) -> TokenAnswer:
    answer = _post(line, TOKEN_PATH, application, {"grant_type": grant_type, **form}, seconds)
    if answer.status != 200:
        raise _refusal_of(answer)
    try:
        payload = read_json(answer.content, answer.headers.get("content-type", ""), TokenAnswerPayload)
        return _read_token(payload)
    except (JSONRefused, ValueError):
        raise errors.MalformedAnswer(status=answer.status, request_id=request_id_of(answer)) from None


def _post(
    line: Line, path: str, application: ClientCredentials, form: dict[str, str], seconds: float = TOKEN_SECONDS
) -> Answer:
    credentials = {"client_id": application.client_id, "client_secret": application.client_secret.reveal()}
    return line.fetch("POST", path, form={**credentials, **form}, deadline_seconds=seconds)


def _refusal_of(answer: Answer) -> errors.GitLabError:
    if answer.status not in {400, 401, 403}:
        return failure_of(answer)
    try:
        body = read_json(answer.content, answer.headers.get("content-type", ""), dict[str, Any])
    except JSONRefused:
        return errors.NotGitLab(status=answer.status, request_id=request_id_of(answer))
    error = body.get("error")
    if not isinstance(error, str):
        return failure_of(answer)
    return errors.OAuthRefused(error, error_text(body), status=answer.status, request_id=request_id_of(answer))


def _read_token(payload: TokenAnswerPayload) -> TokenAnswer:
    for token in (payload.access_token, payload.refresh_token or "x"):
        if not token or len(token) > MAX_TOKEN_LENGTH or not token.isascii() or not token.isprintable():
            raise ValueError("token")
    if payload.token_type.lower() != "bearer":
        raise ValueError("token_type")
    return TokenAnswer(
        access_token=Secret(payload.access_token),
        refresh_token=Secret(payload.refresh_token) if payload.refresh_token else None,
        scopes=payload.scope,
        expires_in=_read_lifetime(payload.expires_in),
    )


def _read_lifetime(value: Any) -> int | None:
    """Accept a whole number of seconds, also as text; None when absent (S26)."""
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("expires_in")
    if not 0 < value <= MAX_LIFETIME_SECONDS:
        raise ValueError("expires_in")
    return int(value)
