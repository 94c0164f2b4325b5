"""Connect a site to a repository, after showing which files that replaces; and disconnect it, which keeps the files."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, tuple_
from sqlmodel import Session, col, select

from portal import audit
from portal.accounts.principal import require_right_now
from portal.actor import Principal, Right
from portal.connections.models import Connection, ConnectionState
from portal.connections.store import open_host_session
from portal.credentials import AccessSource, AccessUnavailable
from portal.db import utc_now
from portal.errors import Conflict, InvalidInput, NotFound, UpstreamFailed
from portal.gitlab.answers import GitLabError, UnexpectedStatus
from portal.gitlab.merge_requests import BranchClient
from portal.jobs import Job, JobContext, RetryLater, enqueue
from portal.jobs.service import find_job
from portal.logs import get_logger
from portal.net import OutboundError, Purpose
from portal.repositories.catalogue.rows import repository_row, write_repositories
from portal.repositories.enablement import set_enabled
from portal.repositories.models import Enablement, GitLabGroup, Repository, granted_namespaces, visible_to
from portal.runtime import Runtime
from portal.sync import git
from portal.sync.files import GITLAB, check_path
from portal.sync.git import GitMissing, Person
from portal.sync.models import Site, SiteState
from portal.sync.remote import RemoteFailed, open_remote
from portal.sync.store import (
    HERE,
    MAX_NAME,
    PATIENCE_SECONDS,
    SiteRow,
    committer_of,
    find_site,
    find_site_to_change,
    get_site,
    holding,
    mark_due,
    note_head,
    repository_of,
)
from portal.sync.syncing import FETCHED, PROPOSED, TO_SEND, enqueue_sync

log = get_logger(__name__)
PREVIEW = "sync.preview"
IN_USE = (ConnectionState.CONNECTED, ConnectionState.NEEDS_ATTENTION)
PICKED = 50
MAX_NAMESPACES = 500
VISIBILITIES = ("private", "internal", "public")
MAINTAINER = 40
MAX_WORDS = 10
NAMES_SHOWN = 200


@dataclass(frozen=True)
class Provider:
    """A connection that a site can be connected through."""

    connection: Connection
    enabled: int


@dataclass(frozen=True)
class Choice:
    """A repository that can be picked."""

    repository: Repository
    connection: Connection


@dataclass(frozen=True)
class Named:
    """A file in the preview."""

    path: str
    # When it was changed here, if that was after it was changed at GitLab.
    newer_here: datetime | None = None


@dataclass(frozen=True)
class Preview:
    """What connecting would do to the files here.

    Attributes:
        is_new: GitLab has no such branch yet: nothing is replaced, the files from here are sent there.
        digest: of everything that it says; connecting is refused if it would be another one by then.
    """

    replaced: list[Named]
    removed: list[Named]
    added: list[Named]
    same: int
    here: int
    gitlab: int
    is_new: bool
    start: str
    digest: str

    @property
    def loses_nothing(self) -> bool:
        """Whether nothing that is here changes."""
        return not (self.replaced or self.removed)


def list_providers(runtime: Runtime, principal: Principal) -> list[Provider]:
    """Return the connections in use, each with how many enabled repositories this person may pick from."""
    with runtime.database.reading() as session:
        statement = (
            select(Connection, func.count(col(Enablement.id)))
            .join(Repository, col(Repository.connection_id) == col(Connection.id))
            .join(Enablement, col(Enablement.repository_id) == col(Repository.id))
            .where(visible_to(principal), col(Connection.state).in_(IN_USE))
            .group_by(col(Connection.id))
            .order_by(func.lower(Connection.display_name), col(Connection.id))
        )
        return [Provider(connection, count) for connection, count in session.exec(statement)]


def list_choices(runtime: Runtime, principal: Principal, slug: str, query: str) -> list[Choice]:
    """Return the enabled repositories of a connection that this person may pick, by path."""
    statement = (
        select(Repository, Connection)
        .join(Connection, col(Connection.id) == col(Repository.connection_id))
        .join(Enablement, col(Enablement.repository_id) == col(Repository.id))
        .where(visible_to(principal), col(Connection.slug) == slug, col(Connection.state).in_(IN_USE))
    )
    for word in query.lower().split()[:MAX_WORDS]:
        statement = statement.where(col(Repository.search_text).contains(word, autoescape=True))
    with runtime.database.reading() as session:
        found = session.exec(statement.order_by(col(Repository.path_with_namespace)).limit(PICKED))
        return [Choice(*row) for row in found]


def find_choice(session: Session, principal: Principal, repository_id: int) -> Choice:
    """Return an enabled repository that this person may pick.

    Raises:
        NotFound: there is none.
    """
    statement = (
        select(Repository, Connection)
        .join(Connection, col(Connection.id) == col(Repository.connection_id))
        .join(Enablement, col(Enablement.repository_id) == col(Repository.id))
        .where(visible_to(principal), col(Repository.id) == repository_id, col(Connection.state).in_(IN_USE))
    )
    found = session.exec(statement).first()
    if found is None:
        raise NotFound
    return Choice(*found)


def list_branches(runtime: Runtime, choice: Choice) -> list[str]:
    """Return names of branches at GitLab, the default one first; fewer or none if it does not answer."""
    connection, repository = choice.connection, choice.repository
    names: list[str] = []
    try:
        with open_host_session(runtime, connection, purpose=Purpose.PEOPLE) as http:
            client = BranchClient(http, AccessSource(runtime, connection.id or 0, "branches of a repository"), tries=1)
            names = [branch.name for branch in client.branches(repository.gitlab_project_id)]
    except (GitLabError, OutboundError, AccessUnavailable):
        log.info("branches_not_listed", repository=repository.id)
    names = [name for name in names if git.is_branch_name(name)]
    return sorted(names, key=lambda name: (name != repository.default_branch, name))


def list_namespaces(runtime: Runtime, principal: Principal, slug: str) -> list[GitLabGroup]:
    """Return the groups of a connection in which this person may have a repository created, by path."""
    statement = (
        select(GitLabGroup)
        .join(Connection, col(Connection.id) == col(GitLabGroup.connection_id))
        .where(
            col(Connection.organization_id) == principal.organization_id,
            col(Connection.slug) == slug,
            col(Connection.state).in_(IN_USE),
            col(GitLabGroup.kind) == "group",
        )
        .order_by(col(GitLabGroup.full_path))
    )
    if not principal.sees_all_groups:
        granted = granted_namespaces(principal)
        key = tuple_(col(GitLabGroup.connection_id), col(GitLabGroup.full_path))
        statement = statement.where(key.in_(select(granted.c.connection_id, granted.c.path)))
    with runtime.database.reading() as session:
        return list(session.exec(statement.limit(MAX_NAMESPACES)))


def create_repository(
    runtime: Runtime, principal: Principal, slug: str, group_id: int, name: str, visibility: str
) -> int:
    """Have GitLab create a repository with a README, enable it, and return our id of it.

    Args:
        runtime: of this process.
        principal: who asks.
        slug: of the connection.
        group_id: ours, of the group that it is in.
        name: what it is called; its path is made from it.
        visibility: GitLab's word.

    Raises:
        NotFound: they may not have one created there.
        InvalidInput: GitLab does not take the name.
        UpstreamFailed: GitLab did not answer, or the service user may not create projects there.
    """
    group = next((one for one in list_namespaces(runtime, principal, slug) if one.id == group_id), None)
    if group is None:
        raise NotFound
    name = " ".join(name.split())
    path = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-.")
    if not path or len(name) > MAX_NAME or visibility not in VISIBILITIES:
        sentence = "Enter a name with at least one letter or digit."
        raise InvalidInput(sentence, field_errors={"name": sentence})
    with runtime.database.transaction() as session:
        principal = require_right_now(session, principal, Right.ENABLE_REPOSITORIES)
        connection = session.get_one(Connection, group.connection_id)
        told = {"path": f"{group.full_path}/{path}", "visibility": visibility}
        audit.record(session, principal.actor, "site.repository_requested", connection.target, **told)
    try:
        with open_host_session(runtime, connection, purpose=Purpose.PEOPLE) as http:
            client = BranchClient(http, AccessSource(runtime, connection.id or 0, "create a repository"))
            created = client.create_project(group.gitlab_group_id, name, path, visibility)
            project = client.project(created.id)
    except UnexpectedStatus as error:
        if error.status not in {400, 409, 422}:
            raise UpstreamFailed(error.card()) from error
        sentence = f"GitLab does not take it: {group.full_path}/{path} is taken, or its name is not allowed."
        raise InvalidInput(sentence, field_errors={"name": sentence}) from None
    except (GitLabError, OutboundError) as error:
        raise UpstreamFailed(error.card()) from error
    except AccessUnavailable as error:
        raise UpstreamFailed(error.card) from error
    row = repository_row(connection.id or 0, project, project.access_level or MAINTAINER, frozenset())
    write_repositories(runtime.database, [row])
    with runtime.database.reading() as session:
        statement = select(Repository.id).where(
            Repository.connection_id == connection.id, Repository.gitlab_project_id == project.id
        )
        repository_id = session.exec(statement).one()
    set_enabled(runtime, principal, [repository_id or 0], enabled=True)
    return repository_id or 0


def request_preview(
    runtime: Runtime, principal: Principal, slug: str, repository_id: int, branch: str, folder: str
) -> Job:
    """Have the files of a branch fetched, so that they can be compared with those here.

    Raises:
        InvalidInput: the branch or the folder cannot be used. Conflict: the site is connected.
    """
    branch, folder = branch.strip(), folder.strip().strip("/")
    if not git.is_branch_name(branch):
        sentence = "Enter a branch of letters, digits, and . _ / or -."
        raise InvalidInput(sentence, field_errors={"branch": sentence})
    if folder:
        try:
            folder = check_path(folder)
        except InvalidInput as error:
            raise InvalidInput(error.sentence, field_errors={"folder": error.sentence}) from None
    with runtime.database.transaction() as session:
        site = find_site_to_change(session, principal, slug)
        if site.is_connected:
            raise Conflict("This site is connected already. Disconnect it first.")
        choice = find_choice(session, principal, repository_id)
        return enqueue(
            session,
            PREVIEW,
            {"site_id": site.id, "repository_id": repository_id, "branch": branch, "folder": folder},
            organization_id=site.organization_id,
            title=f"Compare {site.name} with {choice.repository.path_with_namespace}",
            subject=f"site-preview:{site.id}",
            lane=f"sync:{choice.connection.id}",
            actor=principal.actor,
        )


def run_preview(context: JobContext, *, site_id: int, repository_id: int, branch: str, folder: str) -> None:
    """Fetch the branch that a site may be connected to, or the default branch if there is none of that name."""
    runtime = context.runtime
    with runtime.database.reading() as session:
        site = session.get(Site, site_id)
        repository = session.get(Repository, repository_id)
        connection = session.get(Connection, repository.connection_id) if repository else None
    if site is None or repository is None or connection is None or site.is_connected:
        return
    candidate = candidate_of(context.public_id)
    with holding(runtime, site, "sync") as own:
        own.create()
        try:
            with open_remote(runtime, connection, repository.path_with_namespace) as remote:
                found = remote.fetch(own, branch, candidate)
                if found is None and repository.default_branch and git.is_branch_name(repository.default_branch):
                    found = remote.fetch(own, repository.default_branch, f"{candidate}-start")
        except RemoteFailed as error:
            if error.is_passing:
                raise RetryLater(error.card, after_seconds=error.after_seconds) from error
            raise UpstreamFailed(error.card) from error
        except GitMissing as error:
            raise UpstreamFailed(error.failure()) from error


def candidate_of(public_id: str) -> str:
    """Return the ref of what a job fetched for a preview."""
    return f"refs/gitlab/candidate/{public_id}"


def load_preview(runtime: Runtime, principal: Principal, slug: str, public_id: str) -> tuple[SiteRow, Choice, Job]:
    """Return the site, the repository and the job of a preview, as this person may see them now.

    Raises:
        NotFound: there is none, or they may no longer pick that repository.
    """
    row = get_site(runtime, principal, slug)
    with runtime.database.reading() as session:
        job = find_job(session, principal.organization_id, public_id)
        if job.name != PREVIEW or job.args.get("site_id") != row.site.id:
            raise NotFound
        return row, find_choice(session, principal, int(job.args["repository_id"])), job


def compare(runtime: Runtime, site: Site, job: Job) -> Preview:
    """Return what connecting would do, from what the job fetched.

    Raises:
        Conflict: that is gone.
    """
    own, folder = repository_of(runtime, site), str(job.args["folder"])
    candidate = candidate_of(job.public_id)
    head, here = own.head(candidate), own.head(HERE)
    start = head or own.head(f"{candidate}-start")
    theirs = _files(own, start, folder)
    ours = _files(own, here, site.folder)
    differing = [path for path in ours if path in theirs and theirs[path] != ours[path]]
    removed = [path for path in ours if path not in theirs] if start else []
    added = [path for path in theirs if path not in ours]
    newer = _newer(own, here, site.folder, start, folder, differing) if differing else {}
    told = "\0".join([str(head), str(start), str(here), site.folder, folder, str(job.args)])
    return Preview(
        replaced=[Named(path, newer.get(path)) for path in sorted(differing)],
        removed=[Named(path) for path in sorted(removed)],
        added=[Named(path) for path in sorted(added)],
        same=len(ours) - len(differing) - len(removed),
        here=len(ours),
        gitlab=len(theirs),
        is_new=head is None,
        start=start or "",
        digest=hashlib.sha256(told.encode()).hexdigest(),
    )


def connect(runtime: Runtime, principal: Principal, slug: str, public_id: str, digest: str, *, keeps: bool) -> Site:
    """Connect a site as its preview said: GitLab's files come here, or those from here go to an empty repository.

    Args:
        runtime: of this process.
        principal: who connects it.
        slug: of the site.
        public_id: of the preview's job.
        digest: of the preview that was shown.
        keeps: keep what is here on a branch `gatehouse/…-before`.

    Raises:
        Conflict: something has changed since the preview.
    """
    row, _, job = load_preview(runtime, principal, slug, public_id)
    preview = compare(runtime, row.site, job)
    if not hmac.compare_digest(preview.digest, digest) or row.site.is_connected:
        raise Conflict("The files have changed since they were compared. Compare them again.")
    with (
        holding(runtime, row.site, "sync", patience=PATIENCE_SECONDS),
        holding(runtime, row.site, "edit") as own,
    ):
        own.create()
        with runtime.database.transaction() as session:
            site = find_site_to_change(session, principal, slug)
            choice = find_choice(session, principal, int(job.args["repository_id"]))
            if site.is_connected:
                raise Conflict("This site is connected already.")
            here, folder = own.head(HERE), str(job.args["folder"])
            committer = committer_of(session, choice.connection)
            author = Person(principal.name, principal.email)
            start = preview.start or None
            ours = own.tree_of(here, site.folder) if here else None
            # A folder that is renamed keeps its files: they are put where it will be.
            moved = None
            if here and ours and (start or folder != site.folder):
                tree = own.with_folder(start, folder, ours) if folder else ours
                told = f"Keep the files of {site.name} as they were before it was connected"
                moved = own.commit(tree, [start, here] if start else [here], told, author, committer)
            if start and moved and keeps and not preview.loses_nothing:
                own.move(
                    f"{TO_SEND}/gatehouse/{site.slug}-before",
                    moved,
                    own.head(f"{TO_SEND}/gatehouse/{site.slug}-before"),
                )
            if start and here:
                own.move(f"refs/parked/here/{here}", here, None)
            for ref in (GITLAB, PROPOSED):
                if known := own.head(ref):
                    own.move(f"refs/parked/gitlab/{known}", known, None)
                    own.move(ref, None, known)
            if not preview.is_new:
                own.move(GITLAB, start, None)
            own.move(HERE, start or moved or here, here)
            site.connection_id, site.repository_id = choice.connection.id, choice.repository.id
            site.gitlab_project_id = choice.repository.gitlab_project_id
            site.branch, site.folder = str(job.args["branch"]), folder
            site.state, site.card, site.connected_at = SiteState.CONNECTING, None, utc_now()
            site.gitlab_head, site.synced_at, site.failures = "", None, 0
            note_head(session, own, site)
            mark_due(site)
            enqueue_sync(session, site, principal.actor)
            audit.record(
                session,
                principal.actor,
                "site.connected",
                site.target,
                repository=choice.repository.path_with_namespace,
                branch=site.branch,
                folder=folder,
                replaced=len(preview.replaced),
                removed=len(preview.removed),
            )
    return site


def disconnect_site(runtime: Runtime, principal: Principal, slug: str) -> Site:
    """End the sync; the files and their history stay here, and whatever was sent stays at GitLab."""
    with runtime.database.transaction() as session:
        site = find_site_to_change(session, principal, slug)
        if site.is_connected:
            audit.record(session, principal.actor, "site.disconnected", site.target, branch=site.branch)
            _detach(site)
        return site


def leave_connection(session: Session, connection_id: int) -> None:
    """Detach the sites of a connection that is erased: their files are the organization's own."""
    for site in session.exec(select(Site).where(col(Site.connection_id) == connection_id)):
        _detach(site)


def request_sync(runtime: Runtime, principal: Principal, slug: str) -> None:
    """Sync a site now."""
    with runtime.database.transaction() as session:
        site = find_site_to_change(session, principal, slug)
        if not site.is_connected:
            raise Conflict("This site is kept here only.")
        mark_due(site)
        enqueue_sync(session, site, principal.actor)
        audit.record(session, principal.actor, "site.sync_requested", site.target)


def take_gitlab_version(runtime: Runtime, principal: Principal, slug: str) -> None:
    """Continue from GitLab's branch after it was rewritten; what was here is kept on a branch."""
    with runtime.database.reading() as session:
        site = find_site(session, principal, slug)
    with holding(runtime, site, "sync", patience=PATIENCE_SECONDS), holding(runtime, site, "edit") as own:
        gitlab, known, here = own.head(FETCHED), own.head(GITLAB), own.head(HERE)
        with runtime.database.transaction() as session:
            site = find_site_to_change(session, principal, slug)
            if gitlab is None or (site.card or {}).get("code") != "site_branch_rewritten":
                raise Conflict("GitLab's branch has not been rewritten.")
            if here:
                own.move(f"refs/parked/here/{here}", here, None)
                if not own.is_ancestor(here, gitlab):
                    own.move(f"{TO_SEND}/gatehouse/{site.slug}-{here[:8]}", here, None)
            if known:
                own.move(f"refs/parked/gitlab/{known}", known, None)
            own.move(GITLAB, gitlab, known)
            own.move(HERE, gitlab, here)
            note_head(session, own, site)
            mark_due(site)
            enqueue_sync(session, site, principal.actor)
            audit.record(session, principal.actor, "site.version_chosen", site.target, commit=gitlab)


def _detach(site: Site) -> None:
    site.state, site.card = SiteState.LOCAL, None
    site.connection_id = site.repository_id = site.gitlab_project_id = site.merge_request_iid = None
    site.branch = site.gitlab_head = site.merge_request_url = ""
    site.due_at = site.check_at = site.connected_at = None


def _files(own: git.Repository, commit: str | None, folder: str) -> dict[str, tuple[str, str]]:
    """Return mode and id of every file in a folder, by its path there."""
    if commit is None or (folder and own.tree_of(commit, folder) is None):
        return {}
    prefix = len(folder) + 1 if folder else 0
    return {entry.path[prefix:]: (entry.mode, entry.id) for entry in own.entries(commit, folder, is_deep=True)}


def _newer(
    own: git.Repository, here: str | None, folder: str, theirs: str | None, their_folder: str, paths: list[str]
) -> dict[str, datetime]:
    """Return when files were changed here that were changed later than at GitLab."""
    found = {}
    for path in paths[:NAMES_SHOWN]:
        ours_at = _changed_at(own, here, f"{folder}/{path}".strip("/"))
        theirs_at = _changed_at(own, theirs, f"{their_folder}/{path}".strip("/"))
        if ours_at > theirs_at:
            found[path] = datetime.fromtimestamp(ours_at, UTC)
    return found


def _changed_at(own: git.Repository, commit: str | None, path: str) -> int:
    arguments = ("log", "-1", "--format=%ct", "--end-of-options", commit or "", "--", path)
    told = own.run(*arguments, env={"GIT_LITERAL_PATHSPECS": "1"}) if commit else b""
    return int(told or 0)
