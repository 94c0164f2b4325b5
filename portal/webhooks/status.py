"""What the pages show about webhooks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, String, case, cast, func, or_
from sqlmodel import Session, col, select

from portal.actor import Principal, Right, Role
from portal.connections.checks import Check, passed, skipped, warned
from portal.connections.models import Connection, ConnectionState
from portal.connections.panels import Panel, Place
from portal.db import utc_now
from portal.errors import Card
from portal.gitlab import links
from portal.gitlab.hooks import Level
from portal.gitlab.identification import FILTERS_BY_UPDATE, parse_version
from portal.jobs.models import Job, find_unfinished
from portal.repositories.models import GitLabGroup, Repository, visible_to
from portal.repositories.selection import Row
from portal.runtime import Runtime
from portal.webhooks.changes import find_hook
from portal.webhooks.differences import SENTENCES
from portal.webhooks.models import Hook, HookPlan, HookStatus, Mode
from portal.webhooks.refusals import expected_refusal, host_of

PER_PAGE = 50
RECENTLY = timedelta(days=1)
# GitLab writes a project's last activity at most once an hour (api/projects), and a queue may be long.
SILENCE = timedelta(hours=2)
MAX_QUERY = 200


class Shown(StrEnum):
    """The filter of the list; empty means all."""

    ALL = ""
    NEEDS = "needs"
    REPAIRED = "repaired"
    OFF = "off"


# As GitLab's form calls them.
TRIGGERS = {
    "push_events": "Push events",
    "tag_push_events": "Tag push events",
    "merge_requests_events": "Merge request events",
    "issues_events": "Issue events",
    "confidential_issues_events": "Confidential issue events",
    "note_events": "Comments",
    "confidential_note_events": "Confidential comments",
    "repository_update_events": "Repository update events",
    "subgroup_events": "Subgroup events",
    "member_events": "Member events",
    "project_events": "Project events",
}


@dataclass(frozen=True)
class HookRow:
    """One line of the list."""

    hook: Hook
    path: str
    now: datetime

    @property
    def card(self) -> Card | None:
        """What is wrong, for the page."""
        return Card.from_json(self.hook.card).at("hooks") if self.hook.card else None

    @property
    def state(self) -> tuple[str, str, str]:
        """Its tone, icon and word."""
        hook = self.hook
        if hook.status == HookStatus.RETIRING:
            return ("warn", "alert-triangle", "Left over") if hook.card else ("muted", "trash", "Being removed")
        if hook.mode == Mode.OFF:
            return "muted", "circle-minus", "Off"
        if hook.card:
            return "warn", "alert-triangle", "Not made" if hook.gitlab_hook_id is None else "Needs a person"
        if hook.mode == Mode.BY_HAND and hook.proved_at is None:
            return "muted", "hourglass", "Waits for its first delivery"
        if hook.status == HookStatus.WANTED:
            return "muted", "hourglass", "Being made"
        if hook.status == HookStatus.UNPROVED:
            return "muted", "hourglass", "Not proved yet"
        if self.is_repaired:
            return "muted", "refresh", f"Repaired {hook.repaired_at:%H:%M}"
        return "pass", "circle-check", "Fine"

    @property
    def is_repaired(self) -> bool:
        """Whether it was repaired in the last day."""
        return self.hook.repaired_at is not None and self.hook.repaired_at > self.now - RECENTLY

    @property
    def note(self) -> str:
        """What is wrong, or what was repaired."""
        if self.card:
            return self.card.sentence
        if self.is_repaired:
            return "; ".join(SENTENCES.get(name, name) for name in self.hook.repairs)
        return ""


@dataclass(frozen=True)
class HooksPage:
    """Everything on the page *Webhooks* of a connection."""

    connection: Connection
    plan: HookPlan
    counts: dict[str, int]
    rows: list[HookRow]
    job: Job | None
    query: str
    shown: Shown
    page: int
    matching: int
    host: str
    expected: Card | None
    may_manage: bool
    interval: str

    @property
    def is_on(self) -> bool:
        """Whether the connection wants hooks and can have them."""
        return self.connection.hooks_wanted and self.connection.state != ConnectionState.DISCONNECTED

    @property
    def card(self) -> Card | None:
        """Why webhooks as a whole do not work."""
        return Card.from_json(self.plan.card) if self.plan.card else None

    @property
    def failures(self) -> list[HookRow]:
        """The first of what needs a person, if it is not the connection as a whole."""
        return [] if self.card else [row for row in self.rows if row.card][:1]

    @property
    def first(self) -> int:
        """The number of the first row."""
        return (self.page - 1) * PER_PAGE + 1

    @property
    def last(self) -> int:
        """The number of the last row."""
        return self.first + len(self.rows) - 1

    @property
    def has_more(self) -> bool:
        """Whether there is another page."""
        return self.last < self.matching


def load_hooks_page(
    runtime: Runtime, principal: Principal, connection: Connection, query: str = "", shown: str = "", page: int = 1
) -> HooksPage:
    """Return the page as this person may see it."""
    now = utc_now()
    filter_ = Shown(shown) if shown in set(Shown) else Shown.ALL
    with runtime.database.reading() as session:
        plan = session.get(HookPlan, connection.id) or HookPlan(connection_id=connection.id or 0)
        which = _visible(principal, connection)
        counts = _count(session, which, now)
        path = func.coalesce(col(Repository.path_with_namespace), col(GitLabGroup.full_path), "")
        if query:
            which = [*which, path.icontains(query[:MAX_QUERY], autoescape=True)]
        which += {
            Shown.NEEDS: [_needs()],
            Shown.REPAIRED: [col(Hook.repaired_at) > now - RECENTLY],
            Shown.OFF: [col(Hook.mode) == Mode.OFF],
        }.get(filter_, [])
        matching = session.exec(_joined(func.count()).where(*which)).one()
        page = min(max(1, page), max(1, -(-matching // PER_PAGE)))
        # What needs a person first, then what was repaired.
        order = case((_needs(), 0), (col(Hook.repaired_at) > now - RECENTLY, 1), else_=2)
        listed = _joined(Hook, path).where(*which).order_by(order, path, col(Hook.id))
        found = session.execute(listed.offset((page - 1) * PER_PAGE).limit(PER_PAGE)).all()
        job = find_unfinished(session, f"hooks:{connection.id}")
    may_manage = principal.may(Right.MANAGE_CONNECTIONS)
    is_made = counts["fine"] + counts["repaired"] > 0
    return HooksPage(
        connection=connection,
        plan=plan,
        counts=counts,
        rows=[HookRow(hook, name or connection.display_name, now) for hook, name in found],
        job=job,
        query=query,
        shown=filter_,
        page=page,
        matching=matching,
        host=host_of(runtime.settings.base_url),
        expected=None if is_made or plan.card or not may_manage else expected_refusal(runtime.settings.base_url),
        may_manage=may_manage,
        interval=read_interval(runtime, connection),
    )


@dataclass(frozen=True)
class HookDetails:
    """The page of one hook."""

    row: HookRow
    connection: Connection
    gitlab_url: str
    may_manage: bool
    interval: str

    @property
    def triggers(self) -> str:
        """What GitLab reports, in the words of its form."""
        return ", ".join(label for name, label in TRIGGERS.items() if name in self.row.hook.events)


def load_hook(runtime: Runtime, principal: Principal, connection: Connection, hook_id: int) -> HookDetails:
    """Return one hook.

    Raises:
        NotFound: this person may not see it, or there is none.
    """
    with runtime.database.reading() as session:
        hook = find_hook(session, principal, connection, hook_id)
        repository = session.get(Repository, hook.repository_id) if hook.repository_id else None
        group = select(GitLabGroup.full_path).where(
            GitLabGroup.connection_id == connection.id, GitLabGroup.gitlab_group_id == hook.subject_id
        )
        path = repository.path_with_namespace if repository else session.exec(group).first() or ""
    base = connection.external_url
    url = {
        Level.PROJECT: links.project_hooks(base, path),
        Level.GROUP: links.group_hooks(base, path),
        Level.SYSTEM: links.system_hooks(base),
    }[Level(hook.level)]
    row = HookRow(hook, path or connection.display_name, utc_now())
    may_manage = principal.may(Right.MANAGE_CONNECTIONS)
    return HookDetails(row, connection, url, may_manage, read_interval(runtime, connection))


def repository_panels(runtime: Runtime, principal: Principal, row: Row) -> list[Panel]:
    """Return the webhook that reports a repository, its own or a wider one, and its newest delivery."""
    repository, connection = row.repository, row.connection
    if row.enablement is None or not connection.hooks_wanted:
        return []
    top = select(GitLabGroup.gitlab_group_id).where(
        GitLabGroup.connection_id == connection.id,
        GitLabGroup.full_path == repository.path_with_namespace.partition("/")[0],
    )
    wider = (col(Hook.level) == Level.SYSTEM) | (
        (col(Hook.level) == Level.GROUP) & col(Hook.subject_id).in_(top.scalar_subquery())
    )
    own = col(Hook.repository_id) == repository.id
    found = select(Hook).where(Hook.connection_id == connection.id, own | (wider & (Hook.status == HookStatus.ACTIVE)))
    with runtime.database.reading() as session:
        hook = session.exec(found.order_by(case((own, 0), else_=1)).limit(1)).first()
    # Team leads do not see what concerns several groups.
    is_linked = hook is not None and (hook.repository_id is not None or principal.role != Role.TEAM_LEAD)
    about = {
        "row": HookRow(hook, repository.path_with_namespace, utc_now()) if hook else None,
        "is_linked": is_linked,
        "connection": connection,
    }
    return [Panel(Place.FACT, "webhooks/_of_repository.html", about)]


def hooks_panels(runtime: Runtime, principal: Principal, connection: Connection) -> list[Panel]:
    """Return what needs a person, for the connection's own page."""
    is_left = connection.state == ConnectionState.DISCONNECTED
    if not principal.may(Right.MANAGE_CONNECTIONS) or not (connection.hooks_wanted or is_left):
        return []
    with runtime.database.reading() as session:
        plan = session.get(HookPlan, connection.id)
        mine = (col(Hook.connection_id) == connection.id, _is_left_over() if is_left else _needs())
        needs = session.exec(select(func.count()).select_from(Hook).where(*mine)).one()
    card = Card.from_json(plan.card).at("hooks") if plan and plan.card and not is_left else None
    if not needs and card is None:
        return []
    about = {"needs": needs, "card": card, "is_left": is_left, "interval": read_interval(runtime, connection)}
    return [Panel(Place.NEEDS, "webhooks/_needs.html", about)]


def hooks_check(runtime: Runtime, connection: Connection) -> Check:
    """Return whether GitLab reaches this portal, from what it delivered.

    A repository's activity that no hook reported shows what no test can: tests come from GitLab's web servers, and real
    deliveries from its background workers.
    """
    if not connection.hooks_wanted:
        return skipped("hooks", "hooks_unwanted")
    mine = (col(Hook.connection_id) == connection.id, col(Hook.status) == HookStatus.ACTIVE)
    with runtime.database.reading() as session:
        plan = session.get(HookPlan, connection.id)
        made, newest = session.exec(select(func.count(), func.max(col(Hook.last_delivery_at))).where(*mine)).one()
        since = func.coalesce(col(Hook.last_delivery_at), col(Hook.created_at))
        active = select(func.max(col(Repository.last_activity_at))).join(
            Hook, col(Hook.repository_id) == col(Repository.id)
        )
        unreported = session.exec(active.where(*mine, col(Repository.last_activity_at) > since)).one()
    if plan and plan.card and Card.from_json(plan.card).code.startswith("hook"):
        return warned("hooks", "failure", Card.from_json(plan.card), why=plan.card)
    if not made:
        return skipped("hooks", "hooks_missing")
    if unreported and unreported > (newest or unreported - SILENCE * 2) + SILENCE:
        card = Card("hooks_silent")
        return warned("hooks", "failure", card, why=card.to_json())
    return passed("hooks", "hooks_deliver", at=newest.isoformat()) if newest else passed("hooks", "hooks_made")


def read_interval(runtime: Runtime, connection: Connection) -> str:
    """Return how often the list of repositories is read, which is how late a change without a webhook is noticed."""
    version = parse_version(connection.version_seen)
    if version is not None and version >= FILTERS_BY_UPDATE:
        return f"every {runtime.settings.catalogue_updates_minutes} minutes"
    return f"every {runtime.settings.catalogue_complete_hours} hours"


def _needs() -> ColumnElement[bool]:
    return (col(Hook.status) == HookStatus.REFUSED) | _is_left_over()


def _is_left_over() -> ColumnElement[bool]:
    # No card is stored as JSON's null.
    return (col(Hook.status) == HookStatus.RETIRING) & (cast(col(Hook.card), String) != "null")


def _joined(*columns: Any) -> Any:
    return (
        select(*columns)
        .select_from(Hook)
        .join(Connection, col(Connection.id) == col(Hook.connection_id))
        .outerjoin(Repository, col(Repository.id) == col(Hook.repository_id))
        .outerjoin(
            GitLabGroup,
            (col(GitLabGroup.connection_id) == col(Hook.connection_id))
            & (col(GitLabGroup.gitlab_group_id) == col(Hook.subject_id))
            & (col(Hook.level) == Level.GROUP),
        )
    )


def _visible(principal: Principal, connection: Connection) -> list[ColumnElement[bool]]:
    return [col(Hook.connection_id) == connection.id, visible_to(principal)]


def _count(session: Session, which: list[ColumnElement[bool]], now: datetime) -> dict[str, int]:
    is_repaired = col(Hook.repaired_at) > now - RECENTLY
    is_fine = (col(Hook.status) == HookStatus.ACTIVE) & or_(col(Hook.repaired_at).is_(None), ~is_repaired)
    counted = _joined(
        func.count(),
        func.count().filter(is_fine),
        func.count().filter(is_repaired),
        func.count().filter(_needs()),
        func.count().filter(col(Hook.status) == HookStatus.WANTED, col(Hook.mode) != Mode.OFF),
    )
    names = ("all", "fine", "repaired", "needs", "waiting")
    return dict(zip(names, session.execute(counted.where(*which)).one(), strict=True))
