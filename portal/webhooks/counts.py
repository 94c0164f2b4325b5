"""How many deliveries came and how many were refused: counted by hook and hour, for the pages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case
from sqlmodel import Session, col

from portal.db import insert_into
from portal.webhooks.models import DeliveryCount, Outcome


@dataclass(frozen=True)
class Counted:
    """Some deliveries of one hook with one outcome, the first and the last of them within the same hour."""

    connection_id: int
    hook_id: int
    outcome: Outcome
    first_at: datetime
    last_at: datetime
    number: int = 1


def hour_of(at: datetime) -> datetime:
    """Return the beginning of an hour."""
    return at.replace(minute=0, second=0, microsecond=0)


def add_counts(session: Session, counted: Iterable[Counted]) -> None:
    """Count deliveries of hooks that exist."""
    sums: dict[tuple[int, datetime, str], Counted] = {}
    for one in counted:
        place = (one.hook_id, hour_of(one.first_at), one.outcome.value)
        before = sums.get(place, one)
        number = one.number + (before.number if place in sums else 0)
        about = (one.connection_id, one.hook_id, one.outcome)
        sums[place] = Counted(*about, min(before.first_at, one.first_at), max(before.last_at, one.last_at), number)
    if not sums:
        return
    # In one order, so that two processes do not wait for each other.
    rows = [
        {
            "connection_id": sums[place].connection_id,
            "hook_id": place[0],
            "hour": place[1],
            "outcome": place[2],
            "number": sums[place].number,
            "first_at": sums[place].first_at,
            "last_at": sums[place].last_at,
        }
        for place in sorted(sums)
    ]
    insert = insert_into(session, DeliveryCount)
    new, last_at = insert.excluded, col(DeliveryCount.last_at)
    again = {
        "number": col(DeliveryCount.number) + new.number,
        "last_at": case((last_at > new.last_at, last_at), else_=new.last_at),
    }
    place_of = ("hook_id", "hour", "outcome")
    session.connection().execute(insert.on_conflict_do_update(index_elements=place_of, set_=again), rows)
