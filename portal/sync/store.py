"""Sites of an organization: look up (within the caller's rights), create, rename and delete them."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, and_, exists, func, or_, true
from sqlmodel import Session, col, select

from portal import audit
from portal.accounts.principal import require_right_now
from portal.actor import Principal, Right
from portal.connections.models import Connection, name_key_of
from portal.credentials.models import Credential
from portal.db import utc_now
from portal.errors import Conflict, InvalidInput, NotFound
from portal.private import private_folder
from portal.repositories.models import Repository, visible_to
from portal.runtime import Runtime
from portal.settings import Settings
from portal.sync import git
from portal.sync.git import Person
from portal.sync.models import Resolution, Site, SiteConflict, SiteState

HERE = "refs/heads/here"
MAX_NAME = 100
MAX_SLUG = 40
SHOWN = 200
# How long a page waits for a sync that is under way, and how often it looks.
PATIENCE_SECONDS = 5.0
LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class SiteRow:
    """A site in the list, with where it is synced to and how many files need a decision."""

    site: Site
    repository: Repository | None
    connection: Connection | None
    conflicts: int


def visible_sites(principal: Principal) -> ColumnElement[bool]:
    """Return the condition on `site` for what this person may see.

    A team lead sees the sites of repositories in their groups, and those of their own that belong to no repository.
    """
    mine = col(Site.organization_id) == principal.organization_id
    if principal.sees_all_groups:
        return mine
    inside = exists(
        select(Repository.id)
        .join(Connection, col(Connection.id) == col(Repository.connection_id))
        .where(col(Repository.id) == col(Site.repository_id), visible_to(principal))
    )
    own = and_(col(Site.created_by_user_id) == principal.user_id, col(Site.state) == SiteState.LOCAL)
    return and_(mine, or_(own, inside))


def list_sites(runtime: Runtime, principal: Principal, query: str = "") -> list[SiteRow]:
    """Return the sites this person may see, by name; what needs a person comes first."""
    open_conflicts = (
        select(func.count())
        .where(col(SiteConflict.site_id) == col(Site.id), col(SiteConflict.resolution) == Resolution.OPEN)
        .scalar_subquery()
    )
    statement = (
        select(Site, Repository, Connection, open_conflicts)
        .outerjoin(Repository, col(Repository.id) == col(Site.repository_id))
        .outerjoin(Connection, col(Connection.id) == col(Site.connection_id))
        .where(visible_sites(principal), _named(query))
        .order_by(func.lower(Site.name), col(Site.id))
        .limit(SHOWN)
    )
    with runtime.database.reading() as session:
        rows = [SiteRow(*row) for row in session.exec(statement)]
    return sorted(rows, key=lambda row: not (row.conflicts or row.site.state == SiteState.STOPPED))


def _named(query: str) -> ColumnElement[bool]:
    text = query.strip().lower()[:MAX_NAME]
    return col(Site.name_key).contains(name_key_of(text), autoescape=True) if text else true()


def find_site(session: Session, principal: Principal, slug: str, *, is_locked: bool = False) -> Site:
    """Return a site this person may see.

    Raises:
        NotFound: there is none.
    """
    statement = select(Site).where(col(Site.slug) == slug, visible_sites(principal))
    found = session.exec(statement.with_for_update(of=Site) if is_locked else statement).first()
    if found is None:
        raise NotFound
    return found


def find_site_to_change(session: Session, principal: Principal, slug: str) -> Site:
    """Return a site to be changed, in the transaction that changes it, locked until its end.

    Raises:
        NotFound: this person may not see it, or may not change anything, or no longer may.
    """
    return find_site(session, require_right_now(session, principal, Right.ENABLE_REPOSITORIES), slug, is_locked=True)


def get_site(runtime: Runtime, principal: Principal, slug: str) -> SiteRow:
    """Return a site as `list_sites` does.

    Raises:
        NotFound: there is none that this person may see.
    """
    with runtime.database.reading() as session:
        site = find_site(session, principal, slug)
        repository = session.get(Repository, site.repository_id) if site.repository_id else None
        connection = session.get(Connection, site.connection_id) if site.connection_id else None
        mine = (col(SiteConflict.site_id) == site.id, col(SiteConflict.resolution) == Resolution.OPEN)
        conflicts = session.exec(select(func.count()).select_from(SiteConflict).where(*mine)).one()
    return SiteRow(site, repository, connection, conflicts)


def create_site(runtime: Runtime, principal: Principal, name: str) -> Site:
    """Create an empty site that is kept here only.

    Raises:
        InvalidInput: the name is empty, too long or taken.
    """
    with runtime.database.transaction() as session:
        principal = require_right_now(session, principal, Right.ENABLE_REPOSITORIES)
        name = _check_name(session, principal, name)
        site = Site(
            organization_id=principal.organization_id,
            slug=_free_slug(session, name),
            name=name,
            name_key=name_key_of(name),
            created_by_user_id=principal.user_id,
        )
        session.add(site)
        session.flush()
        # Before the row is stored: without git there is no site.
        repository_of(runtime, site).create()
        audit.record(session, principal.actor, "site.created", site.target)
    return site


def rename_site(runtime: Runtime, principal: Principal, slug: str, name: str) -> None:
    """Change the name; addresses keep the slug.

    Raises:
        InvalidInput: the name is empty, too long or taken.
    """
    with runtime.database.transaction() as session:
        site = find_site_to_change(session, principal, slug)
        name, old = _check_name(session, principal, name, besides=site.id), site.name
        if name != old:
            site.name, site.name_key = name, name_key_of(name)
            audit.record(session, principal.actor, "site.renamed", site.target, old=old)


def delete_site(runtime: Runtime, principal: Principal, slug: str, confirmation: str) -> None:
    """Delete a site with its files and their history here; what is at GitLab stays.

    Raises:
        InvalidInput: its name was not typed.
        SiteBusy: it is being synced.
    """
    site = get_site(runtime, principal, slug).site
    with holding(runtime, site, "sync", patience=PATIENCE_SECONDS), holding(runtime, site, "edit"):
        with runtime.database.transaction() as session:
            site = find_site_to_change(session, principal, slug)
            if confirmation.strip() != site.name:
                raise InvalidInput("Type the name of the site to delete it.")
            audit.record(session, principal.actor, "site.deleted", site.target)
            session.delete(site)
        shutil.rmtree(path_of(runtime, site), ignore_errors=True)


def _check_name(session: Session, principal: Principal, text: str, besides: int | None = None) -> str:
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name or len(name) > MAX_NAME or not name.isprintable():
        sentence = f"Enter a name of 1 to {MAX_NAME} characters."
        raise InvalidInput(sentence, field_errors={"name": sentence})
    taken = select(Site.id).where(
        Site.organization_id == principal.organization_id,
        Site.name_key == name_key_of(name),
        Site.id != (besides or 0),
    )
    if session.exec(taken).first():
        sentence = f"“{name}” is taken. Choose another name."
        raise InvalidInput(sentence, field_errors={"name": sentence})
    return name


def _free_slug(session: Session, name: str) -> str:
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    base = re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:MAX_SLUG].strip("-") or "site"
    slug = base if base != "new" else "new-site"
    while session.exec(select(Site.id).where(col(Site.slug) == slug)).first() is not None:
        # Random, not counted: the slug is in addresses, and must not reveal how many others there are.
        slug = f"{base}-{secrets.token_hex(3)}"
    return slug


# On the disk.


def path_of(runtime: Runtime, site: Site) -> Path:
    """Return where the site's repository is."""
    return folder_of_sites(runtime.settings) / f"{site.folder_name}.git"


def folder_of_sites(settings: Settings) -> Path:
    """Return where the repositories of all sites are."""
    return settings.data_dir.resolve() / "sites"


def repository_of(runtime: Runtime, site: Site, *locks: int) -> git.Repository:
    """Return the site's repository; whoever changes it holds a lock."""
    return git.Repository(path_of(runtime, site), locks)


class SiteBusy(Conflict):
    """A sync of the site is under way, and a page does not wait for it."""

    sentence = "The site is being synced right now. Try again in a few seconds."


@contextmanager
def holding(runtime: Runtime, site: Site, name: str, *, patience: float | None = None) -> Iterator[git.Repository]:
    """Yield the site's repository while no one else holds this lock, on all processes of this machine.

    `edit` is held while the branch `here` moves, for milliseconds; `sync` for a whole run, which talks to GitLab. Git's
    children inherit it: one that outlives a killed process keeps others out until it has ended. So the holder of the
    lock knows that the lock files of git that are left over belong to no one.

    Raises:
        SiteBusy: someone else still holds it after these seconds; None: wait as long as it takes.
    """
    path = path_of(runtime, site)
    private_folder(path.parent)
    file = os.open(path.with_suffix(f".{name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = None if patience is None else time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if end is None else fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if end is not None and time.monotonic() > end:
                    raise SiteBusy from None
                time.sleep(LOOK_SECONDS)
        stale = (
            [path / f"{HERE}.lock"]
            if name == "edit"
            else [
                *path.glob("refs/gitlab/**/*.lock"),
                *path.glob("refs/parked/**/*.lock"),
                path / "packed-refs.lock",
                *path.glob("objects/pack/tmp_*"),
                *path.glob("objects/pack/*.lock"),
                *path.glob("*.lock"),
            ]
        )
        for lock in stale:
            lock.unlink(missing_ok=True)
        yield git.Repository(path, (file,))
    finally:
        os.close(file)


def committer_of(session: Session, connection: Connection | None) -> Person:
    """Return who commits: the service user, by the address that GitLab gives every user, or the portal."""
    found = None
    if connection is not None:
        found = session.exec(select(Credential).where(Credential.connection_id == connection.id)).first()
    if connection is None or found is None:
        return Person("Gatehouse", "")
    host = urlsplit(connection.external_url).hostname or "gitlab.invalid"
    # docs.gitlab.com, "Use an automatically-generated private commit email".
    address = f"{found.gitlab_user_id}-{found.gitlab_username}@users.noreply.{host}"
    return Person(found.gitlab_name or found.gitlab_username, address)


def note_head(session: Session, repository: git.Repository, site: Site) -> None:
    """Store what lists show of the newest commit here."""
    head = repository.head(HERE)
    if head is None or head == site.head:
        return
    site.head = head
    told = repository.run("log", "-1", "--format=%ct", head).decode().strip()
    site.head_at = datetime.fromtimestamp(int(told), UTC)
    site.files = sum(1 for _ in repository.entries(head, site.folder, is_deep=True))


def mark_due(site: Site, at: datetime | None = None) -> None:
    """Have a connected site synced, at a time or now."""
    if site.is_connected:
        at = at or utc_now()
        site.due_at = min(site.due_at, at) if site.due_at else at
        site.demands += 1
