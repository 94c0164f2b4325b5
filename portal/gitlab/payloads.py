"""The parts of GitLab's JSON that the portal uses: every field has a default except the indispensable ones.

Unknown fields are ignored. Every text is foreign, so its type is a kind of `Foreign`: decoding cleans it. `None` means
that GitLab did not say: the field is missing, null or invalid (`portal.gitlab.answers`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar

import msgspec

from portal.foreign import Path, PersonName, Scopes, ShortText, Title, WebAddress

T = TypeVar("T")
Id = Annotated[int, msgspec.Meta(ge=1)]


class FullPath(Path):
    """Where a group or a project is; never empty."""

    __slots__ = ()

    def __new__(cls, value: str = "") -> Self:
        """Clean it."""
        found = super().__new__(cls, value)
        if not found:
            raise ValueError("an empty path")
        return found


class Moment(datetime):
    """A point in time, in UTC; a value without an offset, or one that no database can hold, does not count."""

    def __new__(cls, *given: Any, **named: Any) -> Self:
        """Read ISO 8601 with an offset; otherwise as `datetime` does."""
        if len(given) != 1 or isinstance(given[0], bytes):
            return super().__new__(cls, *given, **named)
        if not isinstance(given[0], str):
            raise TypeError("not a text")
        try:
            told = msgspec.convert(given[0], Annotated[datetime, msgspec.Meta(tz=True)]).astimezone(UTC)
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
