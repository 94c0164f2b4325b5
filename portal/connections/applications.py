"""The OAuth application: which values it must have in GitLab, and its Application ID and Secret here."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlmodel import Session

from portal import audit
from portal.actor import Principal
from portal.connections.checklist import find_hindrance
from portal.connections.limits import CREDENTIALS, count_try
from portal.connections.models import Application, Connection, ConnectionState, Method, need_attention
from portal.connections.steps import Step
from portal.connections.store import (
    COLUMN,
    TABLE,
    application_of,
    get_application,
    get_connection_for_admin,
    mark_step_done,
    open_client_credentials,
    open_host_session,
    redirect_uri_of,
)
from portal.db import utc_now
from portal.errors import Card, Conflict, InvalidInput
from portal.gitlab import oauth
from portal.gitlab.answers import GitLabError
from portal.gitlab.identification import identify
from portal.net import OutboundError, origin_of
from portal.net.address import find_invisible, trim_pasted
from portal.runtime import Runtime
from portal.vault import Place, Secret

APPLICATION_NAME = "Gatehouse"
SECRET_PREFIX = "gloas-"
TOKEN_PREFIX = "glpat-"
CHANGED = "The connection was changed while Gatehouse asked GitLab. Check it, then enter them again."
_ID = re.compile(r"^[A-Za-z0-9_-]{8,255}$")


@dataclass(frozen=True)
class Entered:
    """What was typed, trimmed; an empty secret means the stored one stays."""

    client_id: str
    client_secret: Secret


def check_entered(client_id: str, client_secret: str, *, stored: bool) -> Entered:
    """Trim what was typed and recognise the usual mistakes.

    Raises:
        InvalidInput: with a sentence per field.
    """
    typed_id, typed_secret = trim_pasted(client_id), trim_pasted(client_secret)
    problems: dict[str, str] = {}
    if typed_id.startswith(SECRET_PREFIX):
        problems["application_id"] = "That is the Secret. The Application ID is the other of the two values."
    elif told := find_invisible(typed_id):
        problems["application_id"] = f"{told} Delete it, or copy the Application ID once more."
    elif not _ID.match(typed_id):
        problems["application_id"] = "Paste the Application ID: letters and digits only, usually 64 of them."
    if typed_secret.startswith(TOKEN_PREFIX):
        problems["secret"] = "That is a personal access token. Paste the Secret of the application."
    elif "://" in typed_secret:
        # As a secret it would be removed from every text that names this address.
        problems["secret"] = "That is an address. Paste the Secret of the application."
    elif typed_secret and typed_secret == typed_id:
        problems["secret"] = "That is the Application ID again. Paste the Secret."
    elif not typed_secret and not stored:
        problems["secret"] = "Paste the Secret. GitLab shows it once, right after the application is saved."
    elif find_invisible(typed_secret):
        # Nothing of the Secret itself may be repeated.
        problems["secret"] = "There is an invisible character in the middle of it. Copy it once more."
    elif typed_secret and not (typed_secret.isascii() and typed_secret.isprintable() and " " not in typed_secret):
        problems["secret"] = "A Secret has no blanks or special characters in it. Copy it once more."
    if problems:
        raise InvalidInput(field_errors=problems)
    return Entered(typed_id, Secret(typed_secret))


def is_accepted(runtime: Runtime, connection: Connection, client_id: str, client_secret: str) -> bool:
    """Return whether GitLab has already accepted exactly these, so that it need not be asked again."""
    application = get_application(runtime, connection)
    if application is None or application.checked_at is None or application.client_secret_sealed is None:
        return False
    typed_secret = trim_pasted(client_secret)
    is_same_secret = not typed_secret or (
        runtime.vault.fingerprint(Secret(typed_secret)) == application.client_secret_fingerprint
    )
    return application.client_id == trim_pasted(client_id) and is_same_secret


def save_credentials(
    runtime: Runtime,
    principal: Principal,
    slug: str,
    client_id: str,
    client_secret: str,
    *,
    row_version: int | None = None,
    on_answer: Callable[[Session, Card | None], None] | None = None,
) -> tuple[Connection, Card | None]:
    """Ask GitLab whether it accepts Application ID and Secret, then store them.

    Accepted ones stay until GitLab accepts the new ones. If there are none, what was typed is stored either way, so
    that no one has to type it again because GitLab was down.

    Args:
        runtime: of this portal.
        principal: whose rights are used.
        slug: of the connection.
        client_id: as typed.
        client_secret: as typed; empty to keep the stored one.
        row_version: of the connection for which they were typed, if it was read before.
        on_answer: called in the transaction that stores them, with what GitLab has against them; if it raises, nothing
            is stored.

    Returns:
        The connection, and the card of what is wrong; None if GitLab accepts them. Only then is the step done.

    Raises:
        InvalidInput: what was typed cannot be an Application ID or a Secret.
        Conflict: the connection has been edited since; nothing is stored.
        RateLimited: GitLab was asked too often in the last minute.
    """
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        if row_version not in {None, connection.row_version}:
            raise Conflict(CHANGED)
        application = application_of(session, connection.id)
        stored = application is not None and application.client_secret_sealed is not None
        entered = check_entered(client_id, client_secret, stored=stored)
        count_try(session, principal, CREDENTIALS)
    if hindrance := find_hindrance(runtime, principal, connection):
        return connection, hindrance
    secret = entered.client_secret or open_client_credentials(runtime, connection).client_secret
    try:
        with open_host_session(runtime, connection) as http:
            # Whatever was found earlier: a name may lead elsewhere by now.
            identify(http, connection.external_url)
            asked = oauth.ClientCredentials(entered.client_id, secret)
            verdict = oauth.check_client(http, asked, redirect_uri_of(runtime, connection))
        card = None if verdict == oauth.ClientVerdict.ACCEPTED else Card("oauth_invalid_client")
    except (GitLabError, OutboundError) as error:
        card = error.card()
    with runtime.database.transaction() as session:
        current = get_connection_for_admin(session, principal, slug, is_locked=True)
        if current.row_version != connection.row_version:
            raise Conflict(CHANGED)
        if on_answer:
            on_answer(session, card)
        result, details = ("failed", {"code": card.code}) if card else ("ok", {})
        audit.record(
            session,
            principal.actor,
            "application.checked",
            current.target,
            result=result,
            client_id=entered.client_id,
            **details,
        )
        known = application_of(session, current.id)
        is_known_good = bool(known and known.client_secret_sealed and (known.checked_at or current.authorized_at))
        if card is None or not is_known_good:
            _keep_entered(session, runtime, principal, current, entered, accepted=card is None)
    if card and is_known_good:
        card = replace(card, params={**card.params, "is_kept": True})
    return current, card


def keep_issued(
    runtime: Runtime, principal: Principal, slug: str, client_id: str, client_secret: Secret, kind: str = ""
) -> None:
    """Store what GitLab's API has just issued, before anything else: it gives the Secret only once.

    `save_credentials` without a Secret then has GitLab check both.
    """
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug, is_locked=True)
        entered = Entered(client_id, client_secret)
        _keep_entered(session, runtime, principal, connection, entered, accepted=False)
        application = application_of(session, connection.id)
        if application is not None and kind:
            application.kind = kind


def _keep_entered(
    session: Session,
    runtime: Runtime,
    principal: Principal,
    connection: Connection,
    entered: Entered,
    *,
    accepted: bool,
) -> None:
    assert connection.id is not None
    known = application_of(session, connection.id)
    is_used = connection.authorized_at is not None and connection.method == Method.OAUTH
    if known and known.client_id != entered.client_id and is_used:
        need_attention(session, connection.id, Card("application_changed"))
    application = known or Application(connection_id=connection.id, client_id=entered.client_id)
    application.client_id, application.updated_at = entered.client_id, utc_now()
    application.checked_at = utc_now() if accepted else None
    session.add(application)
    session.flush()
    if entered.client_secret:
        assert application.id is not None
        application.origin = origin_of(connection.api_url)
        application.client_secret_hint = entered.client_secret.hint
        application.client_secret_fingerprint = runtime.vault.fingerprint(entered.client_secret)
        place = Place(TABLE, application.id, COLUMN)
        application.client_secret_sealed = runtime.vault.seal(entered.client_secret, place, application.origin)
    # A running authorization was started with the old values: it is void from now on (S21).
    connection.row_version += 1
    connection.steps_done = [step for step in connection.steps_done if step != Step.APPLICATION]
    if accepted:
        mark_step_done(session, connection, Step.APPLICATION)
        if connection.state == ConnectionState.DRAFT:
            connection.state = ConnectionState.AWAITING_AUTHORIZATION
    audit.record(
        session,
        principal.actor,
        "application.saved",
        connection.target,
        client_id=entered.client_id,
        secret_changed=bool(entered.client_secret),
    )
