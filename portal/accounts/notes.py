"""What higher capabilities add to the members pages; this one does not know them.

Notes in a member's row besides name and role, and the groups that a team lead can be invited to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portal.accounts.models import Membership
from portal.actor import Principal, Right
from portal.runtime import Runtime


@dataclass(frozen=True)
class Notes:
    """A template and, by membership id, what it needs; members without an entry have no such note.

    The template finds its entry as `about`, and the row's member as `member`.
    """

    template: str
    by_membership: Mapping[int, Any]


@dataclass(frozen=True)
class GroupChoice:
    """A group that a team lead may be given; `id` is ours, and a grant is made from the other two."""

    id: int
    connection_id: int
    gitlab_group_id: int
    path: str
    connection_name: str


Provider = Callable[[Runtime, Principal, Sequence[Membership]], Notes]
GroupSource = Callable[[Runtime, Principal], list[GroupChoice]]
_providers: dict[str, Provider] = {}
_group_sources: dict[str, GroupSource] = {}


def add(name: str, provider: Provider) -> None:
    """Add a note under a name; adding the same one again changes nothing."""
    _providers[name] = provider


def notes_for(runtime: Runtime, principal: Principal, memberships: Sequence[Membership]) -> list[Notes]:
    """Return the notes on some members, by name of their provider."""
    return [_providers[name](runtime, principal, memberships) for name in sorted(_providers)]


def add_group_source(name: str, source: GroupSource) -> None:
    """Add a source of groups under a name; adding the same one again changes nothing."""
    _group_sources[name] = source


def group_choices(runtime: Runtime, principal: Principal) -> list[GroupChoice]:
    """Return the groups that this person may give to a team lead."""
    if not principal.may(Right.GRANT_GROUPS):
        return []
    return [choice for name in sorted(_group_sources) for choice in _group_sources[name](runtime, principal)]
