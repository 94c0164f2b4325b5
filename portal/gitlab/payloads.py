"""GitLab's JSON as far as the portal uses it: every field optional that any version leaves out (gitlab-contract).

Unknown fields are ignored. Every text is foreign, so its type is a kind of `Foreign`: decoding cleans it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from portal.foreign import Path, PersonName, Scopes, ShortText, Title, WebAddress

T = TypeVar("T")


class User(msgspec.Struct, frozen=True):
    """`GET /user` (§3.1). `is_admin` is only there for administrators."""

    id: int
    username: PersonName
    name: PersonName = PersonName()
    state: ShortText = ShortText()
    is_admin: bool | None = None
    external: bool | None = None
    bot: bool | None = None


class Metadata(msgspec.Struct, frozen=True):
    """`GET /metadata` (15.2) or `GET /version` (§6.1)."""

    version: ShortText
    revision: ShortText = ShortText()
    enterprise: bool | None = None


class Group(msgspec.Struct, frozen=True):
    """One of `GET /groups` (§8)."""

    id: int
    name: Title
    full_path: Path
    parent_id: int | None = None


class Namespace(msgspec.Struct, frozen=True):
    """A project's namespace."""

    id: int


class Access(msgspec.Struct, frozen=True):
    """Half of `permissions`."""

    access_level: int = 0


class Permissions(msgspec.Struct, frozen=True):
    """§7.4: in lists, group access covers the immediate namespace only."""

    project_access: Access | None = None
    group_access: Access | None = None


class Project(msgspec.Struct, frozen=True):
    """One of `GET /projects` (§7.2)."""

    id: int
    name: Title
    path_with_namespace: Path
    web_url: WebAddress = WebAddress()
    # Where git reads it, which an instance may have on a host of its own.
    http_url_to_repo: WebAddress = WebAddress()
    description: Title | None = None
    default_branch: Title | None = None
    visibility: ShortText | None = None
    archived: bool = False
    empty_repo: bool = False
    repository_object_format: ShortText | None = None
    repository_access_level: ShortText | None = None
    marked_for_deletion_on: ShortText | None = None
    marked_for_deletion_at: ShortText | None = None
    last_activity_at: datetime | None = None
    namespace: Namespace | None = None
    permissions: Permissions | None = None

    @property
    def access_level(self) -> int | None:
        """The role the list tells; None when it tells none."""
        if self.permissions is None:
            return None
        told = [half.access_level for half in (self.permissions.project_access, self.permissions.group_access) if half]
        return max(told, default=None)

    @property
    def repository_enabled(self) -> bool:
        """Whether the repository feature is on."""
        return self.repository_access_level != "disabled"

    @property
    def marked_for_deletion(self) -> bool:
        """Whether deletion is scheduled; the older name is still sent by older versions."""
        return bool(self.marked_for_deletion_on or self.marked_for_deletion_at)


class TokenInfo(msgspec.Struct, frozen=True):
    """`GET /oauth/token/info` (§1.6): here `scope` is an array."""

    resource_owner_id: int
    scope: Scopes = Scopes()
    expires_in: int | None = None


class Discovery(msgspec.Struct, frozen=True):
    """`/.well-known/openid-configuration` (§1.6)."""

    issuer: WebAddress
    authorization_endpoint: WebAddress
    token_endpoint: WebAddress = WebAddress()
    scopes_supported: Scopes = Scopes()
    code_challenge_methods_supported: Scopes = Scopes()
    # RFC 9207 §3: every callback says which server it comes from.
    authorization_response_iss_parameter_supported: bool = False


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list; `total` is None when GitLab does not tell (above 10,000)."""

    items: list[T]
    total: int | None = None
    next_page: int | None = None
