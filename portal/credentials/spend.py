"""Act for one pair under its lease: probe, refresh, and store GitLab's answer in the database."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace

from sqlalchemy.exc import SQLAlchemyError

from portal.connections.applications import open_application, redirect_uri_of
from portal.connections.instance import open_host_session
from portal.connections.models import Connection
from portal.crash_points import crash_point
from portal.credentials import lease
from portal.credentials.cards import (
    CLIENT_REFUSED,
    NO_ROOM,
    OTHER_APPLICATION,
    REFUSED,
    STOPPING,
    UNVOUCHED,
    VERDICTS,
    in_doubt,
)
from portal.credentials.claims import AccessUnavailable, Claim, Stored, release, settle, store, take_claim
from portal.credentials.machine import (
    VERDICT_REFUSALS,
    Event,
    NotProcessed,
    Probed,
    RefusedClient,
    RefusedGrant,
    Seen,
    Step,
    Unknown,
)
from portal.credentials.retire import Revoker, freeze, retire_stray
from portal.credentials.rows import digest, stamp_of
from portal.credentials.spool import Spool, Spooled
from portal.credentials.times import RefreshTimes
from portal.db import utc_now
from portal.errors import Card, Conflict, PortalError
from portal.gitlab import oauth
from portal.gitlab.client import GitLabClient
from portal.gitlab.errors import GitLabError, GitLabRateLimited, OAuthRefused
from portal.logs import get_logger
from portal.net import HostSession, OutboundError
from portal.runtime import Runtime
from portal.shutdown import ShuttingDown

log = get_logger(__name__)
# RFC 6749 §5.2: what each error of the token endpoint is evidence of; one alone is not a verdict.
DOUBTS: dict[str, tuple[Event, Card]] = {
    "invalid_grant": (RefusedGrant(), REFUSED),
    "invalid_client": (RefusedClient(), CLIENT_REFUSED),
    "unauthorized_client": (RefusedClient(), CLIENT_REFUSED),
}
STORE_PAUSE_SECONDS = 0.5


def refresh_once(runtime: Runtime, connection_id: int, credential_id: int, reason: str, times: RefreshTimes) -> bool:
    """Do what a due credential needs; return whether this process did anything.

    Raises:
        AccessUnavailable: this process is ending, the portal is an unconfirmed copy, or the spool cannot be written.
        SecretUnreadable: the pair cannot be opened here.
    """
    try:
        with runtime.shutdown.finishing():
            if recover(runtime, connection_id, credential_id, times):
                return True
            crash_point("refresh:before_intent")
            claim = take_claim(runtime, connection_id, reason, times)
            if claim is None:
                return False
            _act(runtime, claim, times)
            return True
    except ShuttingDown:
        raise AccessUnavailable(STOPPING, is_passing=True) from None


def _act(runtime: Runtime, claim: Claim, times: RefreshTimes) -> None:
    crash_point("refresh:intent_written")
    work: Claim | None = claim
    try:
        with open_host_session(runtime, claim.connection) as http:
            while work is not None:
                work = (
                    _probe(runtime, http, work, times)
                    if work.step == Step.PROBE
                    else _spend(runtime, http, work, times)
                )
    except BaseException:
        # The request stays open; the next process finds out, and need not wait for the lease.
        with suppress(SQLAlchemyError):
            release(runtime, claim)
        raise
    finally:
        lease.forget(claim.owner)


def recover(runtime: Runtime, connection_id: int, credential_id: int, times: RefreshTimes) -> bool:
    """Store an answer that a process on this machine received but did not store; return whether there was one."""
    spool = Spool(runtime)
    outcomes = [_recover_entry(runtime, spool, entry, times) for entry in spool.entries(credential_id)]
    return any(outcomes)


def sweep_spool(runtime: Runtime, times: RefreshTimes) -> None:
    """Process every answer that was left behind: store it in its row, or have it revoked."""
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


def _probe(runtime: Runtime, http: HostSession, claim: Claim, times: RefreshTimes) -> Claim | None:
    """Try the access token: it shows whether GitLab is there, and usually whether the pair is spent (S41)."""
    seconds = times.slow_probe if claim.failure_code == "deadline_passed" else times.probe
    event, card = Probed(Seen.SILENT), None
    try:
        with http.deadline(claim.left()):
            verdict = oauth.probe_token(http, claim.access_token, claim.gitlab_user_id, seconds)
        event = Probed(Seen(verdict.value))
        # After a refusal its words stay: this look only tells what that was worth.
        if event.seen == Seen.UNCLEAR and claim.failure_code not in {REFUSED.code, CLIENT_REFUSED.code}:
            card = UNVOUCHED
    except (GitLabError, OutboundError) as error:
        event, card = Probed(Seen.SILENT, _asked(error)), error.card()
    return settle(runtime, claim, event, card)


def _spend(runtime: Runtime, http: HostSession, claim: Claim, times: RefreshTimes) -> Claim | None:
    spool, used = Spool(runtime), claim.application
    if claim.client_id and used is not None and used.client_id != claim.client_id:
        return settle(runtime, claim, NotProcessed(), OTHER_APPLICATION)
    try:
        application = open_application(runtime, claim.connection, used)
    except Conflict:
        # Its key is not here now: another machine may have it, so this is not a verdict.
        return settle(runtime, claim, NotProcessed(), VERDICTS["unreadable"])
    except PortalError:
        return settle(runtime, claim, RefusedClient(), CLIENT_REFUSED)
    _reserve(runtime, spool, claim)
    try:
        entry = _ask(runtime, http, application, claim, times)
    except (GitLabError, OutboundError) as error:
        crash_point("refresh:verdict_received")
        spool.forget(claim.credential_id, claim.intent_id)
        event, card = _meaning(error)
        refused = stamp_of(used) if isinstance(event, RefusedClient) else ""
        # Before people are told: a deleted application takes its tokens with it, and GitLab checks those first.
        is_last = isinstance(event, RefusedGrant) and claim.refusals + 1 >= VERDICT_REFUSALS
        is_gone = is_last and is_client_refused(runtime, claim.connection, http, application)
        return settle(runtime, claim, event, card, refused=refused, is_client_refused=is_gone)
    crash_point("refresh:answer_received")
    _keep(spool, entry)
    crash_point("refresh:answer_spooled")
    entry = _with_scopes(http, claim, entry, times)
    if _store_patiently(runtime, entry, claim, times) == Stored.UNCLEAR:
        release(runtime, claim)  # The spool keeps it for whoever can open the stored pair.
        return None
    crash_point("refresh:stored")
    spool.forget(claim.credential_id, claim.intent_id)
    return None


def is_client_refused(
    runtime: Runtime, connection: Connection, http: HostSession, application: oauth.ClientCredentials
) -> bool:
    """Ask GitLab whether it refuses Application ID and Secret; no answer does not count as a refusal."""
    try:
        verdict = oauth.check_client(http, application, redirect_uri_of(runtime, connection))
    except (GitLabError, OutboundError):
        return False
    return verdict == oauth.ClientVerdict.REFUSED


def _ask(
    runtime: Runtime, http: HostSession, application: oauth.ClientCredentials, claim: Claim, times: RefreshTimes
) -> Spooled:
    connection = claim.connection
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
    # The outbound client checks the deadline before each step: a process that was paused past its lease sends nothing.
    with http.deadline(min(times.request, claim.left())):
        tokens = oauth.refresh(http, application, claim.refresh_token, redirect_uri_of(runtime, connection))
    spent = digest(claim.refresh_token)
    return Spooled(claim.credential_id, claim.generation, claim.intent_id, spent, tokens, sent_at, revoker)


def _reserve(runtime: Runtime, spool: Spool, claim: Claim) -> None:
    try:
        spool.reserve(claim.credential_id, claim.intent_id)
    except OSError as error:
        log.error("spool_unwritable", error=str(error))
        spool.forget(claim.credential_id, claim.intent_id)
        settle(runtime, claim, NotProcessed(is_outage=True), NO_ROOM)
        raise AccessUnavailable(NO_ROOM, is_passing=True) from None


def _keep(spool: Spool, entry: Spooled) -> None:
    try:
        spool.keep(entry)
    except OSError as error:
        # The database may still take it; there is nothing better to do with an answer than to store it.
        log.error("spool_unwritable", error=str(error))


def _with_scopes(http: HostSession, claim: Claim, entry: Spooled, times: RefreshTimes) -> Spooled:
    """Ask for the scopes of a pair whose answer names none: at a refresh, GitLab means that none is left.

    Until that is known, the previous pair's scopes are assumed.
    """
    access_token = entry.tokens.access_token
    if entry.tokens.scopes is not None or access_token is None:
        return entry
    try:
        with http.deadline(min(times.probe, claim.left())):
            info = GitLabClient(http, access_token, tries=1).token_info()
    except (GitLabError, OutboundError):
        return entry
    is_own = info.resource_owner_id == claim.gitlab_user_id
    return replace(entry, tokens=replace(entry.tokens, scopes=tuple(info.scope))) if is_own else entry


def _store_patiently(runtime: Runtime, entry: Spooled, claim: Claim, times: RefreshTimes) -> Stored:
    """Store a pair; while the database fails, try again for as long as a caller waits. The spool has it anyhow."""
    end = time.monotonic() + times.patience
    while True:
        try:
            outcome = store(runtime, entry, claim.connection_id, claim.reason, times)
            if outcome == Stored.SUPERSEDED:
                # Someone has authorized again in the meantime: the answer belongs to a line of pairs that is no longer
                # needed.
                retire_stray(runtime, entry.revoker, entry.tokens)
        except Exception as error:  # Whatever the error, the answer must not be lost.
            log.error("refresh_not_stored", credential_id=claim.credential_id, error=type(error).__name__)
            if time.monotonic() > end:
                raise
            time.sleep(STORE_PAUSE_SECONDS)
        else:
            return outcome


def _meaning(error: GitLabError | OutboundError) -> tuple[Event, Card]:
    """Return what an answer that holds no pair says about it."""
    if isinstance(error, OAuthRefused) and error.is_of_token_endpoint:
        event, card = DOUBTS.get(error.error, (NotProcessed(), None))
        return event, in_doubt(card, error) if card else error.card()
    if isinstance(error, OutboundError) and not error.may_have_been_processed:
        return NotProcessed(is_outage=True), error.card()
    # Behind a 5xx, a page, a limit, a redirect or a broken body, GitLab may have done it all: something in front of it
    # may have answered instead.
    return Unknown(_asked(error)), error.card()


def _asked(error: Exception) -> float | None:
    return error.retry_after_seconds if isinstance(error, GitLabRateLimited) else None
