"""Which webhooks a connection needs: from what is enabled, its services, and how hooks are made."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, null, select
from sqlmodel import Session, col

from portal.connections.models import Connection, ConnectionState
from portal.credentials.store import get_credential
from portal.db import insert_into
from portal.gitlab.hooks import GROUP_EVENTS, Level
from portal.repositories.models import Enablement, GitLabGroup, Repository
from portal.repositories.services import services_of
from portal.runtime import Runtime
from portal.webhooks.differences import PATH
from portal.webhooks.models import Hook, HookPlan, HookStatus, Mode

BATCH = 500
# By service, as GitLab names them.
EVENTS_OF = {
    "repositories": ("push_events", "tag_push_events"),
    "merge_requests": ("merge_requests_events", "note_events"),
    "issues": ("issues_events", "confidential_issues_events", "note_events", "confidential_note_events"),
}
# A system hook has no events of issues, and reports renames and memberships whatever is switched on.
SYSTEM_EVENTS_OF = {
    "repositories": ("push_events", "tag_push_events", "repository_update_events"),
    "merge_requests": ("merge_requests_events",),
}
MADE = (HookStatus.UNPROVED, HookStatus.ACTIVE)
Key = tuple[str, int]


@dataclass(frozen=True)
class DesiredHook:
    """One hook that should exist; `repository_id` is ours."""

    repository_id: int | None
    events: list[str]


def events_of(level: Level, services: Collection[str]) -> list[str]:
    """Return the events that a hook reports for these services."""
    table = SYSTEM_EVENTS_OF if level == Level.SYSTEM else EVENTS_OF
    names = [name for service in services for name in table.get(service, ())]
    return sorted({*names, *(GROUP_EVENTS if level == Level.GROUP else ())})


def url_of(runtime: Runtime, public_id: str) -> str:
    """Return where GitLab delivers."""
    return f"{runtime.settings.base_url}{PATH}{public_id}"


def plan_of(session: Session, connection_id: int) -> HookPlan:
    """Return how a connection's hooks are made; a new row if no one has chosen yet."""
    found = session.get(HookPlan, connection_id)
    if found is None:
        found = HookPlan(connection_id=connection_id)
        session.add(found)
        session.flush()
    return found


def fingerprint_of(runtime: Runtime, session: Session, connection: Connection) -> str:
    """Return what changes whenever another comparison is due at once: address, services, user, what is enabled."""
    plan = session.get(HookPlan, connection.id)
    credential = get_credential(session, connection.id or 0)
    mine = col(Enablement.connection_id) == connection.id
    enabled = session.execute(select(func.count(), func.max(col(Enablement.id))).where(mine)).one()
    chosen = select(col(Enablement.repository_id), col(Enablement.services)).where(
        mine, col(Enablement.services).is_not(null())
    )
    off = select(func.count()).where(col(Hook.connection_id) == connection.id, col(Hook.mode) != Mode.AUTOMATIC)
    about: list[Any] = [
        runtime.settings.base_url,
        connection.api_url,
        is_wanted(connection),
        sorted(connection.services),
        plan.level if plan else Level.PROJECT,
        connection.version_seen,
        credential.gitlab_user_id if credential else None,
        list(enabled),
        sorted((number, services) for number, services in session.execute(chosen)),
        session.execute(off).scalar_one(),
    ]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def is_wanted(connection: Connection) -> bool:
    """Return whether a connection should have hooks."""
    return connection.hooks_wanted and connection.state != ConnectionState.DISCONNECTED


def sync_rows(runtime: Runtime, connection_id: int) -> None:
    """Bring the rows in line with what is wanted; GitLab is not asked."""
    with runtime.database.reading() as session:
        connection = session.get_one(Connection, connection_id)
        desired = _desired(session, connection) if is_wanted(connection) else {}
        known = {(hook.level, hook.subject_id): hook for hook in _hooks(session, connection_id)}
    new = [key for key in desired if key not in known]
    changed = [hook.id for key, hook in known.items() if _update(hook, desired.get(key))]
    for at in range(0, len(new), BATCH):
        with runtime.database.transaction() as session:
            rows = [
                Hook(
                    connection_id=connection_id,
                    level=level,
                    subject_id=subject_id,
                    repository_id=desired[level, subject_id].repository_id,
                    events=desired[level, subject_id].events,
                ).model_dump(exclude={"id"})
                for level, subject_id in new[at : at + BATCH]
            ]
            session.connection().execute(insert_into(session, Hook).on_conflict_do_nothing(), rows)
    for at in range(0, len(changed), BATCH):
        with runtime.database.transaction() as session:
            batch = select(Hook).where(col(Hook.id).in_(changed[at : at + BATCH])).with_for_update()
            for hook in session.execute(batch).scalars():
                _update(hook, desired.get((hook.level, hook.subject_id)))


def _update(hook: Hook, one: DesiredHook | None) -> bool:
    """Change a row to what is wanted of it; return whether anything changed."""
    before = (hook.status, hook.events)
    if one is None or hook.mode == Mode.OFF:
        is_off = hook.mode == Mode.OFF and one is not None and hook.gitlab_hook_id is None and not hook.intent
        hook.status = HookStatus.WANTED if is_off else HookStatus.RETIRING
    else:
        hook.events = one.events
        if hook.status == HookStatus.RETIRING:
            hook.status = HookStatus.WANTED
    return (hook.status, hook.events) != before


def _hooks(session: Session, connection_id: int) -> Iterable[Hook]:
    return session.execute(select(Hook).where(col(Hook.connection_id) == connection_id)).scalars()


def _desired(session: Session, connection: Connection) -> dict[Key, DesiredHook]:
    plan = session.get(HookPlan, connection.id)
    level = Level(plan.level) if plan else Level.PROJECT
    made = select(col(Hook.subject_id)).where(
        col(Hook.connection_id) == connection.id, col(Hook.level) == level, col(Hook.status).in_(MADE)
    )
    # Until the wider hook works, the hooks it replaces stay: no event is lost in between.
    working = set(session.execute(made).scalars()) if level != Level.PROJECT else set()
    if level == Level.SYSTEM:
        wide: dict[Key, DesiredHook] = {
            (Level.SYSTEM, 0): DesiredHook(None, events_of(Level.SYSTEM, connection.services))
        }
        if working:
            return wide
    else:
        wide = {}
    statement = (
        select(
            col(Repository.id),
            col(Repository.gitlab_project_id),
            col(Repository.namespace_path),
            col(Enablement.services),
        )
        .join(Enablement, col(Enablement.repository_id) == col(Repository.id))
        .where(col(Enablement.connection_id) == connection.id, col(Repository.missing_since).is_(None))
        .order_by(col(Repository.id))
    )
    enabled = session.execute(statement).all()
    covered: set[str] = set()
    if level == Level.GROUP:
        counts = Counter(path.partition("/")[0] for _, _, path, _ in enabled)
        several = [path for path, count in counts.items() if count > 1]
        # A group's hook reports what any of its repositories needs.
        needed: dict[str, set[str]] = {}
        for _, _, path, services in enabled:
            needed.setdefault(path.partition("/")[0], set()).update(services_of(connection, services))
        top = select(col(GitLabGroup.full_path), col(GitLabGroup.gitlab_group_id)).where(
            col(GitLabGroup.connection_id) == connection.id,
            col(GitLabGroup.full_path).in_(several),
            col(GitLabGroup.kind) == "group",
        )
        for path, group_id in session.execute(top):
            wide[Level.GROUP, group_id] = DesiredHook(None, events_of(Level.GROUP, needed[path]))
            if group_id in working:
                covered.add(path)
    return wide | {
        (Level.PROJECT, project_id): DesiredHook(
            repository_id, events_of(Level.PROJECT, services_of(connection, services))
        )
        for repository_id, project_id, path, services in enabled
        if path.partition("/")[0] not in covered
    }
