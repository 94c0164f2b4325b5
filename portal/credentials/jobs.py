"""Background work of credentials: refreshing ahead of expiry, and ending tokens at GitLab."""

from __future__ import annotations

from portal.credentials.access import due_credentials, refresh_credential
from portal.credentials.history import thin
from portal.credentials.revocation import due_revocations, revoke_one
from portal.credentials.store import TIMES, is_spool_used, sweep_spool
from portal.jobs import JobContext
from portal.runtime import Runtime


def has_due_credentials(runtime: Runtime) -> bool:
    """Return whether a refresh is due, or an answer waits to be stored."""
    return is_spool_used(runtime.settings.data_dir) or bool(due_credentials(runtime))


def keep_alive(context: JobContext) -> None:
    """Refresh every credential that is due; one that cannot be refreshed waits for its next turn."""
    sweep_spool(context.runtime, TIMES)
    due = due_credentials(context.runtime)
    context.for_each(due, lambda connection_id: refresh_credential(context.runtime, connection_id))


def revoke_retired(context: JobContext) -> None:
    """Revoke every token that is due; one that fails waits for its next attempt."""
    due = due_revocations(context.runtime)
    context.for_each(due, lambda row_id: revoke_one(context.runtime, row_id))


def thin_recorder(context: JobContext) -> None:
    """Delete what is too old or too much."""
    context.progress(thin(context.runtime, context.raise_if_stopped))
