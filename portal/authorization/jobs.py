"""Background work of authorization: ending tokens at GitLab."""

from __future__ import annotations

from portal.authorization.service.retire import REVOKE_RETIRED, due_revocations, revoke_one
from portal.jobs import JobContext, every


@every(60, REVOKE_RETIRED, "Revoke tokens that are no longer used")
def revoke_retired(context: JobContext) -> None:
    """Revoke every token whose time has come; one that fails waits for its next try."""
    due = due_revocations(context.runtime)
    for done, row_id in enumerate(due, start=1):
        context.raise_if_stopped()
        revoke_one(context.runtime, row_id)
        context.progress(done, len(due))
