"""What higher capabilities add to the members pages; this one does not know them.

Notes in a member's row besides name and role, and the groups that a team lead can be invited to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def notes_for(runtime: Runtime, principal: Principal, memberships: Sequence[Membership]) -> list[Notes]:
    """Return the notes on some members."""
    providers = (capability.member_notes for capability in runtime.capabilities.all)
    return [provider(runtime, principal, memberships) for provider in providers if provider]


def group_choices(runtime: Runtime, principal: Principal) -> list[GroupChoice]:
    """Return the groups that this person may give to a team lead."""
    if not principal.may(Right.GRANT_GROUPS):
        return []
    sources = (capability.group_choices for capability in runtime.capabilities.all)
    return [choice for source in sources if source for choice in source(runtime, principal)]
