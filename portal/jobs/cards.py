"""What a person reads when a job failed."""

from __future__ import annotations

from portal.errors import Card, Layer, Mender, PortalError, UpstreamFailed


def of(error: PortalError) -> Card:
    """Return the card of an error a job raised on purpose."""
    if isinstance(error, UpstreamFailed):
        return error.card
    return Card(
        code=error.code,
        layer=Layer.PORTAL,
        sentence=error.sentence,
        remedy="Put that right, then start it again.",
        mender=Mender.YOU,
    )


def unexpected(request_id: str) -> Card:
    """Return the card of an error nobody foresaw; its text is in the log only, because it may quote anything."""
    return Card(
        code="job_error",
        layer=Layer.PORTAL,
        sentence="Gatehouse made a mistake while doing this.",
        remedy=f"Nothing is half done: start it again. The operator finds the cause in the log under {request_id}.",
        mender=Mender.OPERATOR,
    )


def crashed() -> Card:
    """Return the card of a job whose workers all ended in the middle of it."""
    return Card(
        code="job_crashed",
        layer=Layer.PORTAL,
        sentence="The worker ended in the middle of this, each time it was tried.",
        remedy="The operator should look whether the machine ran out of memory; then start it again.",
        mender=Mender.OPERATOR,
    )


def unknown(name: str) -> Card:
    """Return the card of a job that this version of the worker does not know."""
    return Card(
        code="job_unknown",
        layer=Layer.PORTAL,
        sentence=f"The worker does not know how to do “{name}”.",
        remedy="The workers are of another version than the web server: restart them with the same one.",
        mender=Mender.OPERATOR,
    )
