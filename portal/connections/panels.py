"""Panels of the details page: higher capabilities add theirs, so that this one need not know them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from portal.accounts.principal import Principal
from portal.connections.models import Connection
from portal.runtime import Runtime


@dataclass(frozen=True)
class Panel:
    """A template and what it needs; `is_last` puts it below the page's own panels."""

    template: str
    context: dict[str, Any]
    is_last: bool = False


Provider = Callable[[Runtime, Principal, Connection], Panel | None]
_providers: dict[int, Provider] = {}


def add(order: int, provider: Provider) -> None:
    """Add a panel; lower numbers come first. Adding the same one again changes nothing."""
    known = _providers.setdefault(order, provider)
    if known is not provider:
        raise ValueError(f"two panels have the order {order}")


def panels_for(runtime: Runtime, principal: Principal, connection: Connection) -> list[Panel]:
    """Return the panels that have something to show, in order."""
    made = (_providers[order](runtime, principal, connection) for order in sorted(_providers))
    return [panel for panel in made if panel is not None]
