"""Ask GitLab for a new pair, once, and bring its answer into the database: intent, call, outcome."""

from __future__ import annotations

import time
from dataclasses import replace

from portal.authorization.models import CredentialState
from portal.authorization.refresh.cards import NO_ROOM, OTHER_APPLICATION, VERDICTS
from portal.authorization.refresh.claims import (
    AccessUnavailable,
    Claim,
    Stored,
    give_verdict,
    put_off,
    spend_again,
    stamp_of,
    store,
    take_claim,
)
from portal.authorization.refresh.rows import digest
from portal.authorization.refresh.spool import Spool, Spooled
from portal.authorization.refresh.times import RefreshTimes
from portal.authorization.service.retire import Revoker, freeze, retire_stray
from portal.connections.models import Connection
from portal.connections.service.applications import get_application, open_client_credentials, redirect_uri_of
from portal.connections.service.instance import open_line
from portal.crash_points import crash_point
from portal.db import utc_now
from portal.errors import Conflict, PortalError
from portal.gitlab import oauth
from portal.gitlab.errors import GitLabError, GitLabRateLimited, OAuthRefused
from portal.logs import get_logger
from portal.net import Line, OutboundError, origin_of
from portal.runtime import Runtime

log = get_logger(__name__)
# RFC 6749 §5.2: what each word of the token endpoint says of a pair. Every other answer says nothing (S39).
VERDICT_OF = {
    "invalid_grant": CredentialState.REVOKED,
    "invalid_client": CredentialState.SECRET_CHANGED,
    "unauthorized_client": CredentialState.SECRET_CHANGED,
}
STORE_PAUSE_SECONDS = 0.5


def refresh_once(runtime: Runtime, connection_id: int, credential_id: int, reason: str, times: RefreshTimes) -> bool:
    """Do what has to be done for a credential that is due; tell whether anything was done by this process.

    Raises:
        AccessUnavailable: the spool cannot be written; GitLab was not asked.
        SecretUnreadable: the pair cannot be opened.
    """
    if recover(runtime, connection_id, credential_id, times):
        return True
    crash_point("refresh:before_intent")
    claim = take_claim(runtime, connection_id, reason, times)
    if claim is None:
        return False
    crash_point("refresh:intent_written")
    with runtime.database.reading() as session:
        connection = session.get_one(Connection, connection_id)
    if origin_of(connection.api_url) != claim.origin:
        # Moved between the look and the lease: nothing of this pair is sent to the new address (S32).
        put_off(runtime, claim, VERDICTS[CredentialState.UNREADABLE], times, asked=None, unknown=claim.must_probe)
        return True
    with open_line(runtime, connection) as line:
        found = _find_out(runtime, line, claim, times) if claim.must_probe else claim
        if found is not None:
            _spend(runtime, connection, line, found, times)
    return True


def recover(runtime: Runtime, connection_id: int, credential_id: int, times: RefreshTimes) -> bool:
    """Store an answer that a process on this machine received and did not store; tell whether there was one."""
    spool = Spool(runtime)
    outcomes = [_recover_entry(runtime, spool, entry, times) for entry in spool.entries(credential_id)]
    return any(outcomes)


def sweep_spool(runtime: Runtime, times: RefreshTimes) -> None:
    """Bring every answer that was left behind where it belongs: into its row, or to its revocation."""
    spool = Spool(runtime)
    for entry in spool.entries():
        _recover_entry(runtime, spool, entry, times)
    spool.tidy()


def _recover_entry(runtime: Runtime, spool: Spool, entry: Spooled, times: RefreshTimes) -> bool:
    outcome = store(runtime, entry, entry.revoker.connection_id, "recovered from the spool", times)
    if outcome == Stored.UNCLEAR:
        return False
    if outcome == Stored.SUPERSEDED:
        retire_stray(runtime, entry.revoker, entry.tokens)
    else:
        log.warning("credential_recovered", credential_id=entry.credential_id, generation=entry.generation)
    spool.forget(entry.credential_id, entry.intent_id)
    return outcome == Stored.STORED


def _find_out(runtime: Runtime, line: Line, claim: Claim, times: RefreshTimes) -> Claim | None:
    """Learn from the old access token whether an earlier request was processed (S41).

    Returns:
        The claim with a fresh intent, when the pair is unspent; None when it is not, or cannot be known now.
    """
    try:
        with line.deadline(max(claim.left(), 0.0)):
            verdict = oauth.probe_token(line, claim.access_token)
    except (GitLabError, OutboundError) as error:
        put_off(runtime, claim, error.card(), times, asked=_asked(error), unknown=True)
        return None
    if verdict == oauth.TokenVerdict.DEAD:
        give_verdict(runtime, claim, CredentialState.LOST)
        return None
    # When that tells nothing, there is nobody else to ask: the pair is tried.
    fresh = spend_again(runtime, claim, may_be_spent=verdict == oauth.TokenVerdict.UNCLEAR)
    if fresh is not None:
        Spool(runtime).forget(claim.credential_id, claim.intent_id)
    return fresh


def _spend(runtime: Runtime, connection: Connection, line: Line, claim: Claim, times: RefreshTimes) -> None:
    spool = Spool(runtime)
    used = get_application(runtime, connection)
    if claim.client_id and used is not None and used.client_id != claim.client_id:
        put_off(runtime, claim, OTHER_APPLICATION, times, asked=None, unknown=False)
        return
    try:
        application = open_client_credentials(runtime, connection)
    except Conflict:
        # Its key is not here now: another machine may have it, so this is nobody's verdict.
        put_off(runtime, claim, VERDICTS[CredentialState.UNREADABLE], times, asked=None, unknown=False)
        return
    except PortalError:
        give_verdict(runtime, claim, CredentialState.SECRET_CHANGED, refused=stamp_of(used))
        return
    _reserve(runtime, spool, claim, times)
    try:
        entry = _ask(runtime, connection, line, application, claim, times)
    except (GitLabError, OutboundError) as error:
        crash_point("refresh:verdict_received")
        spool.forget(claim.credential_id, claim.intent_id)
        _judge(runtime, claim, error, times, stamp_of(used))
        return
    crash_point("refresh:answer_received")
    _keep(spool, entry)
    crash_point("refresh:answer_spooled")
    _store_patiently(runtime, entry, claim, times)
    crash_point("refresh:stored")
    spool.forget(claim.credential_id, claim.intent_id)


def _ask(
    runtime: Runtime,
    connection: Connection,
    line: Line,
    application: oauth.ClientCredentials,
    claim: Claim,
    times: RefreshTimes,
) -> Spooled:
    revoker = Revoker(
        organization_id=connection.organization_id,
        connection_id=claim.connection_id,
        connection_name=connection.display_name,
        origin=claim.origin,
        frozen=freeze(connection, application.client_id, claim.origin, connection.service_username),
        client_secret=application.client_secret,
    )
    crash_point("refresh:before_request")
    sent_at = utc_now()
    # The door looks at the deadline before each step of its way: a process that was paused past its lease sends
    # nothing any more.
    with line.deadline(min(times.request, max(claim.left(), 0.0))):
        tokens = oauth.refresh(line, application, claim.refresh_token, redirect_uri_of(runtime, connection))
    spent = digest(claim.refresh_token)
    return Spooled(claim.credential_id, claim.generation, claim.intent_id, spent, tokens, sent_at, revoker)


def _reserve(runtime: Runtime, spool: Spool, claim: Claim, times: RefreshTimes) -> None:
    try:
        spool.reserve(claim.credential_id, claim.intent_id)
    except OSError as error:
        log.error("spool_unwritable", error=str(error))
        spool.forget(claim.credential_id, claim.intent_id)
        put_off(runtime, claim, NO_ROOM, times, asked=None, unknown=False)
        raise AccessUnavailable(NO_ROOM, is_passing=True) from None


def _keep(spool: Spool, entry: Spooled) -> None:
    try:
        spool.keep(entry)
    except OSError as error:
        # The database may still take it; there is nothing better to do with an answer than to store it.
        log.error("spool_unwritable", error=str(error))


def _store_patiently(runtime: Runtime, entry: Spooled, claim: Claim, times: RefreshTimes) -> None:
    """Store a pair; while the database fails, try again for as long as a caller waits. The spool has it anyhow."""
    end = time.monotonic() + times.patience
    while True:
        try:
            if store(runtime, entry, claim.connection_id, claim.reason, times) == Stored.SUPERSEDED:
                # Somebody authorized anew meanwhile: the answer is of a line of pairs that nobody wants any more.
                retire_stray(runtime, entry.revoker, entry.tokens)
        except Exception as error:  # Whatever it is, the answer must not be lost for it.
            log.error("refresh_not_stored", credential_id=claim.credential_id, error=type(error).__name__)
            if time.monotonic() > end:
                raise
            time.sleep(STORE_PAUSE_SECONDS)
        else:
            return


def _judge(
    runtime: Runtime, claim: Claim, error: GitLabError | OutboundError, times: RefreshTimes, asked_with: str
) -> None:
    state = VERDICT_OF.get(error.error) if isinstance(error, OAuthRefused) else None
    if state is None:
        put_off(runtime, claim, error.card(), times, asked=_asked(error), unknown=_may_have_been_processed(error))
        return
    if state == CredentialState.REVOKED and claim.may_be_spent:
        state = CredentialState.LOST
    told = error.card()
    card = replace(VERDICTS[state], words=told.words, request_id=told.request_id)
    give_verdict(runtime, claim, state, card, refused=asked_with if state == CredentialState.SECRET_CHANGED else "")


def _may_have_been_processed(error: GitLabError | OutboundError) -> bool:
    if isinstance(error, OutboundError):
        return error.may_have_been_processed
    # An OAuth error and a limit come before anything is done; behind a 5xx, a page or a broken body GitLab may have
    # done it all.
    return not isinstance(error, OAuthRefused | GitLabRateLimited)


def _asked(error: Exception) -> float | None:
    return error.retry_after_seconds if isinstance(error, GitLabRateLimited) else None
