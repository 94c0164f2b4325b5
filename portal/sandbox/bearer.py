"""Who calls the API: finds the token, refuses dead ones in GitLab's three ways, checks scopes and account."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from flask import request

from portal.sandbox.api.answers import ApiError
from portal.sandbox.fine_grained import check as check_fine_grained
from portal.sandbox.oauth.iam import is_access_token, read_access_token
from portal.sandbox.people import User
from portal.sandbox.personal_tokens import GRANULAR, GranularScope, PersonalToken
from portal.sandbox.profiles import has

if TYPE_CHECKING:
    from portal.sandbox.world import World

EXPIRED = "Token is expired. You can either do re-authorization or token refresh."
REVOKED = "Token was revoked. You have to re-authorize from the user."
IMPERSONATION_DISABLED = "Token is an impersonation token but impersonation was disabled."
TOO_NARROW = "The request requires higher privileges than provided by the access token."
# GitLab writes the time of last use no more often than this.
LAST_USED_EVERY = timedelta(minutes=10)
ROTATION = re.compile(r"access_tokens/(\d+|self)/rotate$")

STATE_REASONS = {
    "blocked": "Your account has been blocked.",
    "blocked_pending_approval": "Your account is pending approval from your administrator and hence blocked.",
    "deactivated": "Your account has been deactivated by your administrator. "
    "Please log back in from a web browser to reactivate your account at {url}",
}
NOT_CONFIRMED = (
    "Your primary email address is not confirmed. Please check your inbox for the confirmation instructions. "
    "In case the link is expired, you can request a new confirmation email at {url}/users/confirmation/new"
)
TERMS = (
    "You (@{username}) must accept the Terms of Service in order to perform this action. "
    "To accept these terms, please access GitLab from a web browser at {url}."
)
PASSWORD_EXPIRED = "Your password expired. Please access GitLab from a web browser to update your password."


@dataclass(frozen=True)
class Caller:
    """Who calls; `acts_as_admin` is False for an administrator whom Admin Mode restricts.

    `personal_token` is None if the credential was an OAuth token; `consent` is what the user granted an application
    with fine-grained permissions.
    """

    user: User
    scopes: tuple[str, ...]
    acts_as_admin: bool
    personal_token: PersonalToken | None
    consent: tuple[GranularScope, ...] | None = None


def caller(world: World, *extra_scopes: str) -> Caller:
    """Return who calls. Every endpoint accepts `api`, reads also `read_api`; `extra_scopes` suffice as well.

    Raises:
        ApiError: 401 without a good token, 403 when the account or the scopes do not allow it.
    """
    found = optional_caller(world, *extra_scopes)
    if found is None:
        raise unauthorized()
    return found


def optional_caller(world: World, *extra_scopes: str, any_scope: bool = False) -> Caller | None:
    """Return who calls, None if no credential was sent; a bad one is refused, never ignored."""
    found = _found(world)
    if found is None:
        return None
    _check_account(world, found.user)
    token = found.personal_token
    if token is not None:
        granted = token.granular_scopes if token.is_granular else None
        check_fine_grained(world, found.user, granted, "personal access token")
    elif found.consent is not None:
        check_fine_grained(world, found.user, found.consent, "oauth access token")
    any_scope = any_scope or GRANULAR in found.scopes
    reads = request.method in ("GET", "HEAD") and has(world, "read_api")
    accepted = ["api", *(["read_api"] if reads else []), *extra_scopes]
    if not any_scope and not set(accepted) & set(found.scopes):
        body = {"error": "insufficient_scope", "error_description": TOO_NARROW, "scope": " ".join(accepted)}
        raise ApiError(403, body)
    wanted = request.headers.get("Sudo") or request.args.get("sudo")
    return _as_somebody_else(world, found, wanted) if wanted and has(world, "sudo") else found


def _as_somebody_else(world: World, found: Caller, wanted: str) -> Caller:
    """An administrator whose token has the scope `sudo` acts as anyone."""
    if not found.acts_as_admin:
        raise ApiError(403, {"message": "403 Forbidden - Must be admin to use sudo"})
    if "sudo" not in found.scopes:
        raise ApiError(403, {"error": "insufficient_scope", "error_description": TOO_NARROW, "scope": "sudo"})
    user = world.user(int(wanted)) if wanted.isdecimal() else world.user_by_username(wanted)
    if user is None:
        raise ApiError(404, {"message": f"404 User with ID or username '{wanted}' Not Found"})
    return Caller(user, found.scopes, _acts_as_admin(world, user, found.scopes), found.personal_token)


def unauthorized() -> ApiError:
    """Return the refusal of a missing or unknown token."""
    return ApiError(401, {"message": "401 Unauthorized"})


def _found(world: World) -> Caller | None:
    private = request.headers.get("PRIVATE-TOKEN") or request.args.get("private_token")
    if private:
        return _by_personal_token(world, private)
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    text = text.strip() if scheme.lower() == "bearer" else ""
    text = text or request.args.get("access_token", "")
    return _by_bearer(world, text) if text else None


def caller_of_token(world: World, text: str) -> Caller:
    """Return who a token of any kind belongs to, whatever its scopes; git sends it as a password.

    Raises:
        ApiError: it is not accepted.
    """
    known = world.personal_access_tokens.find(text)
    found = _by_personal_token(world, text) if known else _by_bearer(world, text)
    _check_account(world, found.user)
    return found


def _by_bearer(world: World, text: str) -> Caller:
    if is_access_token(world, text):
        return _by_iam_token(world, text)
    token = world.oauth.find_access_token(text)
    if token is None:
        if not has(world, "personal_token_as_bearer"):
            raise unauthorized()
        return _by_personal_token(world, text)
    user = world.user(token.user_id or 0)
    if user is None:
        raise unauthorized()
    if world.is_too_fresh(token):
        raise unauthorized()
    _check_alive(world, revoked=token.is_revoked, expired=token.is_expired(world.now()))
    application = world.oauth.application(token.application_id)
    consent = None
    if application is not None and application.granular_scopes:
        # Read at each request: whoever withdraws the consent leaves a token that may do nothing.
        withdrawn = (application.id, user.id) in world.withdrawn_consents
        consent = () if withdrawn else application.granular_scopes
    return Caller(user, token.scopes, _acts_as_admin(world, user, token.scopes), None, consent)


def _by_iam_token(world: World, text: str) -> Caller:
    """The IAM service's tokens are valid as long as their signature and time are."""
    claims = read_access_token(world, text)
    user = world.user(claims.user_id) if claims else None
    if claims is None or user is None:
        raise unauthorized()
    _check_alive(world, revoked=False, expired=world.now() >= claims.expires_at)
    return Caller(user, claims.scopes, _acts_as_admin(world, user, claims.scopes), None)


def _by_personal_token(world: World, text: str) -> Caller:
    token = world.personal_access_tokens.find(text)
    user = world.user(token.user_id) if token else None
    if token is None or user is None or not world.settings.personal_tokens_enabled:
        raise unauthorized()
    now = world.now()
    if token.is_revoked and not token.is_expired(now) and ROTATION.search(request.path) and has(world, "token_family"):
        # Whoever rotates a spent token may have stolen it: GitLab ends its successors too.
        world.personal_access_tokens.end_family(token.family, now)
    _check_alive(world, revoked=token.is_revoked, expired=token.is_expired(now))
    if token.impersonation and not world.settings.impersonation_enabled:
        raise _invalid(IMPERSONATION_DISABLED)
    if token.last_used_at is None or now - token.last_used_at >= LAST_USED_EVERY:
        token.last_used_at = now
    return Caller(user, token.scopes, _acts_as_admin(world, user, token.scopes), token)


def _acts_as_admin(world: World, user: User, scopes: tuple[str, ...]) -> bool:
    held_back = world.settings.admin_mode and "admin_mode" not in scopes
    return user.admin and not held_back


def _check_alive(world: World, *, revoked: bool, expired: bool) -> None:
    if (revoked or expired) and world.settings.bare_refusals:
        raise unauthorized()
    # GitLab checks the time first: a token that was revoked and has expired is reported as expired.
    if expired:
        raise _invalid(EXPIRED)
    if revoked:
        raise _invalid(REVOKED)


def _invalid(description: str) -> ApiError:
    challenge = f'Bearer realm="Protected by OAuth 2.0", error="invalid_token", error_description="{description}"'
    body = {"error": "invalid_token", "error_description": description}
    return ApiError(401, body, {"WWW-Authenticate": challenge})


def _check_account(world: World, user: User) -> None:
    """Refuse accounts that may not act, in GitLab's words."""
    reason = STATE_REASONS.get(user.state, "" if user.state == "active" else STATE_REASONS["blocked"])
    if not reason and not user.confirmed:
        reason = NOT_CONFIRMED
    if not reason and world.settings.terms_enforced and not user.terms_accepted:
        reason = TERMS
    if not reason and user.password_expired:
        reason = PASSWORD_EXPIRED
    if reason:
        told = reason.format(url=world.settings.external_url, username=user.username)
        raise ApiError(403, {"message": f"403 Forbidden - {told}"})
