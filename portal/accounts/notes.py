"""What stands in a member's row besides name and role; higher capabilities add theirs, unknown to this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portal.accounts.models import Membership
from portal.accounts.principal import Principal
from portal.runtime import Runtime


@dataclass(frozen=True)
class Notes:
    """A template and, by membership id, what it needs; members without an entry have no such note.

    The template finds its entry as `about`, and the row's member as `member`.
    """

    template: str
    by_membership: Mapping[int, Any]


Provider = Callable[[Runtime, Principal, Sequence[Membership]], Notes]
_providers: dict[str, Provider] = {}


def add(name: str, provider: Provider) -> None:
    """Add a note under a name; adding the same one again changes nothing."""
    _providers[name] = provider


def notes_for(runtime: Runtime, principal: Principal, memberships: Sequence[Membership]) -> list[Notes]:
    """Return the notes on some members, by name of their provider."""
    return [_providers[name](runtime, principal, memberships) for name in sorted(_providers)]
