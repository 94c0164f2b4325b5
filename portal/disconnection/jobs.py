"""Background work of disconnecting: erasing, and starting it once a revocation it waited for is done."""

from __future__ import annotations

from portal.disconnection.erase import ERASE, enqueue_wanted, erase_connection, has_wanted
from portal.jobs import JobContext, define, every

FOLLOW = "disconnection.follow"


@define(ERASE)
def run_erase(context: JobContext, *, connection_id: int) -> None:
    """Erase one connection."""
    erase_connection(context, connection_id)


@every(60, FOLLOW, "Erase connections whose tokens are revoked", is_due=has_wanted)
def follow(context: JobContext) -> None:
    """Start the erasures that waited for GitLab."""
    count = enqueue_wanted(context.runtime)
    context.progress(count, count)
