"""The credentials the portal acts with: obtained, renewed, checked, revoked and recorded.

`docs/credentials.md` draws the states and says what is promised. The parts, from the top:

- `access.py` is what callers use, and what decides who refreshes.
- `refresh.py` acts for one credential under its lease.
- `store.py` keeps it: the row, the lease, and the spool between GitLab's answer and our commit.
- `revocation.py` ends at GitLab what is no longer used.
- `methods.py` is what differs between kinds of credential.
- `machine.py` decides what an answer means and what may be done next; it is pure.
- `history.py` says what happened to it.
"""

from portal.credentials.access import Access, AccessSource, demand_access, due_credentials, refresh_credential
from portal.credentials.refresh import AccessUnavailable
from portal.credentials.store import TIMES, RefreshTimes

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
