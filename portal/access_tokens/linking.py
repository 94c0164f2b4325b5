"""Test an access token, and link the account it belongs to. Nothing of a token is stored before it is linked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from portal import audit
from portal.access_tokens.guide import needed_permissions
from portal.actor import Principal
from portal.connections import walkthrough
from portal.connections.checklist import find_hindrance, wanted_scopes
from portal.connections.limits import TOKENS, count_try
from portal.connections.models import Connection
from portal.connections.store import get_connection_for_admin, note_version, open_host_session
from portal.credentials.access_tokens import link_access_token
from portal.db import utc_now
from portal.errors import Card, InvalidInput
from portal.gitlab.access_tokens import Examined, Need, TokenKind, examine, why_no_token
from portal.gitlab.answers import GitLabError, InsufficientPermission, Unauthorized
from portal.gitlab.identification import identify, unused_scopes
from portal.net import OutboundError
from portal.net.address import trim_pasted
from portal.runtime import Runtime
from portal.vault import Secret


@dataclass(frozen=True)
class Tested:
    """What a test showed.

    Attributes:
        card: why the token cannot be used, or why that is not known; None if it depends on what it may do.
        examined: None if GitLab said nothing about it.
        missing: the scopes or permissions that are missing, in GitLab's words.
        can_do_without: the services to leave out so that the rest works; None if that is no way out.
        unneeded: scopes or permissions it has and the connection does not use.
        enough: narrower scopes that would be enough instead.
    """

    connection: Connection
    card: Card | None = None
    examined: Examined | None = None
    missing: list[str] = field(default_factory=list)
    can_do_without: list[Need] | None = None
    unneeded: list[str] = field(default_factory=list)
    enough: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether the token may be linked."""
        return self.card is None and self.examined is not None and not self.missing

    @property
    def days_left(self) -> int:
        """In how many days the token ends, if GitLab says so."""
        ends_at = self.examined.expires_at if self.examined else None
        return (ends_at.date() - utc_now().date()).days if ends_at else 0


def check_token(runtime: Runtime, principal: Principal, slug: str, text: str) -> Tested:
    """Ask GitLab what a token is and what it can do for this connection.

    Raises:
        InvalidInput: it cannot be an access token; it was sent nowhere.
        RateLimited: tokens were tested too often in the last minute.
    """
    typed = trim_pasted(text)
    if problem := why_no_token(typed):
        raise InvalidInput(field_errors={"access_token": problem})
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        count_try(session, principal, TOKENS)
    tested = Tested(connection, find_hindrance(runtime, principal, connection))
    if tested.card is None:
        tested = _ask_gitlab(runtime, connection, Secret(typed))
    with runtime.database.transaction() as session:
        told = {"code": tested.card.code} if tested.card else {"missing": tested.missing} if tested.missing else {}
        result = "failed" if told else "ok"
        audit.record(session, principal.actor, "access_token.tested", connection.target, result=result, **told)
    return tested


def link_account(
    runtime: Runtime,
    principal: Principal,
    slug: str,
    text: str,
    *,
    is_without_missing: bool = False,
    agreed_username: str = "",
) -> Tested:
    """Test a token once more and store it; nothing is stored unless it can do everything the connection is used for.

    Args:
        runtime: of this process.
        principal: whoever links it.
        slug: of the connection.
        text: what was pasted.
        is_without_missing: first leave out the services for which something is missing.
        agreed_username: whom a connection in use may act as from now on, if it is another user.

    Raises:
        InvalidInput, RateLimited: as `check_token`.
        Conflict: the connection has been edited since GitLab was asked.
        OtherUser: a connection in use has acted as another user so far.
    """
    tested = check_token(runtime, principal, slug, text)
    connection = tested.connection
    if is_without_missing and tested.can_do_without:
        services = [name for name in connection.services if name not in tested.can_do_without]
        hooks_wanted = connection.hooks_wanted and Need.WEBHOOKS not in tested.can_do_without
        connection = walkthrough.save_services(runtime, principal, slug, services, hooks_wanted)
        tested = replace(tested, connection=connection, missing=[])
    if not tested.is_good or tested.examined is None:
        return tested
    assert connection.id is not None
    link_access_token(
        runtime,
        connection.id,
        Secret(trim_pasted(text)),
        tested.examined,
        principal.actor,
        row_version=connection.row_version,
        agreed_username=agreed_username,
    )
    if tested.examined.metadata:
        note_version(runtime, connection.id, tested.examined.metadata)
    return tested


def _ask_gitlab(runtime: Runtime, connection: Connection, token: Secret) -> Tested:
    try:
        with open_host_session(runtime, connection) as http:
            # Whatever was found earlier: a name may lead elsewhere by now.
            identify(http, connection.external_url)
            found = examine(http, token, connection.services, hooks_wanted=connection.hooks_wanted)
    except Unauthorized as error:
        case = {} if error.reason == "unknown" else {"case": error.reason}
        return Tested(connection, Card("token_refused", case, error.words, error.request_id))
    except (GitLabError, OutboundError) as error:
        return Tested(connection, error.card())
    if found.is_administrator:
        return Tested(connection, Card("token_of_administrator"), found)
    # The bot users of group and project tokens are always external.
    if found.is_external and found.kind == TokenKind.PERSONAL:
        return Tested(connection, Card("token_of_external_user"), found)
    failures = (trial.failure for trial in found.refused if not found.is_fine_grained)
    if too_old := next((one for one in failures if isinstance(one, InsufficientPermission)), None):
        card = Card("token_must_be_fine_grained", {}, too_old.words, too_old.request_id)
        return Tested(connection, card, found)
    refused = [trial.need for trial in found.refused]
    if not found.user_id and Need.OWNER not in refused:
        # Someone else's token would pass as one of the service user.
        return Tested(connection, Card("token_of_unknown_user"), found)
    left = [name for name in connection.services if name not in refused]
    is_way_out = bool(refused) and bool(left) and not {Need.OWNER, Need.CATALOGUE} & set(refused)
    wanted = wanted_scopes(connection)
    unneeded, enough = unused_scopes(found.scopes, wanted), [name for name in wanted if name not in found.scopes]
    if found.is_fine_grained:
        # `create_pipeline` is `Pipeline: Create` in GitLab's form and refusals.
        parts = (name.partition("_") for name in set(found.permissions) - needed_permissions(connection))
        named = (f"{resource.replace('_', ' ').title()}: {action.title()}" for action, _, resource in parts)
        enough, unneeded = [], sorted(named)
    return Tested(
        connection,
        examined=found,
        missing=list(dict.fromkeys(trial.missing for trial in found.refused)),
        can_do_without=refused if is_way_out else None,
        unneeded=unneeded,
        enough=enough,
    )
