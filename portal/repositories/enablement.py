"""Enable and disable repositories: desired state, one row each, in one short transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete
from sqlmodel import Session, col

from portal import audit
from portal.accounts.principal import require_right_now
from portal.actor import Principal, Right
from portal.db import insert_into, insert_unless_there, utc_now
from portal.repositories.models import Enablement, HeldBack, ItemResult, Repository, RepositoryState, keep_counts
from portal.repositories.selection import Row, get_rows
from portal.runtime import Runtime

MAX_AT_ONCE = 1000


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


def set_enabled(runtime: Runtime, principal: Principal, repository_ids: list[int], *, enabled: bool) -> Change:
    """Enable those that can be, or disable them; this changes nothing in GitLab.

    Ids this person may not see are ignored like ids that do not exist.
    """
    with runtime.database.transaction() as session:
        principal = require_right_now(session, principal, Right.ENABLE_REPOSITORIES)
        chosen = repository_ids[:MAX_AT_ONCE]
        with keep_counts(session, col(Repository.id).in_(chosen)):
            rows = get_rows(session, principal, chosen)
            results = change_rows(session, principal, rows, enabled=enabled, at=utc_now())
        session.expire_all()
        rows = get_rows(session, principal, list(results))
        return Change(enabled, [(row, results[row.repository.id or 0]) for row in rows])


def change_rows(
    session: Session, principal: Principal, rows: list[Row], *, enabled: bool, at: datetime
) -> dict[int, ItemResult]:
    """Change some repositories at one time, within `keep_counts`, and return the result for each by our id."""
    results = {}
    for row in rows:
        repository, result = row.repository, ItemResult.UNCHANGED
        if enabled and row.reason and not row.enablement:
            result = ItemResult.UNAVAILABLE
        elif enabled and not row.enablement:
            values = {
                "repository_id": repository.id,
                "connection_id": repository.connection_id,
                "enabled_by_user_id": principal.user_id,
                "state": RepositoryState.ENABLED,
                "enabled_at": at,
            }
            # Someone else may enable it at the same moment: that is not an error, and not our change.
            if insert_unless_there(session, Enablement, values):
                result = ItemResult.CHANGED
            session.execute(delete(HeldBack).where(col(HeldBack.repository_id) == repository.id))
        elif enabled and row.enablement and row.enablement.rule_id is not None:
            row.enablement.rule_id, row.enablement.enabled_by_user_id = None, principal.user_id
        elif not enabled and row.enablement:
            session.execute(delete(Enablement).where(col(Enablement.id) == row.enablement.id))
            result = ItemResult.CHANGED
        if not enabled:
            # Also where nothing was enabled: no rule is to enable it later.
            held = {
                "repository_id": repository.id,
                "connection_id": repository.connection_id,
                "user_id": principal.user_id,
                "at": at,
            }
            session.execute(insert_into(session, HeldBack).values(held).on_conflict_do_nothing())
        results[repository.id or 0] = result
        if result == ItemResult.CHANGED:
            record_change(session, principal, repository, enabled=enabled)
    return results


def record_change(session: Session, principal: Principal, repository: Repository, *, enabled: bool) -> None:
    """Write to the audit log that a repository was enabled or disabled."""
    path = audit.Foreign(repository.path_with_namespace)
    audit.record(
        session,
        principal.actor,
        "repository.enabled" if enabled else "repository.disabled",
        audit.Target(principal.organization_id, "repository", repository.id, path),
        path=path,
        gitlab_project_id=repository.gitlab_project_id,
    )
