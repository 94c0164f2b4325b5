"""A site that is connected to a repository of the sandbox, and what a test does on both sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlmodel import col, select

from portal.actor import Principal
from portal.audit.models import AuditEvent
from portal.db import utc_now
from portal.errors import Card
from portal.jobs.testing import run_pending
from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.enablement import set_enabled
from portal.repositories.models import Enablement, Repository
from portal.runtime import Runtime
from portal.sandbox.projects import Project
from portal.sandbox.testing import RunningSandbox
from portal.sync import connecting, files, git
from portal.sync.models import Site, SiteConflict
from portal.sync.store import HERE, create_site, get_site, repository_of
from portal.sync.syncing import enqueue_sync
from tests.support.connected import connect
from tests.support.people import Cast
from tests.support.walkthrough import principal_of


@dataclass
class Synced:
    """One site and its repository."""

    runtime: Runtime
    sandbox: RunningSandbox
    cast: Cast
    slug: str
    repository: Repository
    principal: Principal

    @property
    def row(self) -> Site:
        return get_site(self.runtime, self.principal, self.slug).site

    @property
    def project(self) -> Project:
        return self.sandbox.world.project(self.repository.gitlab_project_id)

    @property
    def own(self) -> git.Repository:
        return repository_of(self.runtime, self.row)

    @property
    def code(self) -> str:
        """The code of what is wrong, with its case; empty if nothing is."""
        card = Card.from_json(self.row.card) if self.row.card else None
        return "/".join(filter(None, [card.code, str(card.params.get("case", ""))])) if card else ""

    def here(self, path: str) -> str | None:
        """The text of a file here; None if there is none."""
        entry = self.own.entry(self.own.head(HERE) or "", files.full_path(self.row, path))
        return self.own.blob(entry.id, 10**6).decode() if entry else None

    def there(self, path: str, ref: str = "") -> str | None:
        """The text of a file at GitLab, with its path in the repository; None if there is none."""
        store, ref = self.sandbox.world.git, ref or f"refs/heads/{self.row.branch}"
        if not store.run(self.project, "ls-tree", ref, "--", path):
            return None
        return store.run(self.project, "show", f"{ref}:{path}") + "\n"

    def heads(self) -> tuple[str | None, str | None]:
        """The commits of both sides."""
        return self.own.head(HERE), self.sandbox.world.git.refs(self.project).get(f"refs/heads/{self.row.branch}")

    def write(self, path: str, text: str) -> None:
        """Change a file here, as the owner does in the browser."""
        entry = None
        if head := self.own.head(HERE):
            entry = self.own.entry(head, files.full_path(self.row, path))
        files.save_file(self.runtime, self.principal, self.slug, path, text, entry.id if entry else None)

    def push(self, changed: dict[str, str | None], **details: Any) -> str:
        """Push files at GitLab, with their paths in the repository."""
        told = {path: None if text is None else text.encode() for path, text in changed.items()}
        return self.sandbox.world.git.commit(self.repository.gitlab_project_id, told, **details)

    def sync(self) -> Site:
        """Sync now, whatever is due."""
        with self.runtime.database.transaction() as session:
            site = session.exec(select(Site).where(Site.slug == self.slug)).one()
            site.due_at = utc_now()
            enqueue_sync(session, site)
        run_pending(self.runtime)
        return self.row

    def conflicts(self) -> list[SiteConflict]:
        with self.runtime.database.reading() as session:
            return list(session.exec(select(SiteConflict).order_by(col(SiteConflict.id))))

    def actions(self) -> list[str]:
        with self.runtime.database.reading() as session:
            found = session.exec(select(AuditEvent.action).order_by(col(AuditEvent.number)))
            return [action for action in found if action.startswith("site.")]


def enabled_repository(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, path: str = "platform/infrastructure/ansible-playbooks"
) -> Repository:
    """Connect, read the catalogue, and enable a repository."""
    connection_id = connect(runtime, sandbox, cast.owner)
    read_catalogue(runtime, connection_id, "job", lambda *_: None)
    with runtime.database.reading() as session:
        found = session.exec(select(Repository).where(col(Repository.path_with_namespace) == path)).one()
    assert found.id is not None
    set_enabled(runtime, principal_of(runtime, cast.owner), [found.id], enabled=True)
    if found.is_empty:  # It was enabled before everything in it was deleted.
        with runtime.database.transaction() as session:
            session.add(Enablement(repository_id=found.id, connection_id=connection_id))
    return found


def synced(
    runtime: Runtime,
    sandbox: RunningSandbox,
    cast: Cast,
    *,
    branch: str = "",
    folder: str = "",
    first: dict[str, str] | None = None,
    **chosen: str,
) -> Synced:
    """Create a site with files, and connect it."""
    repository = enabled_repository(runtime, sandbox, cast, **chosen)
    principal = principal_of(runtime, cast.owner)
    made = create_site(runtime, principal, "Handbook")
    found = Synced(runtime, sandbox, cast, made.slug, repository, principal)
    for path, text in (first or {}).items():
        found.write(path, text)
    connect_site(found, branch or repository.default_branch or "main", folder)
    return found


def connect_site(found: Synced, branch: str, folder: str = "", *, keeps: bool = True) -> connecting.Preview:
    """Compare, and connect as the comparison says."""
    runtime, principal = found.runtime, found.principal
    job = connecting.request_preview(runtime, principal, found.slug, found.repository.id or 0, branch, folder)
    run_pending(runtime)
    row, _, job = connecting.load_preview(runtime, principal, found.slug, job.public_id)
    assert job.failure is None, job.failure
    preview = connecting.compare(runtime, row.site, job)
    connecting.connect(runtime, principal, found.slug, job.public_id, preview.digest, keeps=keeps)
    run_pending(runtime)
    return preview
