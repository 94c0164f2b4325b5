"""Keep a credential alive: GitLab's refresh tokens are single use, so one process at a time, and never twice.

`docs/credentials.md` draws the states and lists what is promised. The parts:

- `machine.py` decides what an answer means and what may be done next; it is pure.
- `claims.py` has the transactions: take the lease, apply what the machine decides, store a pair.
- `lease.py` says whether another process is at work, `spool.py` keeps an answer until it is stored.
- `spend.py` asks GitLab: a probe with the access token, or the refresh itself.
- `access.py` is what callers use.
"""

from portal.credentials.access import Access, AccessSource, demand_access
from portal.credentials.claims import AccessUnavailable
from portal.credentials.schedule import due_credentials, refresh_credential
from portal.credentials.times import TIMES, RefreshTimes

__all__ = [
    "TIMES",
    "Access",
    "AccessSource",
    "AccessUnavailable",
    "RefreshTimes",
    "demand_access",
    "due_credentials",
    "refresh_credential",
]
