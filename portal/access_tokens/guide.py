"""How to make a token that does what a connection is used for, in the GitLab it is for.

GitLab shows its version only to someone who has a token, so it is often not known yet; the guide then says which
version brought what.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from portal.connections.applications import APPLICATION_NAME
from portal.connections.checklist import scope_reasons, supported_scopes
from portal.connections.models import Connection
from portal.db import utc_now
from portal.gitlab import links
from portal.gitlab.access_tokens import Need
from portal.gitlab.identification import ScopeReason, Version, parse_version

FINE_GRAINED, FINE_GRAINED_FINISHED = Version(18, 10), Version(19, 2)
PREFILLED = Version(14, 1)
MUST_EXPIRE, MAY_LAST_LONGER = Version(16, 0), Version(17, 6)
PROJECT_TOKENS, GROUP_TOKENS, SERVICE_ACCOUNTS = Version(13, 0), Version(14, 7), Version(16, 1)
LONGEST = timedelta(days=365)
# A scope of 17.1: a GitLab that does not list it is too old for fine-grained tokens.
NEWER_SCOPE = "manage_runner"


@dataclass(frozen=True)
class Permission:
    """A permission of a fine-grained token: tab, resource and actions as GitLab's form names them."""

    tab: str
    resource: str
    actions: tuple[str, ...]
    reason: str
    need: Need | None = None

    @property
    def names(self) -> frozenset[str]:
        """What GitLab's API calls them, such as `read_merge_request`."""
        return frozenset(f"{action} {self.resource}".lower().replace(" ", "_") for action in self.actions)


BY_PROJECT, BY_USER, GLOBAL = "Group and project", "User", "Global"
# https://docs.gitlab.com/auth/tokens/fine_grained_access_tokens_rest/ (REST) and …_other/ (git).
PERMISSIONS = (
    Permission(BY_PROJECT, "Project", ("Read",), "what each project is"),
    Permission(BY_PROJECT, "Repository", ("Read",), "files of repositories you enable", Need.REPOSITORIES),
    Permission(BY_PROJECT, "Code", ("Download",), "cloning them with git", Need.REPOSITORIES),
    Permission(BY_PROJECT, "Merge Request", ("Read",), "you chose merge requests", Need.MERGE_REQUESTS),
    Permission(BY_PROJECT, "Work Item", ("Read",), "you chose issues", Need.ISSUES),
    Permission(BY_PROJECT, "Webhook", ("Create", "Read", "Update", "Delete"), "you chose webhooks", Need.WEBHOOKS),
    Permission(BY_USER, "User", ("Read",), "whose token it is"),
    Permission(BY_USER, "Project", ("Read",), "the list of projects"),
    Permission(BY_USER, "Group", ("Read",), "the list of groups"),
    Permission(BY_USER, "Personal Access Token", ("Read",), "when the token expires"),
    Permission(GLOBAL, "Metadata", ("Read",), "which version GitLab is"),
)


@dataclass(frozen=True)
class Guide:
    """What the guide shows.

    Attributes:
        version: of this GitLab; None if it is not known yet.
        is_finished: whether fine-grained tokens have left their beta there.
        tabs: the permissions by the tab of GitLab's form; empty if this GitLab has no fine-grained tokens.
        ends_on: the last day that GitLab accepts unless its administrator has set another limit.
    """

    version: Version | None
    is_finished: bool
    name: str
    tabs: dict[str, list[Permission]]
    fine_grained_url: str
    legacy_url: str
    is_prefilled: bool
    scopes: list[ScopeReason]
    ends_on: datetime
    must_expire: bool
    may_last_longer: bool
    has_project_tokens: bool
    has_group_tokens: bool
    has_service_accounts: bool


def make_guide(connection: Connection, told_version: str = "") -> Guide:
    """Return the guide for a connection; `told_version` is what GitLab just said to the holder of a token."""
    version = parse_version(told_version or connection.version_seen)
    supported = supported_scopes(connection)
    may_be_new = version is None and (not supported or NEWER_SCOPE in supported)
    has = {since: version >= since if version else may_be_new for since in (FINE_GRAINED, FINE_GRAINED_FINISHED)}
    tabs: dict[str, list[Permission]] = {}
    for item in PERMISSIONS if has[FINE_GRAINED] else ():
        if item.need is None or item.need in needs_of(connection):
            tabs.setdefault(item.tab, []).append(item)
    scopes = scope_reasons(connection)
    return Guide(
        version=version,
        is_finished=has[FINE_GRAINED_FINISHED],
        name=APPLICATION_NAME,
        tabs=tabs,
        fine_grained_url=links.fine_grained_tokens(connection.external_url),
        legacy_url=links.personal_access_tokens(
            connection.external_url, APPLICATION_NAME, [item.scope for item in scopes], version
        ),
        is_prefilled=version is None or version >= PREFILLED,
        scopes=scopes,
        ends_on=utc_now() + LONGEST,
        must_expire=version is None or version >= MUST_EXPIRE,
        may_last_longer=version is None or version >= MAY_LAST_LONGER,
        has_project_tokens=version is None or version >= PROJECT_TOKENS,
        has_group_tokens=version is None or version >= GROUP_TOKENS,
        has_service_accounts=version is None or version >= SERVICE_ACCOUNTS,
    )


def needs_of(connection: Connection) -> list[Need]:
    """Return what a connection is used for."""
    return [Need(service) for service in connection.services] + [Need.WEBHOOKS] * connection.hooks_wanted


def needed_permissions(connection: Connection) -> frozenset[str]:
    """Return the permissions that a connection uses, as GitLab's API names them."""
    wanted = needs_of(connection)
    return frozenset().union(*(item.names for item in PERMISSIONS if item.need is None or item.need in wanted))
