"""What higher capabilities show on a connection's pages, so that this one need not know them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from portal.actor import Principal
from portal.connections.models import Connection
from portal.runtime import Runtime


class Place(StrEnum):
    """Where on a connection's pages something stands."""

    # Above everything: what needs a person now.
    NEEDS = "needs"
    # One of the facts in a row.
    FACT = "fact"
    # A section of the settings page.
    SETTING = "setting"


@dataclass(frozen=True)
class Panel:
    """A template and what it needs, for one place."""

    place: Place
    template: str
    context: dict[str, Any]


Provider = Callable[[Runtime, Principal, Connection], list[Panel]]
_providers: dict[int, Provider] = {}


def add(order: int, provider: Provider) -> None:
    """Add a provider; lower numbers come first. Adding the same one again changes nothing."""
    known = _providers.setdefault(order, provider)
    if known is not provider:
        raise ValueError(f"two panels have the order {order}")


def panels_for(runtime: Runtime, principal: Principal, connection: Connection) -> list[Panel]:
    """Return everything there is to show, in order."""
    return [panel for order in sorted(_providers) for panel in _providers[order](runtime, principal, connection)]
