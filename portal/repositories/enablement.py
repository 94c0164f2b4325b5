"""Enable and disable repositories: desired state in the database, one row each, in one short transaction."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import delete
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col

from portal import audit
from portal.accounts.principal import require_right_now
from portal.actor import Principal, Right
from portal.db import utc_now
from portal.repositories.models import Enablement, RepositoryState
from portal.repositories.selection import Row, get_rows
from portal.runtime import Runtime

MAX_AT_ONCE = 1000


class ItemResult(StrEnum):
    """The outcome for one repository of a request."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Change:
    """What a request did: each repository with its result; `undo` says what the opposite would have to change."""

    enabled: bool
    results: list[tuple[Row, ItemResult]]

    @property
    def changed(self) -> list[Row]:
        """The repositories that changed."""
        return [row for row, result in self.results if result == ItemResult.CHANGED]

    @property
    def refused(self) -> list[Row]:
        """The repositories that cannot be enabled."""
        return [row for row, result in self.results if result == ItemResult.UNAVAILABLE]

    @property
    def sentence(self) -> str:
        """What happened, in one sentence."""
        done = "enabled" if self.enabled else "disabled"
        changed = self.changed
        names = changed[0].repository.path_with_namespace if len(changed) == 1 else f"{len(changed)} repositories"
        text = f"{names} {done}." if changed else f"Nothing to change: already {done}."
        if self.refused:
            text += f" {len(self.refused)} cannot be enabled."
        return text

    @property
    def undo_ids(self) -> list[int]:
        """Our ids of what undo has to change back."""
        return [row.repository.id for row in self.changed if row.repository.id is not None]


def enable_repositories(runtime: Runtime, principal: Principal, repository_ids: list[int]) -> Change:
    """Enable those that can be; ids this person may not see are ignored like ids that do not exist."""
    with runtime.database.transaction() as session:
        principal = require_right_now(session, principal, Right.ENABLE_REPOSITORIES)
        rows = get_rows(session, principal, repository_ids[:MAX_AT_ONCE])
        results = [(row, _enable(session, principal, row)) for row in rows]
        _record(session, principal, "repository.enabled", results)
        return Change(True, _read_again(session, principal, results))


def disable_repositories(runtime: Runtime, principal: Principal, repository_ids: list[int]) -> Change:
    """Remove the desired state; this deletes nothing in GitLab."""
    with runtime.database.transaction() as session:
        principal = require_right_now(session, principal, Right.ENABLE_REPOSITORIES)
        rows = get_rows(session, principal, repository_ids[:MAX_AT_ONCE])
        results = [(row, _disable(session, row)) for row in rows]
        _record(session, principal, "repository.disabled", results)
        return Change(False, _read_again(session, principal, results))


def _enable(session: Session, principal: Principal, row: Row) -> ItemResult:
    if row.enablement:
        return ItemResult.UNCHANGED
    if row.reason:
        return ItemResult.UNAVAILABLE
    values = {
        "repository_id": row.repository.id,
        "connection_id": row.repository.connection_id,
        "enabled_by_user_id": principal.user_id,
        "state": RepositoryState.ENABLED,
        "enabled_at": utc_now(),
    }
    dialect = sqlite if session.connection().dialect.name == "sqlite" else postgresql
    # Someone else may enable it at the same moment: that is not an error, and not our change.
    statement = dialect.insert(Enablement).values(values).on_conflict_do_nothing().returning(col(Enablement.id))
    made = session.execute(statement).first()
    return ItemResult.CHANGED if made else ItemResult.UNCHANGED


def _disable(session: Session, row: Row) -> ItemResult:
    if not row.enablement:
        return ItemResult.UNCHANGED
    session.execute(delete(Enablement).where(col(Enablement.id) == row.enablement.id))
    return ItemResult.CHANGED


def _read_again(
    session: Session, principal: Principal, results: list[tuple[Row, ItemResult]]
) -> list[tuple[Row, ItemResult]]:
    session.flush()
    session.expire_all()
    ids = [row.repository.id for row, _ in results if row.repository.id is not None]
    now = {row.repository.id: row for row in get_rows(session, principal, ids)}
    return [(now[row.repository.id], result) for row, result in results]


def _record(session: Session, principal: Principal, action: str, results: list[tuple[Row, ItemResult]]) -> None:
    for row, result in results:
        if result == ItemResult.CHANGED:
            path = audit.Foreign(row.repository.path_with_namespace)
            target = audit.Target(principal.organization_id, "repository", row.repository.id, path)
            project_id = row.repository.gitlab_project_id
            audit.record(session, principal.actor, action, target, path=path, gitlab_project_id=project_id)
