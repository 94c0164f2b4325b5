"""Which scopes the services wanted need, each with its reason (gitlab-contract §1.7)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum


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


def scopes_for(services: Collection[str], *, hooks_wanted: bool) -> list[ScopeReason]:
    """Return the fewest scopes that do, in the order of GitLab's own list."""
    needed = [API if hooks_wanted else READ_API, READ_USER]
    if Service.REPOSITORIES in services:
        needed.append(READ_REPOSITORY)
    return needed
