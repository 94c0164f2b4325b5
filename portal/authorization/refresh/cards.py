"""What a person reads when a credential gives no access."""

from __future__ import annotations

from dataclasses import replace

from portal.authorization.models import CredentialState
from portal.connections.models import Connection
from portal.connections.steps import Step, step_url
from portal.errors import Card, CardAction, Layer, Mender
from portal.gitlab.errors import GitLabError

_AGAIN = "Authorize the connection again as the service user; repositories and settings stay as they are."

VERDICTS: dict[str, Card] = {
    CredentialState.REVOKED: Card(
        code="credential_revoked",
        layer=Layer.OAUTH,
        sentence="GitLab has ended this authorization: somebody revoked it, or the user or the application is gone.",
        remedy=_AGAIN,
        mender=Mender.YOU,
    ),
    CredentialState.LOST: Card(
        code="credential_lost",
        layer=Layer.OAUTH,
        sentence="GitLab renewed the token, but its answer never arrived here, so the new one is not known.",
        remedy=_AGAIN + " GitLab's tokens are single use, so there is no other way.",
        mender=Mender.YOU,
    ),
    CredentialState.SECRET_CHANGED: Card(
        code="client_secret_changed",
        layer=Layer.OAUTH,
        sentence="GitLab no longer accepts the application's Secret. The authorization itself is kept.",
        remedy="Enter the present Secret on the connection's Credentials page; nobody has to authorize again.",
        mender=Mender.YOU,
    ),
    CredentialState.UNREADABLE: Card(
        code="secret_unreadable",
        layer=Layer.PORTAL,
        sentence="The stored token cannot be read: it was given for another address, or its encryption key is gone.",
        remedy="Authorize the connection again, or have the operator put the key back.",
        mender=Mender.YOU,
    ),
    CredentialState.ERASED: Card(
        code="not_authorized",
        layer=Layer.OAUTH,
        sentence="This connection is not authorized.",
        remedy="Authorize it on its page.",
        mender=Mender.YOU,
    ),
}
APPLICATION_GONE = Card(
    code="application_gone",
    layer=Layer.OAUTH,
    sentence="GitLab accepts neither the application nor the token that it gave for it. The application was probably "
    "deleted there, so a new application is needed.",
    remedy="Make a new application in GitLab, enter its Application ID and Secret, then authorize again; repositories "
    "and settings stay as they are. If the old one is still in GitLab, enter its present Secret first.",
    mender=Mender.YOU,
)
# Attention with these codes ends with the next refresh that works.
HEALED_BY_REFRESH = frozenset(card.code for card in VERDICTS.values()) | {
    *(APPLICATION_GONE.code, "unauthorized", "token_not_accepted")
}

RESTORED = Card(
    code="portal_restored",
    layer=Layer.PORTAL,
    sentence="This portal's database may be a copy: no token is renewed until an owner confirms that it is alone.",
    remedy="Confirm it on the page Restored portal, linked at the top of every page.",
    mender=Mender.YOU,
    actions=(CardAction("Restored portal", "/restored"),),
)


def with_way(card: Card, connection: Connection, state: str) -> Card:
    """Return the card with the link to where a person mends it."""
    if card.code == APPLICATION_GONE.code:
        action = CardAction("Make a new application", step_url(connection, Step.APPLICATION))
    elif state == CredentialState.SECRET_CHANGED:
        action = CardAction("Enter the Secret", step_url(connection, Step.CREDENTIALS))
    else:
        action = CardAction("Authorize again", step_url(connection, Step.AUTHORIZE))
    return replace(card, actions=(action,))


NO_ROOM = Card(
    code="spool_unwritable",
    layer=Layer.PORTAL,
    sentence="The portal's data folder cannot be written, so the token was not renewed: the answer could be lost.",
    remedy="Free disk space or give the portal's user the right to write there. Then it continues by itself.",
    mender=Mender.OPERATOR,
)
OTHER_APPLICATION = Card(
    code="application_changed",
    layer=Layer.OAUTH,
    sentence="The Application ID was changed, and GitLab renews a token only for the application it was given to.",
    remedy="Authorize the connection again with the new application, or enter the old one.",
    mender=Mender.YOU,
)
BUSY = Card(
    code="refresh_under_way",
    layer=Layer.OAUTH,
    sentence="The token is being renewed, and GitLab has not answered yet.",
    remedy="Try again in a minute; no one needs to do anything.",
    mender=Mender.NOBODY,
)
REFUSED = Card(
    code="refresh_refused",
    layer=Layer.OAUTH,
    sentence="GitLab refused to renew the token. That can pass, so it is tried again several times before it counts.",
    remedy="Wait: within 15 minutes of the token's end it either works again or this page says what to do.",
    mender=Mender.NOBODY,
)
CLIENT_REFUSED = Card(
    code="client_refused",
    layer=Layer.OAUTH,
    sentence="GitLab did not accept the Application ID and Secret. That can pass, so it is tried again several times.",
    remedy="If the Secret was renewed in GitLab, enter the new one on the connection's Credentials page.",
    mender=Mender.YOU,
)
UNVOUCHED = Card(
    code="token_not_accepted",
    layer=Layer.OAUTH,
    sentence="GitLab does not accept the token at the moment and gives no reason.",
    remedy="It is tried again every few seconds. If this persists, check whether a proxy in front of GitLab removes "
    "the Authorization header.",
    mender=Mender.GITLAB_ADMIN,
)
STOPPING = Card(
    code="portal_stopping",
    layer=Layer.PORTAL,
    sentence="This part of the portal is shutting down, so it does not start to renew a token.",
    remedy="Try again in a minute; no one needs to do anything.",
    mender=Mender.NOBODY,
)
# None of these is anybody's task: they pass, or a verdict follows.
DOUBTS = frozenset({REFUSED.code, CLIENT_REFUSED.code, BUSY.code, STOPPING.code})


def in_doubt(card: Card, error: GitLabError) -> Card:
    """Return the card of a doubt with GitLab's own words."""
    told = error.card()
    return replace(card, words=told.words, request_id=told.request_id)
