"""What a person reads of an authorization that did not come about."""

from __future__ import annotations

from dataclasses import replace

from portal.accounts.principal import RightLost
from portal.accounts.roles import Right
from portal.authorization.models import AuthorizationAttempt
from portal.authorization.person import REMEDIES, SENTENCES, Doubt
from portal.connections.models import Connection
from portal.errors import Card, CardAction, Layer, Mender
from portal.gitlab import links
from portal.gitlab.errors import Unauthorized
from portal.gitlab.version import parse_version


def wrong_person_card(doubts: tuple[Doubt, ...]) -> Card:
    """Somebody signed in who may not be the service user."""
    return Card(
        code=f"wrong_person_{doubts[0]}",
        layer=Layer.OAUTH,
        sentence=" ".join(SENTENCES[doubt] for doubt in doubts),
        remedy=REMEDIES[doubts[0]],
        mender=Mender.YOU if doubts[0] == Doubt.OTHER_USER else Mender.GITLAB_ADMIN,
    )


def missing_scopes_card(connection: Connection, missing: list[str]) -> Card:
    """GitLab granted less than was asked for."""
    names = ", ".join(missing)
    return Card(
        code="scopes_missing",
        layer=Layer.SCOPE,
        sentence=f"GitLab granted less than was asked for. Missing: {names}.",
        remedy=f"Tick {names} in the application's scopes in GitLab, save, then authorize again.",
        mender=Mender.GITLAB_ADMIN,
        actions=(
            CardAction("Open the applications in GitLab", links.applications(connection.external_url), external=True),
        ),
    )


def changed_card() -> Card:
    """The connection is another one by now."""
    return Card(
        code="connection_changed",
        layer=Layer.PORTAL,
        sentence="The connection was changed or disconnected while you were in GitLab. Nothing was stored.",
        remedy="Authorize again if it is still wanted.",
        mender=Mender.YOU,
    )


def denied_card(attempt: AuthorizationAttempt) -> Card:
    """The person pressed Deny."""
    return Card(
        code="authorization_denied",
        layer=Layer.OAUTH,
        sentence="The authorization was denied in GitLab.",
        remedy=f"Press Authorize on GitLab's page as @{attempt.frozen['service_username']}. Nothing was stored.",
        mender=Mender.YOU,
    )


def lost_card(connection: Connection, told: Card | None = None) -> Card:
    """Return the card of an exchange of which GitLab may have given a pair that never arrived here.

    `told` is what came instead; None if the process that asked is gone.
    """
    where = links.own_applications(connection.external_url, parse_version(connection.version_seen))
    return Card(
        code="exchange_lost",
        layer=told.layer if told else Layer.PORTAL,
        sentence=f"{told.sentence if told else 'Gatehouse was interrupted while it asked GitLab for the token.'} "
        "GitLab may have made a token all the same, which nobody knows.",
        remedy="In GitLab, signed in as whoever authorized, open Authorized applications and revoke this application. "
        "Then authorize again: revoking ends every token of it, the one in use as well.",
        mender=Mender.YOU,
        words=told.words if told else "",
        request_id=told.request_id if told else "",
        actions=(CardAction("Open Authorized applications in GitLab", where, external=True),),
    )


def interrupted_card() -> Card:
    """The process that judged a pair is gone; the pair is on record, and revoked by a job."""
    return Card(
        code="authorization_interrupted",
        layer=Layer.PORTAL,
        sentence="Gatehouse was interrupted before it could keep the token that GitLab gave. Nothing was stored.",
        remedy="Authorize again.",
        mender=Mender.YOU,
    )


def refused_at_once_card(error: Unauthorized) -> Card:
    """GitLab refuses a token that it gave a moment ago."""
    return replace(
        error.card(),
        code="fresh_token_refused",
        sentence="GitLab gave a token and did not accept it a moment later, three times within some seconds.",
        remedy="Authorize again. If it stays, a proxy in front of GitLab may drop the Authorization header.",
        mender=Mender.GITLAB_ADMIN,
    )


def no_bearer_card() -> Card:
    """A token of a kind that nothing here can use."""
    return Card(
        code="no_bearer_token",
        layer=Layer.OAUTH,
        sentence="GitLab gave a kind of token that cannot be used: not a bearer token. Nothing was stored.",
        remedy="Check what stands between Gatehouse and GitLab: GitLab itself gives bearer tokens only.",
        mender=Mender.GITLAB_ADMIN,
    )


def no_access_token_card() -> Card:
    """An answer with half a pair."""
    return Card(
        code="no_access_token",
        layer=Layer.OAUTH,
        sentence="GitLab's answer held a refresh token but no usable access token. Nothing was stored.",
        remedy="Authorize again. If it stays, check whether something between Gatehouse and GitLab changes answers.",
        mender=Mender.GITLAB_ADMIN,
    )


def stopping_card() -> Card:
    """The process was told to end before the code was exchanged."""
    return Card(
        code="portal_stopping",
        layer=Layer.PORTAL,
        sentence="This part of Gatehouse is shutting down, so it did not ask GitLab for the token. Nothing was stored.",
        remedy="Authorize again in a minute.",
        mender=Mender.YOU,
    )


def no_secret_card(sentence: str) -> Card:
    """The application's Secret cannot be used."""
    return Card(
        code="secret_unreadable",
        layer=Layer.PORTAL,
        sentence=f"{sentence} GitLab was not asked for a token.",
        remedy="Enter Application ID and Secret again, then authorize.",
        mender=Mender.YOU,
    )


def right_lost_card() -> Card:
    """Return what an attempt says whose person lost the right meanwhile."""
    return Card(
        code="right_lost",
        layer=Layer.PORTAL,
        sentence="Whoever began this authorization lost the right to manage connections meanwhile. Nothing was stored.",
        remedy="Somebody who may manage connections can authorize it.",
        mender=Mender.YOU,
    )


def right_lost() -> RightLost:
    """Return what such a person reads themselves."""
    sentence = (
        "You no longer have the right to authorize this connection. Nothing was stored; "
        "an owner or administrator of your organization can do it."
    )
    return RightLost(Right.MANAGE_CONNECTIONS, sentence)


def issuer_missing_card() -> Card:
    """The answer names no issuer although it was announced."""
    return Card(
        code="issuer_missing",
        layer=Layer.OAUTH,
        sentence="The answer does not say which GitLab it comes from, although yours announces that its answers do."
        " Nothing was sent to GitLab and nothing was stored.",
        remedy="Authorize again. If it stays, something between browser and GitLab changes addresses.",
        mender=Mender.GITLAB_ADMIN,
    )


def issuer_wrong_card() -> Card:
    """The answer names another issuer."""
    return Card(
        code="issuer_wrong",
        layer=Layer.OAUTH,
        sentence="The answer came from another GitLab than the one asked. Nothing was stored.",
        remedy="Authorize again. If it stays, compare the domain with the address that GitLab calls its own.",
        mender=Mender.YOU,
    )
