"""Slow down guessing without locking anybody out for good (S6).

A source that fails too often waits, whatever accounts it tries; an account that is tried from everywhere waits for
sources that have failed on it, so that its owner still gets in from another address.
"""

from __future__ import annotations

import hmac
from datetime import timedelta

from sqlalchemy import ColumnElement, delete, func, update
from sqlmodel import Session, col, select

from portal.accounts.models import SignInAttempt
from portal.db import utc_now
from portal.errors import RateLimited
from portal.runtime import Runtime

WINDOW_MINUTES = 15
MAX_PER_SOURCE_AND_ACCOUNT = 10
MAX_PER_SOURCE = 50
# An account that is tried from many sources leaves each of them fewer tries, its owner's among them.
MAX_PER_ACCOUNT = 50
MAX_PER_SOURCE_AND_BESIEGED_ACCOUNT = 3


def count_try(runtime: Runtime, email: str, source: str) -> int:
    """Note a try as failed before the password is looked at, and return its id for `note_success`.

    Raises:
        RateLimited: too many failed tries; the password is not looked at.
    """
    account_hash, source_hash = _hash(runtime, email), _hash(runtime, source)
    now = utc_now()
    # Noted first and counted afterwards: of many at once, none is left out of the count.
    with runtime.database.transaction() as session:
        session.execute(delete(SignInAttempt).where(col(SignInAttempt.at) < now - timedelta(minutes=WINDOW_MINUTES)))
        attempt = SignInAttempt(account_hash=account_hash, source_hash=source_hash, at=now)
        session.add(attempt)
        session.flush()
        assert attempt.id is not None
    with runtime.database.transaction() as session:
        is_too_much = _is_too_much(session, account_hash, source_hash)
        if is_too_much:  # Knocking at a closed door does not keep it closed.
            session.delete(session.get_one(SignInAttempt, attempt.id))
    if is_too_much:
        sentence = "Too many tries. Wait some minutes, or ask for a new password."
        raise RateLimited(sentence, retry_after_seconds=WINDOW_MINUTES * 60)
    return attempt.id


def note_success(session: Session, attempt_id: int) -> None:
    """Take a try out of the count, and the failed ones before it on the same account from the same source."""
    attempt = session.get_one(SignInAttempt, attempt_id)
    same = (
        col(SignInAttempt.account_hash) == attempt.account_hash,
        col(SignInAttempt.source_hash) == attempt.source_hash,
    )
    session.execute(update(SignInAttempt).where(*same).values(succeeded=True))


def _is_too_much(session: Session, account_hash: str, source_hash: str) -> bool:
    source, account = SignInAttempt.source_hash == source_hash, SignInAttempt.account_hash == account_hash
    is_besieged = _failed(session, account) > MAX_PER_ACCOUNT
    for_pair = MAX_PER_SOURCE_AND_BESIEGED_ACCOUNT if is_besieged else MAX_PER_SOURCE_AND_ACCOUNT
    return _failed(session, source, account) > for_pair or _failed(session, source) > MAX_PER_SOURCE


def _failed(session: Session, *where: ColumnElement[bool] | bool) -> int:
    statement = select(func.count()).where(col(SignInAttempt.succeeded).is_(False), *where)
    return int(session.exec(statement).one())


def _hash(runtime: Runtime, text: str) -> str:
    return hmac.digest(runtime.vault.derive_stable_key("throttle"), text.lower().encode(), "sha256").hex()
