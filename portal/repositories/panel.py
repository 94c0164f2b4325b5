"""What the selection panel's templates need, read at once."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from sqlmodel import Session, col, select

from portal.accounts.members import who_grants_groups
from portal.accounts.models import GroupGrant, User
from portal.actor import Principal, Right, Role
from portal.authorization.keep import catalogue_key
from portal.connections.models import Connection
from portal.errors import Card
from portal.jobs.models import Job, JobState
from portal.repositories.catalogue.findings import Notice, notices_of
from portal.repositories.catalogue.run import latest_run
from portal.repositories.selection import Listing, View, list_repositories
from portal.repositories.tree import TreeNode, group_tree
from portal.runtime import Runtime


@dataclass(frozen=True)
class Panel:
    """A snapshot of the selection panel.

    Attributes:
        connection: the one connection that is shown; None if several are.
        fixed: whether the page determines the connection, so that it cannot be chosen.
        job: the newest catalogue read of that connection.
        notices: what those who manage connections should know about its last read.
        address: path of the page the panel is on, without the query.
    """

    view: View
    listing: Listing
    tree: list[TreeNode]
    connections: list[Connection]
    connection: Connection | None
    fixed: bool
    job: Job | None
    notices: list[Notice]
    address: str
    may_enable: bool
    may_read: bool
    # Whom a team lead without groups can ask for some; empty for everyone else.
    ask: list[User]

    @property
    def is_reading(self) -> bool:
        """Whether GitLab is being read now, so that rows may still arrive."""
        return self.job is not None and not self.job.is_finished

    @property
    def is_filtered(self) -> bool:
        """Whether the view is filtered."""
        return bool(self.view.query or self.view.group or self.view.state)

    def url(self, **changes: str) -> str:
        """Return the address of this view with some parameters changed; paging starts over."""
        parameters = self.view.parameters(**changes)
        if self.fixed:
            parameters.pop("connection", None)
        return f"{self.address}?{urlencode(parameters)}" if parameters else self.address

    @property
    def progress_url(self) -> str:
        """Address of the read's progress; the poll adds the current view, and gets its rows as well."""
        assert self.connection is not None
        return f"/connections/{self.connection.slug}/catalogue?on={'setup' if self.fixed else 'index'}"

    @property
    def fields(self) -> dict[str, str]:
        """Hidden fields that bring a change back to this view."""
        paging = {"after": self.view.after, "before": self.view.before}
        keys = {name: format_key(key) for name, key in paging.items() if key}
        return {**self.view.parameters(), **keys, "on": "setup" if self.fixed else "index"}

    @property
    def counts(self) -> dict[str, int]:
        """How many repositories each state filter shows, by the filter's word; `all` for none."""
        return {str(state) or "all": count for state, count in self.listing.counts.items()}

    @property
    def tree_totals(self) -> tuple[int, int]:
        """All repositories of the connection, and the enabled ones."""
        return sum(node.total for node in self.tree), sum(node.enabled for node in self.tree)

    @property
    def shown(self) -> str:
        """How much of the view this page shows, as a sentence."""
        matching = self.listing.counts[self.view.state]
        return (
            f"{len(self.listing.rows):,} of {matching:,}"
            if matching > len(self.listing.rows)
            else f"{matching:,} in all"
        )

    @property
    def shows_connections(self) -> bool:
        """Whether rows of several connections are mixed."""
        return not self.view.connection and len(self.connections) > 1

    @property
    def failure(self) -> Card | None:
        """Why the newest read failed; None if it did not."""
        failed = self.job is not None and self.job.state == JobState.FAILED and self.job.failure
        return Card.from_json(self.job.failure) if failed and self.job and self.job.failure else None

    @property
    def next_url(self) -> str | None:
        """Address of the next page; None on the last."""
        return self._page_url("after", self.listing.next_key)

    @property
    def previous_url(self) -> str | None:
        """Address of the previous page; None on the first."""
        return self._page_url("before", self.listing.previous_key)

    def _page_url(self, name: str, key: tuple[str, int] | None) -> str | None:
        return self.url(**{name: format_key(key)}) if key else None


def format_key(key: tuple[str, int]) -> str:
    """Write a paging key as it appears in addresses: `id:path`."""
    return f"{key[1]}:{key[0]}"


def load_panel(
    runtime: Runtime, principal: Principal, view: View, *, address: str, fixed: Connection | None = None
) -> Panel:
    """Read one page of rows, the tree and the progress, as far as this person may see them."""
    with runtime.database.reading() as session:
        connections = _connections(session, principal)
        shown = fixed or next((item for item in connections if item.slug == view.connection), None)
        if shown is None and len(connections) == 1:
            shown = connections[0]
        may_read = principal.may(Right.MANAGE_CONNECTIONS)
        return Panel(
            view=view,
            listing=list_repositories(session, principal, view),
            tree=group_tree(session, principal, shown.slug) if shown else [],
            connections=connections,
            connection=shown,
            fixed=fixed is not None,
            job=_latest_read(session, shown) if shown else None,
            notices=notices_of(latest_run(session, shown.id or 0)) if shown and may_read else [],
            address=address,
            may_enable=principal.may(Right.ENABLE_REPOSITORIES),
            may_read=may_read,
            ask=_whom_to_ask(session, principal),
        )


def _whom_to_ask(session: Session, principal: Principal) -> list[User]:
    if principal.role != Role.TEAM_LEAD:
        return []
    own = select(GroupGrant.id).where(GroupGrant.membership_id == principal.membership_id).limit(1)
    return [] if session.exec(own).first() else who_grants_groups(session, principal.organization_id)


def _latest_read(session: Session, connection: Connection) -> Job | None:
    statement = select(Job).where(Job.key == catalogue_key(connection)).order_by(col(Job.id).desc()).limit(1)
    return session.exec(statement).first()


def _connections(session: Session, principal: Principal) -> list[Connection]:
    statement = (
        select(Connection)
        .where(Connection.organization_id == principal.organization_id, col(Connection.authorized_at).is_not(None))
        .order_by(Connection.display_name)
    )
    return list(session.exec(statement))
