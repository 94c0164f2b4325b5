"""GitLab's own log of a hook's deliveries, beside what arrived here: who says what, and what that means.

GitLab keeps it for seven days (17.3). From 17.4 on, each row carries the key that the delivery had here too:
https://docs.gitlab.com/api/project_webhooks/#list-all-events-for-a-project-webhook
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlmodel import col, select

from portal import audit
from portal.actor import Principal
from portal.connections.models import Connection, ConnectionState
from portal.connections.store import get_connection_for_admin, open_host_session
from portal.credentials import AccessSource, AccessUnavailable
from portal.db import utc_now
from portal.errors import Card, Conflict
from portal.gitlab.answers import GitLabError, GitLabNotFound
from portal.gitlab.hooks import LOG_PER_PAGE, HookClient, LoggedDelivery
from portal.net import HostSession, OutboundError
from portal.net.usage import Purpose
from portal.runtime import Runtime
from portal.webhooks.changes import find_hook
from portal.webhooks.models import Delivery, Hook
from portal.webhooks.reconcile import target_of

# What GitLab writes if it got no answer.
NO_ANSWER = "internal error"
LOG_DAYS = timedelta(days=7)
# So far back GitLab's log is read for one delivery.
PAGES = 5


@dataclass(frozen=True)
class LogRow:
    """One delivery as both ends saw it; `arrived` is ours, if its key says which one it is."""

    sent: LoggedDelivery
    arrived: Delivery | None

    @property
    def is_sent(self) -> bool:
        """Whether GitLab got an answer that it takes for success."""
        return self.sent.response_status.isdigit() and 200 <= int(self.sent.response_status) < 300

    @property
    def event(self) -> str:
        """What happened, in GitLab's words."""
        if self.arrived:
            return self.arrived.event
        # `push_hooks` here is `Push Hook` in the header of the delivery.
        name = self.sent.trigger.removesuffix("_hooks").replace("_", " ").title()
        return f"{name} Hook" if name else ""

    @property
    def gitlab_says(self) -> str:
        """The result at GitLab's end."""
        waited = f" after {self.sent.execution_duration:.1f} s" if self.sent.execution_duration else ""
        if self.sent.response_status == NO_ANSWER:
            return f"No answer{waited}"
        return f"Answered {self.sent.response_status}{waited}" if self.sent.response_status else "No result"

    @property
    def state(self) -> tuple[str, str, str]:
        """Its tone, icon and word."""
        if not self.sent.key:
            return ("pass", "circle-check", "Sent") if self.is_sent else ("warn", "alert-triangle", "Failed")
        if self.arrived:
            return ("pass", "circle-check", "Received") if self.is_sent else ("warn", "alert-triangle", "We have it")
        return "fail", "alert-circle", "Did not arrive"

    @property
    def meaning(self) -> str:
        """One sentence that fits what both ends say."""
        status = self.sent.response_status
        if not self.sent.key:
            return "" if self.is_sent else "GitLab doesn't say which delivery it was: look at the list of deliveries."
        if self.arrived:
            if self.is_sent:
                return ""
            if status == NO_ANSWER:
                return "GitLab gave up waiting, but it arrived. A proxy in between held it. Nothing is lost."
            return f"Something in between answered {status}, but it arrived. Nothing is lost."
        if self.is_sent:
            return "Something in between answered in place of Gatehouse: check where the webhook's address leads."
        if status == NO_ANSWER:
            return "GitLab could not reach Gatehouse: check name, firewall and certificate from GitLab's server."
        if status in {"401", "403"}:
            return "It did not carry this webhook's secret. Repair gives GitLab the right one."
        if status == "404":
            return "Gatehouse, or a proxy in front of it, does not know the address. Repair gives GitLab the right one."
        return f"Gatehouse, or a proxy in front of it, answered {status}. Send it again once that is over."


@dataclass(frozen=True)
class HookLog:
    """The newest rows of GitLab's log of one hook.

    Attributes:
        card: why GitLab could not be asked; None if it answered.
        has_log: whether this GitLab has one.
    """

    rows: list[LogRow]
    card: Card | None = None
    has_log: bool = True


def read_log(runtime: Runtime, principal: Principal, connection: Connection, hook_id: int) -> HookLog:
    """Return what GitLab logged of one hook's deliveries.

    Raises:
        NotFound: there is no such hook that this person may see.
    """
    with runtime.database.reading() as session:
        hook = find_hook(session, principal, connection, hook_id)
    found = _read(runtime, connection, hook)
    if isinstance(found, HookLog):
        return found
    keys = [row.key for row in found if row.key]
    with runtime.database.reading() as session:
        ours = select(Delivery).where(Delivery.hook_id == hook.id, col(Delivery.key).in_(keys))
        by_key = {delivery.key: delivery for delivery in session.exec(ours)}
    return HookLog([LogRow(row, by_key.get(row.key)) for row in found])


def find_sent(runtime: Runtime, connection: Connection, delivery: Delivery) -> HookLog:
    """Return what GitLab logged of a delivery that arrived, the newest attempt first; no row if it can't be found."""
    with runtime.database.reading() as session:
        hook = session.get(Hook, delivery.hook_id) if delivery.hook_id else None
    if hook is None or delivery.received_at < utc_now() - LOG_DAYS:
        return HookLog([])
    found = _read(runtime, connection, hook, delivery.key)
    if isinstance(found, HookLog):
        return found
    return HookLog([LogRow(row, delivery) for row in found if row.key == delivery.key])


def _read(runtime: Runtime, connection: Connection, hook: Hook, key: str = "") -> list[LoggedDelivery] | HookLog:
    """Return the newest page of GitLab's log, or all up to the page with a key; why there is none otherwise."""
    if hook.gitlab_hook_id is None or connection.state == ConnectionState.DISCONNECTED:
        return HookLog([])
    found: list[LoggedDelivery] = []
    try:
        with open_host_session(runtime, connection, purpose=Purpose.WEBHOOKS) as http:
            client = _client(runtime, connection, http)
            for page in range(1, (PAGES if key else 1) + 1):
                rows = client.hook_log(hook.owner, hook.gitlab_hook_id, page=page)
                found += rows
                if len(rows) < LOG_PER_PAGE or any(row.key == key for row in rows):
                    break
    except GitLabNotFound:
        return HookLog([], has_log=False)
    except (GitLabError, OutboundError) as error:
        return HookLog([], error.card().at("hooks"))
    except AccessUnavailable as error:
        return HookLog([], error.card.at("hooks"))
    return found


def resend(runtime: Runtime, principal: Principal, slug: str, hook_id: int, event_id: int) -> str:
    """Have GitLab send one delivery again (17.4); return what came back, in one sentence.

    It has the same key as before, so one that has arrived already has no second effect.

    Raises:
        NotFound: there is no such hook that this person may see.
        Conflict: GitLab can't be asked, or does not send it.
    """
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        hook = find_hook(session, principal, connection, hook_id)
        if hook.gitlab_hook_id is None or connection.state == ConnectionState.DISCONNECTED:
            raise Conflict("There is no webhook at GitLab that could send it again.")
        audit.record(session, principal.actor, "hook.resend_requested", target_of(session, connection, hook))
    try:
        with open_host_session(runtime, connection, purpose=Purpose.WEBHOOKS) as http:
            status = _client(runtime, connection, http).resend(hook.owner, hook.gitlab_hook_id, event_id)
    except (GitLabError, OutboundError) as error:
        raise Conflict(f"It was not sent again. {error.card().at('hooks').sentence}") from None
    except AccessUnavailable as error:
        raise Conflict(f"It was not sent again. {error.card.at('hooks').sentence}") from None
    return f"GitLab sent it again, and the answer was {status}."


def _client(runtime: Runtime, connection: Connection, http: HostSession) -> HookClient:
    return HookClient(http, AccessSource(runtime, connection.id or 0, "webhooks"), tries=1)
