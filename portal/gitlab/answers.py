"""What GitLab answers: the parts of its JSON that the portal uses, the failures, and how one answer is read.

Every field has a default except the indispensable ones, and unknown fields are ignored. `None` means that GitLab did
not say: a field that is null or invalid counts as one that it did not send. It spoils the value only if the value is
useless without it, and a bad row of a list only that row. Every text is foreign, so its type is a kind of `Foreign`:
decoding cleans it.

What people read of a failure is in `portal.failures`:

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

from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar, get_args

import msgspec

from portal.errors import Card, Layer
from portal.foreign import Path, PersonName, Scopes, ShortText, Title, WebAddress, Words
from portal.net import Answer
from portal.net.json_reader import JSONRefused, make_foreign, read_json, without_long_numbers
from portal.net.retry import read_retry_after

T = TypeVar("T")
API = "/api/v4"
TOKEN_HEADER = "PRIVATE-TOKEN"
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


Id = Annotated[int, msgspec.Meta(ge=1)]
AwareTime = Annotated[datetime, msgspec.Meta(tz=True)]


class FullPath(Path):
    """Where a group or a project is; never empty."""

    __slots__ = ()
    may_be_empty = False


class Moment(datetime):
    """A point in time, in UTC; a value without an offset, or one that no database can hold, does not count."""

    def __new__(cls, *given: Any, **named: Any) -> Self:
        """Read ISO 8601 with an offset; otherwise as `datetime` does."""
        if len(given) != 1 or isinstance(given[0], bytes):
            return super().__new__(cls, *given, **named)
        if not isinstance(given[0], str):
            raise TypeError("not a text")
        try:
            told = msgspec.convert(given[0], AwareTime).astimezone(UTC)
        except OverflowError:
            raise ValueError("beyond all years") from None
        day, time = told.date(), told.time()
        return super().__new__(
            cls, day.year, day.month, day.day, time.hour, time.minute, time.second, time.microsecond, UTC
        )


class User(msgspec.Struct, frozen=True):
    """`GET /user` (api/users). `is_admin` is only there for administrators."""

    id: int
    username: PersonName
    name: PersonName = PersonName()
    state: ShortText = ShortText()
    is_admin: bool | None = None
    external: bool | None = None
    bot: bool | None = None


class Metadata(msgspec.Struct, frozen=True):
    """`GET /metadata` (15.2) or `GET /version` (api/version)."""

    version: ShortText
    revision: ShortText = ShortText()
    enterprise: bool | None = None


class Group(msgspec.Struct, frozen=True):
    """One of `GET /groups` (api/groups)."""

    always_told: ClassVar[tuple[str, ...]] = ("name",)

    id: Id
    full_path: FullPath
    name: Title | None = None
    parent_id: int | None = None


class Namespace(msgspec.Struct, frozen=True):
    """A project's namespace."""

    id: Id


class Access(msgspec.Struct, frozen=True):
    """Half of `permissions`."""

    access_level: int | None = None


class Permissions(msgspec.Struct, frozen=True):
    """What lists say about the user's role: group access covers the immediate namespace only."""

    project_access: Access | None = None
    group_access: Access | None = None


class Project(msgspec.Struct, frozen=True):
    """One of `GET /projects` (api/projects)."""

    # What every version says about every project, unless `simple` was requested.
    always_told: ClassVar[tuple[str, ...]] = (
        "name",
        "web_url",
        "visibility",
        "archived",
        "last_activity_at",
        "namespace",
    )

    id: Id
    path_with_namespace: FullPath
    name: Title | None = None
    web_url: WebAddress | None = None
    # Where git reads it; an instance may have a separate host for that.
    http_url_to_repo: WebAddress = WebAddress()
    description: Title | None = None
    default_branch: Title | None = None
    visibility: ShortText | None = None
    archived: bool | None = None
    empty_repo: bool | None = None
    repository_object_format: ShortText | None = None
    repository_access_level: ShortText | None = None
    marked_for_deletion_on: ShortText | None = None
    marked_for_deletion_at: ShortText | None = None
    last_activity_at: Moment | None = None
    updated_at: Moment | None = None
    namespace: Namespace | None = None
    permissions: Permissions | None = None

    @property
    def access_level(self) -> int | None:
        """The role named in the list; None if there is none."""
        if self.permissions is None:
            return None
        halves = (self.permissions.project_access, self.permissions.group_access)
        return max((half.access_level for half in halves if half and half.access_level is not None), default=None)

    @property
    def repository_enabled(self) -> bool:
        """Whether the repository feature is on."""
        return self.repository_access_level != "disabled"

    @property
    def marked_for_deletion(self) -> bool:
        """Whether deletion is scheduled; the older name is still sent by older versions."""
        return bool(self.marked_for_deletion_on or self.marked_for_deletion_at)


class TokenInfo(msgspec.Struct, frozen=True):
    """`GET /oauth/token/info` (api/oauth2): here `scope` is an array."""

    resource_owner_id: int
    # `[]` if nothing is left; an absent value must not be mistaken for that.
    scope: Scopes
    expires_in: int | None = None


class Application(msgspec.Struct, frozen=True):
    """One of `GET /applications` or `/user/applications` (api/applications); `scopes` only in the newest versions."""

    always_told: ClassVar[tuple[str, ...]] = ()

    id: Id
    application_id: PersonName
    application_name: Title = Title()
    # Several are separated by line ends, which become blanks here.
    callback_url: WebAddress = WebAddress()
    confidential: bool | None = None
    scopes: Scopes | None = None


class Member(msgspec.Struct, frozen=True):
    """A user in a group (api/group_members)."""

    id: Id
    access_level: int


class GranularScope(msgspec.Struct, frozen=True):
    """What a fine-grained token may do somewhere (api/personal_access_tokens, 19.6)."""

    permissions: Scopes | None = None


class TokenSelf(msgspec.Struct, frozen=True):
    """`GET /personal_access_tokens/self` (api/personal_access_tokens, 15.5); `granular_scopes` since 19.6."""

    name: Title = Title()
    user_id: int | None = None
    scopes: Scopes | None = None
    expires_at: date | msgspec.UnsetType | None = msgspec.UNSET
    created_at: Moment | None = None
    granular: bool | None = None
    granular_scopes: list[GranularScope] | None = None


class Discovery(msgspec.Struct, frozen=True):
    """`/.well-known/openid-configuration` (OpenID Connect Discovery 1.0)."""

    issuer: WebAddress
    authorization_endpoint: WebAddress
    token_endpoint: WebAddress = WebAddress()
    scopes_supported: Scopes = Scopes()
    code_challenge_methods_supported: Scopes = Scopes()
    # RFC 9207 §3: every callback says which server it comes from.
    authorization_response_iss_parameter_supported: bool = False


class Defect(msgspec.Struct, frozen=True):
    """Something invalid in a row of a list.

    Attributes:
        row: the row's id; if that cannot be read, its place on the page, such as `row 3`.
        field: what is wrong, such as `namespace.id`; empty if the row is not an object at all.
        is_left_out: whether the row could not be used because of it; otherwise only the field was not used.
    """

    row: ShortText
    field: ShortText
    is_left_out: bool = False


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list.

    Attributes:
        items: the rows that can be used, in GitLab's order, each once.
        ids: of all rows, also of those that cannot be used.
        unnamed: how many rows have no id that can be read.
        total: how many rows GitLab counts for this question; None if it does not say (above 10,000).
        is_short: whether there are fewer rows than were asked for.
    """

    items: list[T]
    defects: list[Defect] = msgspec.field(default_factory=list)
    ids: list[int] = msgspec.field(default_factory=list)
    unnamed: int = 0
    total: int | None = None
    is_short: bool = False

    @property
    def count(self) -> int:
        """How many rows came."""
        return len(self.ids) + self.unnamed

    @property
    def is_ascending(self) -> bool:
        """Whether the rows came in the order of their ids."""
        return self.ids == sorted(self.ids)

    @property
    def is_last(self) -> bool:
        """Whether nothing is left to read: an empty page, or as many rows as GitLab counts."""
        return self.count == 0 or (self.is_short and self.total == self.count)

    @property
    def contradicts_itself(self) -> bool:
        """Whether rows are left after which the next page cannot begin: GitLab counts some, or none could be read."""
        return not self.ids and bool(self.unnamed or self.total)


# GitLab's texts for a dead token differ by one word only (docs/gitlab.md, "OAuth: the engine").
_TOKEN_REASONS = {"expired": "expired", "revoked": "revoked", "impersonation": "impersonation_disabled"}


def read_answer(answer: Answer, shape: type[T], *, ok: tuple[int, ...] = (200,)) -> T:
    """Return the decoded body.

    Raises:
        GitLabError: the failure that the answer means.
    """
    if answer.status not in ok:
        raise failure_of(answer)
    content, content_type = answer.content, answer.headers.get("content-type", "")
    try:
        try:
            return read_json(content, content_type, shape)
        except JSONRefused as error:
            if error.code != "wrong_shape" or not _is_struct(shape):
                raise
        found, _ = _read_tolerantly(read_json(without_long_numbers(content), content_type, Any), shape)
        if found is None:
            raise JSONRefused("wrong_shape")
        return found
    except JSONRefused as error:
        raise _refusal(answer, error) from None


def read_page(answer: Answer, shape: type[T], *, per_page: int, always_told: Collection[str] = ()) -> Page[T]:
    """Return one page of a list, row by row if a row is invalid.

    Args:
        answer: of the list.
        shape: of a row.
        per_page: how many rows were asked for.
        always_told: optional fields that GitLab never omits: a row without one of them has a defect.

    Raises:
        GitLabError: the failure that the answer means.
    """
    if answer.status != 200:
        raise failure_of(answer)
    content, content_type = answer.content, answer.headers.get("content-type", "")
    found: list[tuple[T | None, list[str], Any]]
    try:
        try:
            found = [(row, [], None) for row in read_json(content, content_type, list[shape])]  # type: ignore[valid-type]
        except JSONRefused as error:
            if error.code != "wrong_shape":
                raise
            rows = read_json(without_long_numbers(content), content_type, list[Any])
            if rows and not any(isinstance(row, dict) for row in rows):
                raise
            found = [(*_read_tolerantly(row, shape), row) for row in rows]
    except JSONRefused as error:
        raise _refusal(answer, error) from None
    items: dict[int, T] = {}
    ids: dict[int, None] = {}
    defects: list[Defect] = []
    unnamed = 0
    for place, (item, wrong, row) in enumerate(found, start=1):
        untold = [name for name in always_told if item is not None and getattr(item, name) is None]
        wrong += [name for name in untold if name not in {field.partition(".")[0] for field in wrong}]
        row_id = getattr(item, "id", None) or _converted(row.get("id") if isinstance(row, dict) else None, Id)
        if row_id is None:
            unnamed += 1
        else:
            ids[row_id] = None
            if item is not None:
                items.setdefault(row_id, item)
        if wrong:
            name = ShortText(f"row {place}" if row_id is None else str(row_id))
            defects += [Defect(name, ShortText(field), is_left_out=item is None) for field in wrong]
    total = answer.headers.get("x-total", "")
    return Page(
        items=list(items.values()),
        defects=defects,
        ids=list(ids),
        unnamed=unnamed,
        total=int(total) if total.isascii() and total.isdigit() and len(total) < 10 else None,
        is_short=len(ids) + unnamed < per_page,
    )


def failure_of(answer: Answer) -> GitLabError:
    """Return what an answer with an unwanted status means."""
    status, request_id = answer.status, request_id_of(answer)
    try:
        body = read_json(answer.content, answer.headers.get("content-type", ""), dict[str, Any])
    except (JSONRefused, msgspec.MsgspecError):
        body = {}
    words = error_text(body)
    if status == 429:
        seconds = read_retry_after(answer.headers.get("retry-after"))
        return GitLabRateLimited(words=words, request_id=request_id, retry_after_seconds=seconds)
    if status >= 500:
        return GitLabUnavailable(status=status, words=words, request_id=request_id)
    if not body:
        return NotGitLab(status=status, request_id=request_id)
    if status == 401:
        said = str(body.get("error_description", "")).lower() if body.get("error") == "invalid_token" else ""
        reason = next((reason for word, reason in _TOKEN_REASONS.items() if word in said), "unknown")
        return Unauthorized(words=words, request_id=request_id, reason=reason)
    if status == 403 and body.get("error") == "insufficient_granular_scope":
        return InsufficientPermission(words=words, request_id=request_id)
    if status == 403 and body.get("error") == "insufficient_scope":
        return InsufficientScope(str(body.get("scope", "")), words=words, request_id=request_id)
    kinds = {403: ForbiddenByRole, 404: GitLabNotFound}
    kind: type[GitLabError] = kinds.get(status, UnexpectedStatus)
    return kind(status=status, words=words, request_id=request_id)


def error_text(body: dict[str, Any]) -> Words:
    """Return GitLab's own words from any of its error shapes."""
    found = (_flatten(body.get(name)) for name in ("error_description", "message", "error"))
    return Words(next(filter(None, found), ""))


def request_id_of(answer: Answer) -> str:
    """Return GitLab's `x-request-id`; empty if there is none."""
    return answer.headers.get("x-request-id", "")


def _flatten(value: Any, depth: int = 3) -> str:
    if isinstance(value, str):
        return value
    if depth and isinstance(value, list):
        return ", ".join(filter(None, (_flatten(item, depth - 1) for item in value[:10])))
    if depth and isinstance(value, dict):
        parts = ((str(key), _flatten(item, depth - 1)) for key, item in list(value.items())[:10])
        return "; ".join(f"{key} {text}" for key, text in parts if text)
    return ""


def _refusal(answer: Answer, error: JSONRefused) -> GitLabError:
    kind = NotGitLab if error.code == "not_json" else MalformedAnswer
    return kind(status=answer.status, request_id=request_id_of(answer))


def _read_tolerantly(value: Any, shape: type[T]) -> tuple[T | None, list[str]]:
    """Build a struct from what can be used; return it (None if that is too little) and the names of what is wrong."""
    if not isinstance(value, dict):
        return None, [""]
    kept, wrong = _usable_members(value, shape)
    found = _converted(kept, shape)
    return found, wrong


def _usable_members(value: dict[str, Any], shape: type[Any]) -> tuple[dict[str, Any], list[str]]:
    kept: dict[str, Any] = {}
    wrong: list[str] = []
    for field in msgspec.structs.fields(shape):
        name, member = field.encode_name, value.get(field.encode_name)
        below: list[str] = []
        inner = next((kind for kind in (field.type, *get_args(field.type)) if _is_struct(kind)), None)
        if inner is not None and isinstance(member, dict):
            member, below = _usable_members(member, inner)
        if name in value and _converted(member, field.type) is not None:
            kept[name] = member
        elif not below and (field.required or member is not None):
            wrong.append(name)
        wrong += [f"{name}.{inside}" for inside in below]
    return kept, wrong


def _converted(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind, dec_hook=make_foreign)
    except (msgspec.ValidationError, ValueError, TypeError):
        return None


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
