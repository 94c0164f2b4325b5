"""Keep a credential alive: GitLab's refresh tokens are single use, so one process at a time, and never twice.

The protocol, for a credential of generation g (security-requirements E):

1. Read the row; while the planned refresh is not due, the token is used as it is.
2. Somebody else has the lease: wait, and read again.
3. One transaction: look again, take the lease, write the intent to spend pair g.
4. Make room in the spool, then ask GitLab, within less time than the lease has.
5. A new pair: seal it into the spool, then store it where the generation still is g; then empty the spool.
6. `invalid_grant`: the credential is dead where the generation still is g; else somebody else has rotated.
7. Anything else: no verdict. The intent stays when GitLab may have acted; whoever has the lease next asks with the
   old access token whether it did, before anything is spent again.
"""

from portal.authorization.refresh.access import Access, AccessSource, demand_access
from portal.authorization.refresh.claims import AccessUnavailable
from portal.authorization.refresh.schedule import due_credentials, refresh_credential
from portal.authorization.refresh.times import TIMES, RefreshTimes

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
