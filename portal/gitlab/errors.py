"""What GitLab's answers can mean if they are not what was asked for; what people read is in `portal.failures`.

GitLabError
├── NotGitLab            something else answered: a login page, a proxy, a captive portal
│   ├── OtherAPI         an API, but not GitLab's
│   └── Unproved         looks like GitLab's API, but what only GitLab sends with it is missing
├── MalformedAnswer      GitLab's address, but not GitLab's shape
├── GitLabUnavailable    5xx, maintenance
├── GitLabRateLimited    429, with how long to wait when GitLab says so
├── Unauthorized         401: the token is unknown, expired or revoked
├── InsufficientScope    403: the token lacks a scope; the scopes that would do are named
│   └── InsufficientPermission  the same for a token with fine-grained permissions
├── ForbiddenByRole      403: the user's role or state does not allow it
├── GitLabNotFound       404: not there, or not visible to this user
├── UnexpectedStatus     any other status
├── OAuthBlocked         at an OAuth endpoint, something other than GitLab's OAuth answered
└── OAuthRefused         an error of the OAuth endpoints (RFC 6749 §5.2)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from portal.errors import Card, Layer
from portal.foreign import Scopes, ShortText, Words

# Why GitLab refuses a token, when it says so (RFC 6750 §3.1 has one code for all of them).
TOKEN_REASONS = frozenset({"expired", "revoked", "impersonation_disabled"})
# GitLab's words for what is wrong with the user, by what they contain (lib/gitlab/auth/user_access_denied_reason.rb).
USER_STATES = {
    "terms of service": "terms",
    "password expired": "password",
    "not confirmed": "email",
    "deactivated": "deactivated",
    "pending approval": "pending",
    "blocked": "blocked",
    "internal users": "internal",
}


class GitLabError(Exception):
    """GitLab, or whatever answers in its place, did not do what was asked.

    Attributes:
        code: stable.
        params: what the texts of the failure name.
        status: of the HTTP answer.
        words: GitLab's own, cleaned.
        request_id: GitLab's `x-request-id`, cleaned; empty if there was none.
    """

    code = "gitlab_failed"

    def __init__(self, *, status: int = 0, words: str = "", request_id: str = "", **params: Any) -> None:
        self.status = status
        self.params = params
        self.words = Words(words)
        self.request_id = ShortText(request_id)
        super().__init__(f"{self.code} (status {status})")

    @property
    def layer(self) -> Layer:
        """Where on the way it failed."""
        return self.card().layer

    @property
    def sentence(self) -> str:
        """What is wrong, wherever it is read."""
        return self.card().sentence

    def card(self) -> Card:
        """Return the failure as it is stored and shown."""
        return Card(self.code, {"status": self.status, **self.params}, self.words, self.request_id)


class NotGitLab(GitLabError):
    """HTML or something else where GitLab's API would answer JSON."""

    code = "not_gitlab"


class OtherAPI(NotGitLab):
    """JSON at the address of GitLab's API that GitLab never sends there."""

    code = "other_api"


class Unproved(NotGitLab):
    """GitLab's own words at the address of its API, and nothing else that only GitLab sends."""

    code = "gitlab_unproved"


class MalformedAnswer(GitLabError):
    """JSON of a different shape than this endpoint's; nothing of it was used."""

    code = "malformed_answer"


class GitLabUnavailable(GitLabError):
    """A 5xx answer: GitLab is down, restarting or in maintenance mode."""

    code = "gitlab_unavailable"


class GitLabRateLimited(GitLabError):
    """Too many requests; `retry_after_seconds` is None if GitLab does not say."""

    code = "gitlab_rate_limited"

    def __init__(
        self, *, status: int = 429, words: str = "", request_id: str = "", retry_after_seconds: float | None = None
    ) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(status=status, words=words, request_id=request_id, retry_after_seconds=retry_after_seconds)


class Unauthorized(GitLabError):
    """401; `reason` is `unknown` or one of `TOKEN_REASONS` (docs/gitlab.md, "Refusals of the API")."""

    code = "unauthorized"

    def __init__(self, *, status: int = 401, words: str = "", request_id: str = "", reason: str = "unknown") -> None:
        self.reason = reason if reason in TOKEN_REASONS else "unknown"
        super().__init__(status=status, words=words, request_id=request_id, case=self.reason)


class InsufficientScope(GitLabError):
    """403 `insufficient_scope`; `scopes` names those that would do (docs/gitlab.md)."""

    code = "insufficient_scope"

    def __init__(self, scopes: str | Iterable[str], *, words: str = "", request_id: str = "") -> None:
        self.scopes = Scopes(scopes)
        named = {"scopes": ", ".join(self.scopes)} if self.scopes else {"case": "none_named"}
        super().__init__(status=403, words=words, request_id=request_id, **named)


class InsufficientPermission(InsufficientScope):
    """403 `insufficient_granular_scope`: GitLab's words name the fine-grained permission that is missing."""

    code = "insufficient_permission"

    def __init__(self, *, words: str = "", request_id: str = "") -> None:
        super().__init__("", words=words, request_id=request_id)


class ForbiddenByRole(GitLabError):
    """403 for the user's role or state; GitLab's words say which."""

    code = "forbidden_by_role"

    def __init__(self, *, status: int = 403, words: str = "", request_id: str = "") -> None:
        told = words.lower()
        case = next((case for part, case in USER_STATES.items() if part in told), "")
        super().__init__(status=status, words=words, request_id=request_id, **({"case": case} if case else {}))


class GitLabNotFound(GitLabError):
    """404: it does not exist or this user may not see it; GitLab does not say which."""

    code = "gitlab_not_found"


class UnexpectedStatus(GitLabError):
    """A status this endpoint does not have."""

    code = "unexpected_status"


class OAuthBlocked(GitLabError):
    """An answer that GitLab's OAuth never gives: something in front of it does not let its paths through."""

    code = "oauth_blocked"

    def __init__(self, path: str, *, status: int, words: str = "", request_id: str = "") -> None:
        super().__init__(status=status, words=words, request_id=request_id, path=path)


# Codes of the authorize and the token endpoint that have their own texts (RFC 6749 §4.1.2.1, §5.2).
_OAUTH_CODES = frozenset({"invalid_client", "invalid_grant", "invalid_scope", "access_denied", "unauthorized_client"})
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
    """A well-formed OAuth error; `error` is its RFC 6749 code, and decisions use only that.

    `is_of_token_endpoint`: only the endpoint itself answers like this, before it does anything; something in front of
        GitLab does not.
    """

    def __init__(self, error: str, words: str = "", *, status: int = 400, request_id: str = "") -> None:
        self.is_of_token_endpoint = error in _TOKEN_ERRORS and status in _TOKEN_STATUSES
        self.error = error if error in _OAUTH_CODES else "other"
        self.code = f"oauth_{self.error}"
        super().__init__(status=status, words=words, request_id=request_id)
