"""Where a failure of a connection can be fixed: in the portal, or in its GitLab."""

from __future__ import annotations

from portal.actor import Principal, Right
from portal.connections.models import Connection
from portal.connections.steps import Step, step_url
from portal.errors import Card, CardAction, Responsible, Way
from portal.gitlab import links
from portal.gitlab.identification import parse_version

_STEPS = {
    Way.AUTHORIZE: ("Authorize again", Step.AUTHORIZE),
    Way.REPLACE_TOKEN: ("Replace the token", Step.TOKEN),
    Way.APPLICATION: ("Make a new application", Step.APPLICATION),
    Way.SECRET: ("Enter the Secret", Step.CREDENTIALS),
    Way.INSTANCE: ("Edit how GitLab is reached", Step.INSTANCE),
    Way.SERVICES: ("Change what it is used for", Step.SERVICES),
}


def ways_of(principal: Principal | None, card: Card, connection: Connection | None) -> list[CardAction]:
    """Return the links that help to fix a failure; none for people who may not see the pages behind them."""
    if principal is None or not principal.may(Right.MANAGE_CONNECTIONS):
        return []
    return [action for way in card.ways if (action := _action(way, connection))]


def who_can(principal: Principal | None, card: Card) -> Responsible:
    """Return who can fix a failure, worded for the reader: not everyone may do what a manager may."""
    is_manager = principal is None or principal.may(Right.MANAGE_CONNECTIONS)
    return Responsible.MANAGER if card.responsible == Responsible.YOU and not is_manager else card.responsible


def _action(way: Way, connection: Connection | None) -> CardAction | None:
    if way == Way.RESTORED:
        return CardAction("Restored portal", "/restored")
    if connection is None:
        return None
    if way == Way.REPOSITORIES:
        return CardAction("Show repositories", f"/repositories/?connection={connection.slug}")
    if way == Way.UNSEEN:
        return CardAction("Decide", f"/connections/{connection.slug}/unseen")
    if way == Way.SETUP:
        return CardAction("Continue the walkthrough", f"/connections/{connection.slug}/setup")
    if way == Way.GATEWAY:
        label = "Enter a client certificate"
        return CardAction(label, f"/servers/{connection.server_id}") if connection.server_id else None
    if way == Way.APPLICATIONS:
        url = links.applications(connection.external_url)
        return CardAction("Open the applications in GitLab", url, external=True)
    if way == Way.AUTHORIZED_APPLICATIONS:
        url = links.own_applications(connection.external_url, parse_version(connection.version_seen))
        return CardAction("Open Authorized applications in GitLab", url, external=True)
    if way == Way.OUTBOUND_REQUESTS:
        return CardAction("Open the setting in GitLab", links.outbound_requests(connection.external_url), external=True)
    label, step = _STEPS[way]
    return CardAction(label, step_url(connection, step))
