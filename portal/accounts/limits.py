"""Slow down guessing without locking anyone out (S6).

Each pair of account and source has its own attempts, also for accounts that do not exist. A source that fails on many
accounts, and an account that many sources fail on, leave fewer attempts for each pair, but never none: behind a reverse
proxy that is not configured, all visitors are one source. A browser that signed someone in before has its own attempts
for that account, and so has a session that asks for its person's password again: strangers cannot use them up.
"""

from __future__ import annotations

import hmac
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, func, update
from sqlmodel import Session, col, select

from portal.accounts.models import SignInAttempt
from portal.db import utc_now
from portal.errors import RateLimited
from portal.requestinfo import network_of
from portal.runtime import Runtime

WINDOW_MINUTES = 15
MAX_PER_PAIR = 10
# After this many failures from one source on any account, or on one account from any source, a pair has fewer attempts.
MANY, MAX_PER_PAIR_OF_MANY = 50, 3
VERY_MANY, MAX_PER_PAIR_OF_VERY_MANY = 500, 1
DEVICE_DAYS = 180
# Accounts that one browser may be known for.
MAX_DEVICES = 3
BUSY_SECONDS = 3

_DEVICE = re.compile(r"[\w-]{22}\.\d{1,12}\.[0-9a-f]{64}", re.ASCII)
# A source with many failures gets one password checked at a time: hashing is slow on purpose.
_crowd = threading.Lock()


@contextmanager
def counted_try(
    runtime: Runtime, email: str, source: str, *, device: str = "", session_id: int | None = None
) -> Iterator[int]:
    """Record an attempt as failed before the password is checked; yield its id for `note_success`.

    Args:
        runtime: of this portal.
        email: the account, as typed.
        source: the client's address.
        device: from `known_device`; its attempts are used before those of its source.
        session_id: of a signed-in person who proves it again; only its own attempts count.

    Raises:
        RateLimited: too many failed attempts; the password is not checked.
    """
    account_hash = _hash(runtime, email)
    sources = [f"device {device}", network_of(source)] if device else [network_of(source)]
    for name in sources if session_id is None else [f"session {session_id}"]:
        attempt_id, is_crowded = _note(runtime, account_hash, _hash(runtime, name))
        if attempt_id is not None:
            break
    else:
        sentence = (
            f"Too many wrong passwords. Wait {WINDOW_MINUTES} minutes, "
            "or use a browser in which you have signed in before."
        )
        raise RateLimited(sentence, retry_after_seconds=WINDOW_MINUTES * 60)
    if not is_crowded:
        yield attempt_id
        return
    if not _crowd.acquire(blocking=False):
        with runtime.database.transaction() as session:
            session.execute(delete(SignInAttempt).where(col(SignInAttempt.id) == attempt_id))
        sentence = "Too many sign-ins from your network are failing right now. Try again in a few seconds."
        raise RateLimited(sentence, retry_after_seconds=BUSY_SECONDS)
    try:
        yield attempt_id
    finally:
        _crowd.release()


def note_success(session: Session, attempt_id: int) -> None:
    """Remove an attempt from the count, and the failed ones before it on the same account from the same source."""
    attempt = session.get_one(SignInAttempt, attempt_id)
    same = (
        col(SignInAttempt.account_hash) == attempt.account_hash,
        col(SignInAttempt.source_hash) == attempt.source_hash,
    )
    session.execute(update(SignInAttempt).where(*same).values(succeeded=True))


def remember_device(runtime: Runtime, email: str, cookie: str) -> str:
    """Return the device cookie for a browser that has just signed someone in, based on the one it has."""
    nonce, issued = secrets.token_urlsafe(16), str(int(utc_now().timestamp()))
    others = [one for one in cookie.split("~") if _DEVICE.fullmatch(one) and not _nonce_in(runtime, email, one)]
    return "~".join([f"{nonce}.{issued}.{_seal(runtime, email, nonce, issued)}", *others][:MAX_DEVICES])


def known_device(runtime: Runtime, email: str, cookie: str) -> str:
    """Return a name for the browser if it has signed in to this account before. It proves nothing else."""
    return next(filter(None, (_nonce_in(runtime, email, one) for one in cookie.split("~")[:MAX_DEVICES])), "")


def _nonce_in(runtime: Runtime, email: str, text: str) -> str:
    nonce, _, rest = text.partition(".")
    issued, _, seal = rest.partition(".")
    if not _DEVICE.fullmatch(text) or not hmac.compare_digest(_seal(runtime, email, nonce, issued), seal):
        return ""
    return nonce if utc_now().timestamp() - int(issued) < DEVICE_DAYS * 24 * 3600 else ""


def _seal(runtime: Runtime, email: str, nonce: str, issued: str) -> str:
    # The account is only in the seal: the cookie names no one.
    key = runtime.vault.derive_stable_key("device")
    return hmac.digest(key, f"{nonce}.{issued}.{email.strip().lower()}".encode(), "sha256").hex()


def _note(runtime: Runtime, account_hash: str, source_hash: str) -> tuple[int | None, bool]:
    """Record a failed attempt; return its id (None if over the limit) and whether its source fails on many accounts."""
    now = utc_now()
    # Recorded first and counted afterwards, so that none of many concurrent attempts is missed.
    with runtime.database.transaction() as session:
        session.execute(delete(SignInAttempt).where(col(SignInAttempt.at) < now - timedelta(minutes=WINDOW_MINUTES)))
        attempt = SignInAttempt(account_hash=account_hash, source_hash=source_hash, at=now)
        session.add(attempt)
        session.flush()
    account, source = SignInAttempt.account_hash == account_hash, SignInAttempt.source_hash == source_hash
    with runtime.database.transaction() as session:
        of_source, of_account = _failed(session, source), _failed(session, account)
        allowed = MAX_PER_PAIR if max(of_source, of_account) <= MANY else MAX_PER_PAIR_OF_MANY
        # Only for the source: otherwise anyone known by name would have only one attempt.
        allowed = MAX_PER_PAIR_OF_VERY_MANY if of_source > VERY_MANY else allowed
        is_too_much = _failed(session, account, source) > allowed
        if is_too_much:  # Attempts while locked out do not extend the lockout.
            session.delete(session.get_one(SignInAttempt, attempt.id))
    return (None if is_too_much else attempt.id), of_source > MANY


def _failed(session: Session, *where: ColumnElement[bool] | bool) -> int:
    statement = select(func.count()).where(col(SignInAttempt.succeeded).is_(False), *where)
    return int(session.exec(statement).one())


def _hash(runtime: Runtime, text: str) -> str:
    return hmac.digest(runtime.vault.derive_stable_key("throttle"), text.strip().lower().encode(), "sha256").hex()
