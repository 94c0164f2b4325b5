"""What people read when a credential gives no access."""

from __future__ import annotations

from dataclasses import replace

from portal.credentials.models import CredentialState
from portal.errors import Card
from portal.gitlab.errors import GitLabError

VERDICTS: dict[str, Card] = {
    CredentialState.REVOKED: Card("credential_revoked"),
    CredentialState.LOST: Card("credential_lost"),
    CredentialState.SECRET_CHANGED: Card("client_secret_changed"),
    CredentialState.UNREADABLE: Card("secret_unreadable"),
    CredentialState.ERASED: Card("not_authorized"),
}
APPLICATION_GONE = Card("application_gone")
# Attention with these codes ends with the next refresh that works.
HEALED_BY_REFRESH = frozenset(card.code for card in VERDICTS.values()) | {
    *(APPLICATION_GONE.code, "unauthorized", "token_not_accepted")
}
RESTORED = Card("portal_restored")
NO_ROOM = Card("spool_unwritable")
OTHER_APPLICATION = Card("application_changed")
BUSY = Card("refresh_under_way")
REFUSED = Card("refresh_refused")
CLIENT_REFUSED = Card("client_refused")
UNVOUCHED = Card("token_not_accepted")
STOPPING = Card("portal_stopping")
# No one has to act on these: they pass, or a verdict follows.
DOUBTS = frozenset({REFUSED.code, CLIENT_REFUSED.code, BUSY.code, STOPPING.code})


def in_doubt(card: Card, error: GitLabError) -> Card:
    """Return the card of a doubt with GitLab's own words."""
    told = error.card()
    return replace(card, words=told.words, request_id=told.request_id)
