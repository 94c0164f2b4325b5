"""Which scopes the chosen services need, each with its reason, and which scopes cover others.

GitLab's list: https://docs.gitlab.com/integration/oauth_provider/; which version brought which is in docs/gitlab.md.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from portal.gitlab.version import Version


class Service(StrEnum):
    """What a connection is used for."""

    REPOSITORIES = "repositories"
    MERGE_REQUESTS = "merge_requests"
    ISSUES = "issues"


@dataclass(frozen=True)
class ScopeReason:
    """One scope and why it is asked for."""

    scope: str
    reason: str


READ_USER = ScopeReason("read_user", "to see who authorized, so that the wrong person is noticed")
READ_API = ScopeReason("read_api", "to list groups, projects, merge requests and issues; reads only")
READ_REPOSITORY = ScopeReason("read_repository", "to read the code of the repositories that are enabled")
API = ScopeReason("api", "to create webhooks; GitLab has no narrower scope for that, and it includes read_api")


API_TO_READ = ScopeReason(
    "api", "to list groups, projects, merge requests and issues; this GitLab has no narrower scope for that"
)
# What the broad scopes cover of those requested here.
_COVERED = {"api": {"read_api", "read_user", "read_repository"}, "read_api": {"read_user"}}
# For an application with fine-grained permissions: its tokens have only this scope, and names do not say what they may
# do; only a request shows it.
GRANULAR = "granular"
# Scopes that are newer than the oldest supported GitLab.
_SINCE = {"read_api": Version(12, 10)}


def scopes_for(
    services: Collection[str],
    *,
    hooks_wanted: bool,
    supported: Collection[str] = (),
    version: Version | None = None,
) -> list[ScopeReason]:
    """Return the fewest scopes that suffice, in the order of GitLab's own list.

    Args:
        services: what the connection is used for.
        hooks_wanted: whether webhooks will be created.
        supported: the scopes that this GitLab says it has; empty if it did not say.
        version: of this GitLab, used if it did not say; None if that is not known either.
    """
    needed = [API if hooks_wanted else READ_API, READ_USER]
    if Service.REPOSITORIES in services:
        needed.append(READ_REPOSITORY)
    there: dict[str, ScopeReason] = {}
    for item in needed:
        if API.scope in supported:
            exists = item.scope in supported
        else:
            exists = version is None or version >= _SINCE.get(item.scope, version)
        if exists:
            there.setdefault(item.scope, item)
        else:
            there.setdefault(API.scope, API_TO_READ)
    return list(there.values())


def missing_scopes(granted: Collection[str], wanted: Collection[str]) -> list[str]:
    """Return which wanted scopes the granted ones do not cover; none if names do not say."""
    if GRANULAR in granted:
        return []
    covered = set(granted).union(*(_COVERED.get(scope, ()) for scope in granted))
    return [scope for scope in wanted if scope not in covered]


def unused_scopes(granted: Collection[str], wanted: Collection[str]) -> list[str]:
    """Return which granted scopes are not among those wanted."""
    return sorted(set(granted) - set(wanted) - {GRANULAR})
