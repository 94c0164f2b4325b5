"""What a person reads when a job failed."""

from __future__ import annotations

from portal.errors import Card, PortalError, UpstreamFailed


def of(error: PortalError) -> Card:
    """Return the card of an error a job raised on purpose."""
    if isinstance(error, UpstreamFailed):
        return error.card
    return Card("job_refused", {"reason": error.code, "sentence": error.sentence})


def unexpected(request_id: str) -> Card:
    """Return the card of an unexpected error; its text is only in the log, because it may quote anything."""
    return Card("job_error", {"reference": request_id})
