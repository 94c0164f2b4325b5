"""What GitLab's answers can mean when they are not what was asked for.

GitLabError
├── NotGitLab            something else answered: a login page, a proxy, a captive portal
│   ├── OtherAPI         an API, but not GitLab's
│   └── Unproved         looks like GitLab's API, but what only GitLab sends with it is missing
├── MalformedAnswer      GitLab's address, but not GitLab's shape
├── GitLabUnavailable    5xx, maintenance
├── GitLabRateLimited    429, with how long to wait when GitLab says so
├── Unauthorized         401: the token is unknown, expired or revoked
├── InsufficientScope    403: the token lacks a scope; the scopes that would do are named
│   └── InsufficientPermission  the same of a token with fine-grained permissions
├── ForbiddenByRole      403: the user's role or state does not allow it
├── GitLabNotFound       404: not there, or not visible to this user
├── UnexpectedStatus     any other status
└── OAuthRefused         an error of the OAuth endpoints (RFC 6749 §5.2)
"""

from __future__ import annotations

from collections.abc import Iterable

from portal.errors import Card, Layer, Mender
from portal.foreign import Scopes, ShortText, Words

# Why GitLab refuses a token, when it says so (RFC 6750 §3.1 has one code for all of them).
TOKEN_REASONS = frozenset({"expired", "revoked", "impersonation_disabled"})


class GitLabError(Exception):
    """GitLab, or what stands in its place, did not do what was asked.

    Attributes:
        status: of the HTTP answer.
        words: GitLab's own, cleaned.
        request_id: GitLab's `x-request-id`, cleaned; empty when there was none.
    """

    code = "gitlab_failed"
    layer = Layer.GITLAB
    sentence = "GitLab could not do what was asked."
    remedy = "Try again; if it stays, give GitLab's administrator the request id."
    mender = Mender.GITLAB_ADMIN

    def __init__(self, *, status: int = 0, words: str = "", request_id: str = "") -> None:
        self.status = status
        self.words = Words(words)
        self.request_id = ShortText(request_id)
        super().__init__(f"{self.code} (status {status})")

    def card(self) -> Card:
        """Return what a person reads."""
        return Card(
            code=self.code,
            layer=self.layer,
            sentence=self.sentence,
            remedy=self.remedy,
            mender=self.mender,
            words=self.words,
            request_id=self.request_id,
        )


class NotGitLab(GitLabError):
    """HTML or something else where GitLab's API would answer JSON (gitlab-contract §5.6)."""

    code = "not_gitlab"
    layer = Layer.HTTP
    sentence = "Something answered, but it was not GitLab's API."
    remedy = "Check the domain and the sub-path. A sign-in page or gateway in front of GitLab must let the API through."


class OtherAPI(NotGitLab):
    """JSON at the address of GitLab's API that GitLab never sends there."""

    code = "other_api"
    sentence = "An API answered, but not the way GitLab's does."
    remedy = (
        "Check the domain and the sub-path. If a gateway stands in front of GitLab, it must let /api/v4/ and "
        "/.well-known/openid-configuration through."
    )
    mender = Mender.YOU


class Unproved(NotGitLab):
    """GitLab's own words at the address of its API, and nothing else that only GitLab sends."""

    code = "gitlab_unproved"
    sentence = (
        "This could be GitLab, but nothing that only GitLab sends came with the answer: no X-Request-Id header, and no "
        "discovery document that names this address. Until then no Secret is sent there."
    )
    remedy = (
        "Have the proxy in front of GitLab pass on the response header X-Request-Id or the path "
        "/.well-known/openid-configuration. If GitLab is known by another address, enter that one as Domain and this "
        "one as API URL."
    )


class MalformedAnswer(GitLabError):
    """JSON of another shape than this endpoint's; nothing of it was used."""

    code = "malformed_answer"
    sentence = "GitLab's answer was not in the form its API promises. Nothing of it was used."
    remedy = "Try again. If it stays, something between this portal and GitLab may be changing answers."


class GitLabUnavailable(GitLabError):
    """A 5xx answer: GitLab is down, restarting or in maintenance mode."""

    code = "gitlab_unavailable"
    sentence = "GitLab is not available at the moment."
    remedy = "Wait until GitLab is back; nothing has to be done here."
    mender = Mender.NOBODY


class GitLabRateLimited(GitLabError):
    """Too many requests (gitlab-contract §5.4); `retry_after_seconds` is None when GitLab does not say."""

    code = "gitlab_rate_limited"
    sentence = "GitLab asks this portal to slow down."
    remedy = "It goes on by itself in a while. GitLab's administrator can raise the limit for this user."
    mender = Mender.NOBODY

    def __init__(
        self, *, status: int = 429, words: str = "", request_id: str = "", retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(status=status, words=words, request_id=request_id)
        self.retry_after_seconds = retry_after_seconds


class Unauthorized(GitLabError):
    """401; `reason` is `unknown`, `expired`, `revoked` or `impersonation_disabled` (§5.1)."""

    code = "unauthorized"
    layer = Layer.OAUTH
    sentence = "GitLab does not accept the token any more."
    remedy = "Authorize the connection again."
    mender = Mender.YOU

    def __init__(self, *, status: int = 401, words: str = "", request_id: str = "", reason: str = "unknown") -> None:
        super().__init__(status=status, words=words, request_id=request_id)
        self.reason = reason if reason in TOKEN_REASONS else "unknown"


class InsufficientScope(GitLabError):
    """403 `insufficient_scope`; `scopes` names those that would do (§5.2)."""

    code = "insufficient_scope"
    layer = Layer.SCOPE
    sentence = "The token lacks a scope for this."
    remedy = "Tick the missing scope in the application in GitLab, then authorize again."

    def __init__(self, scopes: str | Iterable[str], *, words: str = "", request_id: str = "") -> None:
        super().__init__(status=403, words=words, request_id=request_id)
        self.scopes = Scopes(scopes)
        if scopes:
            self.sentence = f"The token lacks a scope for this; one of these would do: {', '.join(self.scopes)}."


class InsufficientPermission(InsufficientScope):
    """403 `insufficient_granular_scope`: GitLab's words name the fine-grained permission that is missing."""

    code = "insufficient_permission"
    sentence = "The authorization does not include a fine-grained permission that this needs."
    remedy = "Add the permission that GitLab names to the application in GitLab, then authorize again."

    def __init__(self, *, words: str = "", request_id: str = "") -> None:
        super().__init__("", words=words, request_id=request_id)


class ForbiddenByRole(GitLabError):
    """403 for the user's role or state; GitLab's words tell which."""

    code = "forbidden_by_role"
    layer = Layer.ROLE
    sentence = "GitLab does not let this user do that."
    remedy = "Check the service user's role in the group and whether its account is active."


class GitLabNotFound(GitLabError):
    """404: it does not exist or this user may not see it; GitLab does not tell which."""

    code = "gitlab_not_found"
    sentence = "GitLab does not show this to the service user, or it does not exist."
    remedy = "Check the service user's membership, and the sub-path of the domain."


class UnexpectedStatus(GitLabError):
    """A status this endpoint does not have."""

    code = "unexpected_status"
    sentence = "GitLab answered in a way that is not foreseen here."


_OAUTH_TEXTS = {
    "invalid_client": (
        "GitLab does not accept Application ID and Secret.",
        "Compare both with the application in GitLab. If the secret was renewed there, enter the new one here.",
        Mender.YOU,
    ),
    "invalid_grant": (
        "GitLab does not accept the authorization code: it was used, is too old, or belongs to another redirect URI.",
        "Authorize again. If it stays, compare the redirect URI in GitLab with the one shown here.",
        Mender.YOU,
    ),
    "invalid_scope": (
        "GitLab does not allow the application one of the scopes asked for.",
        "Tick the scopes shown here in the application in GitLab.",
        Mender.GITLAB_ADMIN,
    ),
    "access_denied": ("The authorization was denied in GitLab.", "Authorize again and press Authorize.", Mender.YOU),
    "unauthorized_client": (
        "GitLab does not let this application do that.",
        "Check in GitLab that the application is confidential and not blocked.",
        Mender.GITLAB_ADMIN,
    ),
}
_OAUTH_DEFAULT = (
    "GitLab's OAuth endpoint refused the request.",
    "Compare the application's values in GitLab with those shown here.",
    Mender.GITLAB_ADMIN,
)


# RFC 6749 §5.2, with the statuses the endpoint gives them.
_TOKEN_ERRORS = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)
_TOKEN_STATUSES = frozenset({400, 401})


class OAuthRefused(GitLabError):
    """A well-formed OAuth error; `error` is its RFC 6749 code, and only it is decided upon.

    `is_of_token_endpoint`: only the endpoint itself answers so, before it does anything; something in front of GitLab
    does not.
    """

    layer = Layer.OAUTH

    def __init__(self, error: str, words: str = "", *, status: int = 400, request_id: str = "") -> None:
        self.is_of_token_endpoint = error in _TOKEN_ERRORS and status in _TOKEN_STATUSES
        self.error = error if error in _OAUTH_TEXTS else "other"
        self.code = f"oauth_{self.error}"
        self.sentence, self.remedy, self.mender = _OAUTH_TEXTS.get(error, _OAUTH_DEFAULT)
        super().__init__(status=status, words=words, request_id=request_id)
