"""Background work of disconnecting: erasing, and starting it once a revocation it waited for is done."""

from __future__ import annotations

from portal.disconnection.erase import enqueue_wanted, erase_connection
from portal.jobs import JobContext

FOLLOW = "disconnection.follow"


def run_erase(context: JobContext, *, connection_id: int) -> None:
    """Erase one connection."""
    erase_connection(context, connection_id)


def follow(context: JobContext) -> None:
    """Start the erasures that waited for GitLab."""
    count = enqueue_wanted(context.runtime)
    context.progress(count, count)
