"""Refresh ahead of expiry, so that no one has to wait: every credential, used or not."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import or_
from sqlmodel import col, select

from portal.connections.models import Connection, ConnectionState
from portal.credentials.access import demand_access
from portal.credentials.claims import AccessUnavailable
from portal.credentials.machine import LONGEST_ASKED_SECONDS
from portal.credentials.models import Credential, CredentialState
from portal.credentials.times import TIMES, RefreshTimes
from portal.db import utc_now
from portal.runtime import Runtime


def due_credentials(runtime: Runtime) -> list[int]:
    """Return the ids of the connections whose credential is due for a refresh, the most urgent first."""
    now = utc_now()
    statement = (
        select(Credential.connection_id)
        .join(Connection, Connection.id == Credential.connection_id)  # type: ignore[arg-type]
        .where(
            or_(
                col(Credential.state).in_([CredentialState.ALIVE, CredentialState.SECRET_CHANGED]),
                # A verdict that only counted refusals is checked again as long as it has a pause.
                (col(Credential.state) == CredentialState.REVOKED) & col(Credential.cooldown_until).is_not(None),
            ),
            or_(col(Credential.refresh_at) <= now, col(Credential.intent_id) != ""),
            or_(
                col(Credential.cooldown_until).is_(None),
                col(Credential.cooldown_until) <= now,
                # From before the clock was set back.
                col(Credential.cooldown_until) > now + timedelta(seconds=LONGEST_ASKED_SECONDS),
            ),
            col(Connection.state) != ConnectionState.DISCONNECTED,
        )
        .order_by(col(Credential.expires_at))
    )
    with runtime.database.reading() as session:
        return list(session.exec(statement))


def refresh_credential(runtime: Runtime, connection_id: int, times: RefreshTimes = TIMES) -> bool:
    """Refresh one credential that is due; return whether it gives access now. Its row says what prevents it."""
    try:
        demand_access(runtime, connection_id, reason="planned", times=times)
    except AccessUnavailable:
        return False
    return True
