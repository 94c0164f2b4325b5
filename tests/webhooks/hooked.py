"""A connection with enabled repositories whose webhooks are compared with the sandbox's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlmodel import col, select

from portal.audit.models import AuditEvent
from portal.connections.models import Connection
from portal.db import utc_now
from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.enablement import set_enabled
from portal.repositories.models import Repository
from portal.runtime import Runtime
from portal.sandbox.hooks import Hook as AtGitLab
from portal.sandbox.testing import RunningSandbox
from portal.webhooks.models import Hook, HookPlan, HookStatus
from portal.webhooks.reconcile import Reconciler, reconcile_hooks
from tests.support.connected import connect
from tests.support.people import Cast
from tests.support.walkthrough import principal_of


@dataclass
class Hooked:
    """One connection, and its hooks on both sides."""

    runtime: Runtime
    sandbox: RunningSandbox
    cast: Cast
    connection_id: int

    def run(self, hook_id: int | None = None) -> Reconciler:
        return reconcile_hooks(self.runtime, self.connection_id, hook_id, proof_seconds=5.0)

    def rows(self) -> list[Hook]:
        with self.runtime.database.reading() as session:
            return list(session.exec(select(Hook).order_by(col(Hook.id))))

    def plan(self) -> HookPlan:
        with self.runtime.database.reading() as session:
            return session.get_one(HookPlan, self.connection_id)

    def at_gitlab(self) -> list[AtGitLab]:
        """Every hook of every enabled project, in the order of the rows."""
        return [hook for row in self.rows() for hook in self.of(row)]

    def of(self, row: Hook) -> list[AtGitLab]:
        return self.sandbox.world.hooks.of_project(row.subject_id)

    def change(self, table: type[Any] = Hook, **values: Any) -> None:
        """Change columns of every row."""
        with self.runtime.database.transaction() as session:
            for row in session.exec(select(table)):
                for name, value in values.items():
                    setattr(row, name, value)

    def change_one(self, hook: AtGitLab, **values: Any) -> None:
        """Change columns of the row of one project's hook."""
        with self.runtime.database.transaction() as session:
            row = session.exec(select(Hook).where(Hook.subject_id == hook.project_id)).one()
            for name, value in values.items():
                setattr(row, name, value)

    def deliver(self, row: Hook) -> None:
        """Store that a valid delivery came, as the intake does."""
        with self.runtime.database.transaction() as session:
            found = session.get_one(Hook, row.id)
            found.last_delivery_at, found.verified_by = utc_now(), "signature"
            found.proved_at, found.status, found.refused_at = found.proved_at or utc_now(), HookStatus.ACTIVE, None

    def enable(self, count: int, *, enabled: bool = True) -> None:
        """Enable the first repositories that the service user maintains, or disable them."""
        with self.runtime.database.reading() as session:
            usable = (col(Repository.unavailable_reason) == "", col(Repository.access_level) >= 40)
            chosen = session.exec(select(Repository.id).where(*usable).order_by(col(Repository.id)).limit(count))
            ids = [number for number in chosen if number]
        set_enabled(self.runtime, principal_of(self.runtime, self.cast.owner), ids, enabled=enabled)

    def changes_asked(self) -> list[tuple[str, str]]:
        """Every request to GitLab that changes a hook since the log was cleared."""
        seen = self.sandbox.requests.all("/api/v4/projects/*/hooks*")
        return [(item.method, item.path) for item in seen if item.method != "GET"]

    def actions(self) -> list[str]:
        with self.runtime.database.reading() as session:
            found = session.exec(select(AuditEvent.action).order_by(col(AuditEvent.number)))
            return [action for action in found if action.startswith("hook")]


def hooked(
    runtime: Runtime,
    sandbox: RunningSandbox,
    cast: Cast,
    count: int,
    version: str = "19.0.0",
    connection_id: int | None = None,
) -> Hooked:
    """Connect, read the catalogue, and enable so many repositories; one hook has proved that GitLab delivers."""
    sandbox.world.settings.allow_local_hooks = True
    connection_id = connection_id or connect(runtime, sandbox, cast.owner)
    found = Hooked(runtime, sandbox, cast, connection_id)
    found.change(Connection, hooks_wanted=True)
    read_catalogue(runtime, connection_id, "job", lambda *_: None)
    found.change(Connection, version_seen=version)
    found.enable(count)
    return found


def without_tests(sandbox: RunningSandbox) -> None:
    """Take GitLab's tests of hooks away: nothing listens at this portal's address, so they would fail."""
    sandbox.faults.add("*/test/*", status=404, body={"message": "404 Not Found"})


def proved(runtime: Runtime, sandbox: RunningSandbox, cast: Cast, count: int) -> Hooked:
    """The same, with every hook made."""
    found = hooked(runtime, sandbox, cast, count)
    without_tests(sandbox)
    found.run()
    found.deliver(found.rows()[0])
    found.run()
    sandbox.requests.clear()
    return found
