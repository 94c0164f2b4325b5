"""Slow down guessing without locking anybody out for good (S6).

A source that fails too often waits, whatever accounts it tries; an account that is tried from everywhere waits for
sources that have failed on it, so that its owner still gets in from another address.
"""

from __future__ import annotations

import hmac
from datetime import timedelta

from sqlalchemy import delete, func
from sqlmodel import Session, col, select

from portal.accounts.models import SignInAttempt
from portal.db import utc_now
from portal.errors import RateLimited
from portal.runtime import Runtime

WINDOW_MINUTES = 15
MAX_PER_SOURCE_AND_ACCOUNT = 10
MAX_PER_SOURCE = 50


def count_try(runtime: Runtime, email: str, source: str) -> int:
    """Note a try as failed before the password is looked at, and return its id for `note_success`.

    Raises:
        RateLimited: too many failed tries; the password is not looked at.
    """
    account_hash, source_hash = _hash(runtime, email), _hash(runtime, source)
    now = utc_now()
    with runtime.database.transaction() as session:
        since = now - timedelta(minutes=WINDOW_MINUTES)
        session.execute(delete(SignInAttempt).where(col(SignInAttempt.at) < since))
        if _failed(session, source_hash, account_hash) >= MAX_PER_SOURCE_AND_ACCOUNT or (
            _failed(session, source_hash) >= MAX_PER_SOURCE
        ):
            sentence = "Too many tries. Wait some minutes, or ask for a new password."
            raise RateLimited(sentence, retry_after_seconds=WINDOW_MINUTES * 60)
        attempt = SignInAttempt(account_hash=account_hash, source_hash=source_hash, at=now)
        session.add(attempt)
        session.flush()
        assert attempt.id is not None
        return attempt.id


def note_success(session: Session, attempt_id: int) -> None:
    """Take a try out of the count."""
    session.get_one(SignInAttempt, attempt_id).succeeded = True


def _failed(session: Session, source_hash: str, account_hash: str | None = None) -> int:
    statement = select(func.count()).where(
        SignInAttempt.source_hash == source_hash, col(SignInAttempt.succeeded).is_(False)
    )
    if account_hash is not None:
        statement = statement.where(SignInAttempt.account_hash == account_hash)
    return int(session.exec(statement).one())


def _hash(runtime: Runtime, text: str) -> str:
    return hmac.digest(runtime.vault.derive_key("throttle"), text.lower().encode(), "sha256").hex()
