"""Where a credential is kept: its row, locked and sealed; its lease; and the spool, which outlives a failing database.

A lease ends by a clock, and clocks jump. On one machine the boot id and the clock that counts from the boot decide,
and a holder whose process is gone no longer holds anything. Between machines the database's clock decides.

Between GitLab's rotation and our commit the spool holds the answer: one file for each intent in the data folder,
sealed by the vault. Its space is reserved before anything is asked, so a full disk spends no token (S40, fault row 34).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from portal import audit
from portal.actor import SYSTEM, Actor
from portal.connections.models import Connection, Method, end_attention
from portal.credentials.methods import HEALED_BY_REFRESH, NO_KEY, Key, method_of
from portal.credentials.models import Credential, CredentialEvent, CredentialState
from portal.credentials.revocation import Revoker, retire_stray, retire_tokens
from portal.db import utc_now
from portal.gitlab import oauth
from portal.gitlab.oauth import TokenAnswer
from portal.logs import get_logger
from portal.net import origin_of
from portal.private import private_folder
from portal.runtime import Runtime
from portal.vault import Place, Secret, SecretUnreadable
from portal.vault.vault import key_id_of

log = get_logger(__name__)
TABLE = "credential"
PROCESS = f"{platform.node()}:{os.getpid()}"
# How every JWT's header begins. GitLab's IAM service puts changing prefixes before it.
_JWT = "eyJ"

SPOOL = "spool"
# Two tokens of at most 4 KiB each, a CA certificate of at most 64 KiB, sealed.
ROOM_BYTES = 96 * 1024
# How an entry begins until it holds an answer, and after what time no one will write one.
NOTHING_YET = bytes(4)
ROOM_SECONDS = 3600.0

_GONE_STATES = frozenset({"Z", "X", "x"})
_held_here: set[str] = set()
_lock = threading.Lock()


@dataclass(frozen=True)
class RefreshTimes:
    """How long each part of a refresh may take, and when the next one is planned; in seconds.

    Attributes:
        margin: the refresh is planned at least this long before the access token ends.
        jitter: at most so much earlier still, so that many credentials do not refresh at once.
        request: for the token request, wall clock.
        commit: the part of the lease reserved for storing the outcome.
        lease: how long one process has the credential for itself; more than `request` and `commit`.
        probe: for trying an access token; `slow_probe` if the last attempt was answered too late.
        look: longest pause between two readings of a credential that another process is refreshing.
        wait: longest time in which only those looks are taken.
        patience: how long a caller waits in total.
    """

    margin: float = 300.0
    jitter: float = 300.0
    request: float = 60.0
    commit: float = 10.0
    lease: float = 90.0
    probe: float = 3.0
    slow_probe: float = 10.0
    look: float = 0.01
    wait: float = 0.25
    patience: float = 60.0

    def plan(self, expires_at: datetime | None, now: datetime) -> datetime | None:
        """Return when to refresh a token; None for one that never ends.

        Short-lived tokens are refreshed after four fifths of their lifetime at the latest.
        """
        if expires_at is None:
            return None
        life = max((expires_at - now).total_seconds(), 0.0)
        early = min(self.margin, life / 5) + random.random() * min(self.jitter, life / 5)  # noqa: S311
        return expires_at - timedelta(seconds=early)


TIMES = RefreshTimes()
# Of an access token: so early that people still have the second warning if it does not work.
ROTATE_BEFORE = timedelta(days=14)


def plan_renewal(credential: Credential, times: RefreshTimes, now: datetime) -> datetime | None:
    """Return when a credential is renewed; None if never: an access token only if someone wants it rotated."""
    if not method_of(credential).is_once:
        return times.plan(credential.expires_at, now)
    if not credential.is_rotated or credential.expires_at is None:
        return None
    return credential.expires_at - min(ROTATE_BEFORE, max(credential.expires_at - now, timedelta()) / 5)


# The row.


def get_credential(session: Session, connection_id: int) -> Credential | None:
    """Return the credential of a connection, if it ever was authorized."""
    return session.exec(select(Credential).where(Credential.connection_id == connection_id)).first()


def lock_credential(session: Session, connection_id: int) -> Credential | None:
    """Return a connection's credential, locked for the transaction that changes it."""
    statement = select(Credential).where(col(Credential.connection_id) == connection_id).with_for_update()
    return session.exec(statement).first()


def forget_doubts(credential: Credential) -> None:
    """Start with a new pair: nothing that spoke against the previous one applies to it."""
    credential.state = CredentialState.ALIVE
    credential.intent_id, credential.intent_at = "", None
    credential.may_be_spent = credential.is_access_refused = False
    credential.refusals = credential.client_refusals = credential.failures = 0
    credential.refused_at = credential.client_refused_at = credential.cooldown_until = None
    credential.failure = credential.failed_at = None
    credential.refused_application = ""


def open_token(runtime: Runtime, credential: Credential, column: str, origin: str) -> Secret | None:
    """Open one half of a pair for an origin; None if it is not stored.

    Raises:
        SecretUnreadable: it was issued for another origin, or its key is gone.
    """
    sealed = getattr(credential, column)
    assert credential.id is not None
    return runtime.vault.open(sealed, Place(TABLE, credential.id, column), origin) if sealed is not None else None


def seal_pair(runtime: Runtime, credential: Credential, access_token: Secret, refresh_token: Secret | None) -> None:
    """Seal a pair into a stored row, bound to the row's origin.

    GitLab's IAM service issues JWTs, for which GitLab keeps no row (docs/gitlab.md): our row records that.
    """
    text = access_token.reveal()
    is_jwt = text.count(".") == 2 and _JWT in text.partition(".")[0]
    credential.is_stateless = is_jwt and not method_of(credential).is_once
    pair = {"access_token_sealed": access_token, "refresh_token_sealed": refresh_token}
    assert credential.id is not None
    for column, token in pair.items():
        place = Place(TABLE, credential.id, column)
        setattr(credential, column, runtime.vault.seal(token, place, credential.origin) if token else None)


def digest(token: Secret) -> str:
    """Return the SHA-256 of a token, to recognise it; it only ever goes into sealed text."""
    return hashlib.sha256(token.reveal().encode()).hexdigest()


def record_event(session: Session, credential: Credential, kind: str, reason: str, **details: Any) -> None:
    """Write a line of the flight recorder."""
    assert credential.id is not None
    session.add(
        CredentialEvent(
            credential_id=credential.id,
            kind=kind,
            generation=credential.generation,
            process=PROCESS,
            reason=reason,
            details=details,
        )
    )


# The lease: which process holds a credential, and whether that has ended.


def take_lease(credential: Credential, owner: str, now: datetime, times: RefreshTimes) -> None:
    """Lease a credential to a thread of this process; `now` is by the database's clock."""
    credential.lease_owner, credential.lease_until = owner, now + timedelta(seconds=times.lease)
    credential.lease_holder = {
        "boot": _boot_id(),
        "processes": _namespace("pid"),
        "clock": _namespace("time"),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "until": _since_boot() + times.lease,
    }
    with _lock:
        _held_here.add(owner)


def give_back_lease(credential: Credential) -> None:
    """Release a credential's lease."""
    credential.lease_owner, credential.lease_until, credential.lease_holder = "", None, None


def forget_lease(owner: str) -> None:
    """Record that a thread of this process is done with a lease, whether or not it could give it back."""
    with _lock:
        _held_here.discard(owner)


def is_free(credential: Credential, now: datetime, times: RefreshTimes) -> bool:
    """Return whether the lease is free at a time of the database's clock."""
    until, holder = credential.lease_until, credential.lease_holder or {}
    if until is None:
        return True
    if not holder.get("boot") or (holder["boot"], holder["clock"]) != (_boot_id(), _namespace("time")):
        # A lease that ends later than any could dates from before the clock was set back.
        return until <= now or until > now + timedelta(seconds=times.lease * 2)
    if holder["until"] <= _since_boot():
        return True
    if holder["processes"] != _namespace("pid"):
        return False  # A process in another container cannot be seen.
    pid = int(holder["pid"])
    if pid == os.getpid() and holder["started"] == _started(pid):
        with _lock:
            return credential.lease_owner not in _held_here
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # Of another user: its files may be hidden.
    started = _started(pid)
    return started != "" and started != holder["started"]


def _started(pid: int) -> str:
    """Return when a process began, in ticks since boot: its id may belong to another process by now."""
    with suppress(OSError, IndexError):
        # The name in parentheses may hold anything.
        state, *fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return "ended" if state in _GONE_STATES else fields[18]
    return ""


def _since_boot() -> float:
    # Unlike the monotonic clock it keeps running while the machine sleeps, as GitLab's does.
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@cache
def _boot_id() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


@cache
def _namespace(kind: str) -> str:
    with suppress(OSError):
        return os.readlink(f"/proc/self/ns/{kind}")
    return ""


# The spool.


@dataclass(frozen=True)
class Spooled:
    """A pair that GitLab issued and that may not be stored yet.

    Attributes:
        spent: SHA-256 of the refresh token that was spent for it, in hex; it is inside the sealed part.
        sent_at: our clock when the request left; expiry counts from it.
    """

    credential_id: int
    generation: int
    intent_id: str
    spent: str
    tokens: TokenAnswer
    sent_at: datetime
    revoker: Revoker


class Spool:
    """The spool of one data folder."""

    def __init__(self, runtime: Runtime) -> None:
        self._vault = runtime.vault
        self._folder = runtime.settings.data_dir / SPOOL

    def reserve(self, credential_id: int, intent_id: str) -> None:
        """Take the room for one answer.

        Raises:
            OSError: there is none.
        """
        private_folder(self._folder)
        descriptor = os.open(self._path(credential_id, intent_id), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            # Written, not only allocated: a file system that compresses holes would give the room away again.
            file.write(NOTHING_YET + os.urandom(ROOM_BYTES))
            os.fsync(file.fileno())
        # The file's name has to survive a power cut too, not only its content.
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def keep(self, entry: Spooled) -> None:
        """Write an answer into its room.

        Raises:
            OSError: it could not be written.
        """
        sealed = self._vault.seal(Secret(_to_text(entry)), Place(SPOOL, entry.credential_id, "answer"))
        with open(self._path(entry.credential_id, entry.intent_id), "r+b") as file:
            file.write(len(sealed).to_bytes(4, "big") + sealed)
            os.fsync(file.fileno())

    def forget(self, credential_id: int, intent_id: str) -> None:
        """Remove an entry that is stored, or was never used."""
        with suppress(OSError):
            self._path(credential_id, intent_id).unlink(missing_ok=True)

    def entries(self, credential_id: int | None = None) -> Iterator[Spooled]:
        """Yield the answers that processes left behind, for one credential or for all; there may be others that cannot
        be read.
        """
        for path in sorted(self._folder.glob(f"credential-{credential_id or '*'}-*")):
            try:
                place = Place(SPOOL, int(path.name.split("-")[1]), "answer")
                if sealed := _sealed_in(path):
                    yield _from_text(self._vault.open(sealed, place).reveal())
            except (OSError, SecretUnreadable):
                continue  # Half written, gone by now, or its key is missing here.
            except (ValueError, KeyError, TypeError, IndexError):
                log.error("spool_entry_unknown", file=path.name)  # Another version's; it is kept for that.

    def tidy(self) -> None:
        """Remove rooms that were taken and never used: their process died before GitLab answered."""
        for path in self._folder.glob("credential-*"):
            with suppress(OSError):
                is_empty = path.read_bytes()[: len(NOTHING_YET)] == NOTHING_YET
                if is_empty and time.time() - path.stat().st_mtime > ROOM_SECONDS:
                    path.unlink()

    def _path(self, credential_id: int, intent_id: str) -> Path:
        return self._folder / f"credential-{credential_id}-{intent_id}"


def is_spool_used(data_dir: Path) -> bool:
    """Return whether a data folder's spool has an answer, or an entry for one, that has to be processed."""
    return next((data_dir / SPOOL).glob("credential-*"), None) is not None


def sealed_answers(data_dir: Path) -> Iterator[bytes]:
    """Yield every envelope in a data folder's spool; rooms that are only reserved are left out."""
    for path in sorted((data_dir / SPOOL).glob("credential-*")):
        with suppress(OSError):
            sealed = _sealed_in(path)
            if key_id_of(sealed):
                yield sealed


def _sealed_in(path: Path) -> bytes:
    """Return what is kept in a room; empty if it is only taken."""
    with path.open("rb") as file:
        return file.read(int.from_bytes(file.read(4), "big"))


def _to_text(entry: Spooled) -> str:
    tokens, secret = entry.tokens, entry.revoker.client_secret
    return json.dumps(
        {
            "credential_id": entry.credential_id,
            "generation": entry.generation,
            "intent_id": entry.intent_id,
            "spent": entry.spent,
            "sent_at": entry.sent_at.isoformat(),
            "access_token": tokens.access_token.reveal() if tokens.access_token else None,
            "refresh_token": tokens.refresh_token.reveal() if tokens.refresh_token else None,
            "scopes": tokens.scopes,
            "expires_in": tokens.expires_in,
            "ends_at": tokens.ends_at.isoformat() if tokens.ends_at else None,
            "revoker": {**vars(entry.revoker), "client_secret": secret.reveal() if secret else None},
        }
    )


def _from_text(text: str) -> Spooled:
    data = json.loads(text)
    access_token, refresh_token, secret = data["access_token"], data["refresh_token"], data["revoker"]["client_secret"]
    return Spooled(
        credential_id=data["credential_id"],
        generation=data["generation"],
        intent_id=data["intent_id"],
        spent=data["spent"],
        tokens=TokenAnswer(
            access_token=Secret(access_token) if access_token else None,
            refresh_token=Secret(refresh_token) if refresh_token else None,
            scopes=None if data["scopes"] is None else tuple(data["scopes"]),
            expires_in=data["expires_in"],
            ends_at=datetime.fromisoformat(data["ends_at"]) if data.get("ends_at") else None,
        ),
        sent_at=datetime.fromisoformat(data["sent_at"]),
        revoker=Revoker(**{**data["revoker"], "client_secret": Secret(secret) if secret else None}),
    )


# From GitLab's answer, or from the spool, into the row.


class Stored(StrEnum):
    """The outcome for a pair that GitLab issued."""

    STORED = "stored"
    # Another pair is stored, or none: this one must be revoked.
    SUPERSEDED = "superseded"
    # The stored pair cannot be opened now, so the answer has to be kept until it can be compared.
    UNCLEAR = "unclear"


def store_pair(runtime: Runtime, entry: Spooled, connection_id: int, reason: str, times: RefreshTimes) -> Stored:
    """Store a pair where the one it was issued for is still the stored one (S37); have it revoked if it is not.

    Neither lease nor state matters: a pair that GitLab issued for this one is the truth, however late it arrives.
    """
    outcome = _store(runtime, entry, connection_id, reason, times)
    if outcome == Stored.SUPERSEDED:
        # Someone has authorized again or disconnected in the meantime.
        retire_stray(runtime, entry.revoker, entry.tokens)
    return outcome


def _store(runtime: Runtime, entry: Spooled, connection_id: int, reason: str, times: RefreshTimes) -> Stored:
    tokens = entry.tokens
    with runtime.database.transaction() as session:
        credential = lock_credential(session, connection_id)
        if credential is None or credential.generation != entry.generation:
            return Stored.SUPERSEDED
        try:
            access_token, refresh_token = (
                open_token(runtime, credential, column, credential.origin)
                for column in ("access_token_sealed", "refresh_token_sealed")
            )
        except SecretUnreadable:
            return Stored.UNCLEAR
        # A restored database can have the same generation of another history.
        spent = access_token if method_of(credential).is_once else refresh_token
        if spent is None or digest(spent) != entry.spent:
            return Stored.SUPERSEDED
        assert access_token is not None
        # What the answer leaves out stays as it was (RFC 6749 §5.1, §6).
        seconds: float | None = tokens.expires_in
        if seconds is None and credential.expires_at is not None:
            before = (credential.expires_at - credential.obtained_at).total_seconds()
            seconds = before if before > 0 else oauth.LIFETIME_SECONDS
        expires_at = None if seconds is None else (entry.sent_at + timedelta(seconds=seconds)).astimezone(UTC)
        credential.generation = entry.generation + 1
        credential.expires_at = tokens.ends_at or expires_at
        credential.refresh_at = plan_renewal(credential, times, entry.sent_at)
        credential.refreshed_at = credential.obtained_at = utc_now()
        credential.scopes = credential.scopes if tokens.scopes is None else list(tokens.scopes)
        forget_doubts(credential)
        if tokens.access_token is None:
            # The other half is good for the next pair.
            credential.expires_at = credential.refresh_at = utc_now()
            credential.is_access_refused = True
        seal_pair(runtime, credential, tokens.access_token or access_token, tokens.refresh_token or refresh_token)
        give_back_lease(credential)
        connection = session.get_one(Connection, connection_id)
        end_attention(connection, HEALED_BY_REFRESH)
        record_event(session, credential, "refreshed", reason, spent_generation=entry.generation)
        audit.record(
            session, SYSTEM, "credential.refreshed", connection.target, generation=credential.generation, reason=reason
        )
        return Stored.STORED


@dataclass(frozen=True)
class Granted:
    """What GitLab issued and to whom, checked.

    Attributes:
        expires_at: by our clock; None if GitLab names no expiry (before 15.0).
        token_details: of an access token that a person made; None for a pair.
    """

    access_token: Secret
    refresh_token: Secret | None
    gitlab_user_id: int
    username: str
    name: str
    scopes: tuple[str, ...]
    expires_at: datetime | None
    token_details: dict[str, Any] | None = None


def replace_pair(
    session: Session, runtime: Runtime, actor: Actor, connection: Connection, granted: Granted, key: Key = NO_KEY
) -> Credential:
    """Store what someone authorized or entered, in the caller's transaction, and retire what was there before.

    The caller has locked the credential, if there is one, and the connection. `recover` runs first, so that the live
    pair is the one that is retired.
    """
    assert connection.id is not None
    credential = lock_credential(session, connection.id)
    if credential is None:
        credential = Credential(connection_id=connection.id, origin="", gitlab_user_id=0, gitlab_username="")
    else:
        credential.generation += 1
        retire_tokens(session, runtime, connection, credential, "replaced")
    is_pair = granted.token_details is None
    credential.method = connection.method = Method.OAUTH if is_pair else Method.ACCESS_TOKEN
    credential.token_details = granted.token_details
    credential.is_rotated = False
    credential.origin = origin_of(connection.api_url)
    credential.scopes = list(granted.scopes)
    credential.gitlab_user_id = granted.gitlab_user_id
    credential.gitlab_username, credential.gitlab_name = granted.username, granted.name
    credential.obtained_at, credential.refreshed_at = utc_now(), None
    credential.authorized_by_user_id = actor.user_id
    forget_doubts(credential)
    give_back_lease(credential)
    credential.expires_at = granted.expires_at
    credential.refresh_at = plan_renewal(credential, TIMES, utc_now())
    session.add(credential)
    session.flush()
    seal_pair(runtime, credential, granted.access_token, granted.refresh_token)
    method_of(credential).keep_key(runtime, credential, key)
    kind = "authorized" if is_pair else "linked"
    record_event(session, credential, kind, f"by {actor.name}"[:200], gitlab_username=granted.username)
    return credential


def recover(runtime: Runtime, connection_id: int, times: RefreshTimes) -> bool:
    """Store an answer that a process on this machine received but did not store; return whether there was one."""
    if not is_spool_used(runtime.settings.data_dir):
        return False
    with runtime.database.reading() as session:
        credential = get_credential(session, connection_id)
    return credential is not None and _recover_entries(runtime, credential.id, times)


def sweep_spool(runtime: Runtime, times: RefreshTimes) -> None:
    """Process every answer that was left behind: store it in its row, or have it revoked."""
    _recover_entries(runtime, None, times)
    Spool(runtime).tidy()


def _recover_entries(runtime: Runtime, credential_id: int | None, times: RefreshTimes) -> bool:
    spool, is_recovered = Spool(runtime), False
    for entry in spool.entries(credential_id):
        outcome = store_pair(runtime, entry, entry.revoker.connection_id, "recovered from the spool", times)
        if outcome == Stored.UNCLEAR:
            continue
        if outcome == Stored.STORED:
            log.warning("credential_recovered", credential_id=entry.credential_id, generation=entry.generation)
            is_recovered = True
        spool.forget(entry.credential_id, entry.intent_id)
    return is_recovered
