"""What people read about an authorization that did not succeed."""

from __future__ import annotations

from portal.actor import Right, RightLost
from portal.authorization.person import Doubt
from portal.errors import Card


def wrong_person_card(doubts: tuple[Doubt, ...]) -> Card:
    """The person who signed in may not be the service user; every reason against them is named."""
    return Card(f"wrong_person_{doubts[0]}", {"also": [f"wrong_person_{doubt}" for doubt in doubts[1:]]})


def lost_card(told: Card | None = None) -> Card:
    """Return the card of an exchange of which GitLab may have given a pair that never arrived here.

    `told` is what came instead; None if the process that asked is gone.
    """
    if told is None:
        return Card("exchange_lost", {"case": "interrupted"})
    return Card("exchange_lost", words=told.words, request_id=told.request_id, because=told)


def right_lost() -> RightLost:
    """Return what such a person reads themselves."""
    sentence = (
        "You no longer have the right to authorize this connection. Nothing was stored; "
        "an owner or administrator of your organization can do it."
    )
    return RightLost(Right.MANAGE_CONNECTIONS, sentence)
