"""What higher capabilities show on a connection's pages, so that this one need not know them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from portal.actor import Principal
from portal.connections.models import Connection
from portal.runtime import Runtime


class Place(StrEnum):
    """Where on a connection's pages something appears."""

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


def panels_for(runtime: Runtime, principal: Principal, connection: Connection) -> list[Panel]:
    """Return everything that the capabilities show, in order."""
    return [
        panel
        for provider in runtime.capabilities.connection_panels
        for panel in provider(runtime, principal, connection)
    ]
