"""Requests that people cause by pressing a button are limited, so that no form can scan ports or guess Secrets."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete
from sqlmodel import Session, col, func, select

from portal.accounts.models import Organization
from portal.actor import Principal
from portal.connections.models import OutboundTry
from portal.db import utc_now
from portal.errors import RateLimited

MINUTE = timedelta(minutes=1)
CHECKS = "checks"
CREDENTIALS = "credentials"
LOOKUPS = "lookups"
ONE_TIME_TOKENS = "one_time_tokens"
TOKENS = "tokens"
PER_MINUTE = {CHECKS: 5, CREDENTIALS: 5, LOOKUPS: 30, ONE_TIME_TOKENS: 5, TOKENS: 10}
SENTENCES = {
    CHECKS: "Addresses were checked five times in the last minute. Wait a moment.",
    CREDENTIALS: "A Secret was checked with GitLab five times in the last minute. Wait a moment.",
    TOKENS: "Tokens were tested with GitLab ten times in the last minute. Wait a moment.",
    LOOKUPS: "GitLab was asked about single repositories 30 times in the last minute. Wait a moment.",
    ONE_TIME_TOKENS: "A one-time token was used five times in the last minute. Wait a moment.",
}


def count_try(session: Session, principal: Principal, kind: str) -> None:
    """Count one attempt by the organization, in whichever connection: a new draft does not start over (S53).

    Raises:
        RateLimited: there were `PER_MINUTE` of this kind in the last minute.
    """
    # Locked, so that concurrent requests count one another.
    session.exec(select(Organization).where(Organization.id == principal.organization_id).with_for_update()).one()
    mine = (OutboundTry.organization_id == principal.organization_id, OutboundTry.kind == kind)
    session.execute(delete(OutboundTry).where(*mine, col(OutboundTry.at) < utc_now() - MINUTE))  # type: ignore[arg-type]
    if session.exec(select(func.count()).select_from(OutboundTry).where(*mine)).one() >= PER_MINUTE[kind]:
        raise RateLimited(SENTENCES[kind], retry_after_seconds=60)
    session.add(OutboundTry(organization_id=principal.organization_id, kind=kind))
