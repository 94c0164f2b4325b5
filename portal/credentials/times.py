"""How long each part of a refresh may take, and when the next one is planned."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class RefreshTimes:
    """Seconds.

    Attributes:
        margin: the refresh is planned at least this long before the access token ends.
        jitter: at most so much earlier still, so that many credentials do not refresh at once.
        request: for the token request, wall clock.
        commit: kept of the lease for storing the outcome.
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
