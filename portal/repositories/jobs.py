"""Background work of the catalogue."""

from __future__ import annotations

from portal.authorization.refresh import AccessUnavailable
from portal.authorization.service.credentials import READ_CATALOGUE
from portal.connections.service.connections import need_attention
from portal.errors import Card, UpstreamFailed
from portal.gitlab.errors import GitLabError, GitLabRateLimited, GitLabUnavailable
from portal.jobs import JobContext, RetryLater, define
from portal.net import ConnectFailed, DeadlinePassed, OutboundError
from portal.repositories.catalogue.run import read_catalogue

# GitLab is down or busy: the connection is as good as before, the read is tried again.
PASSING = (GitLabUnavailable, GitLabRateLimited, ConnectFailed, DeadlinePassed)


@define(READ_CATALOGUE)
def run_read_catalogue(context: JobContext, *, connection_id: int) -> None:
    """Read the catalogue of one connection."""

    def progress(done: int, total: int | None, message: str) -> None:
        context.raise_if_stopped()
        context.progress(done, total, message)

    try:
        count = read_catalogue(context.runtime, connection_id, context.public_id, progress)
    except PASSING as error:
        raise RetryLater(error.card(), after_seconds=getattr(error, "retry_after_seconds", None)) from error
    except AccessUnavailable as error:
        if error.is_passing:
            raise RetryLater(error.card) from error
        raise
    except (GitLabError, OutboundError) as error:
        _tell(context, connection_id, error.card())
        raise UpstreamFailed(error.card()) from error
    context.progress(count, count, f"{count:,} repositories read")


def _tell(context: JobContext, connection_id: int, card: Card) -> None:
    with context.runtime.database.transaction() as session:
        need_attention(session, connection_id, card)
