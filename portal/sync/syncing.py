"""One run of the sync of a site: fetch, bring both sides together, push, record.

It may be killed anywhere and run again: refs of git are the truth about commits, and each moves at once or not at all.
The branch `here` only ever moves to a commit that contains the one it was at, GitLab's branch is only pushed forward
from where it was seen, and what one side had is kept under `refs/parked` before that side moves elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func
from sqlmodel import Session, col, select

from portal import audit
from portal.actor import SYSTEM, Actor
from portal.connections.models import Connection, ConnectionState
from portal.connections.store import open_host_session
from portal.crash_points import crash_point
from portal.credentials import AccessSource, AccessUnavailable
from portal.db import utc_now
from portal.errors import Card
from portal.foreign import clean
from portal.gitlab.answers import GitLabError, GitLabNotFound
from portal.gitlab.hooks import Level
from portal.gitlab.merge_requests import BranchClient
from portal.jobs import Job, JobContext, enqueue
from portal.logs import get_logger
from portal.net import OutboundError, Purpose
from portal.repositories.jobs import PASSING
from portal.repositories.models import Enablement, Repository
from portal.runtime import Runtime
from portal.sync import git, merging
from portal.sync.files import GITLAB
from portal.sync.git import GitFailed, GitMissing, Person
from portal.sync.models import Site, SiteConflict, SiteState
from portal.sync.remote import Push, Remote, RemoteFailed, open_remote
from portal.sync.store import HERE, committer_of, holding, note_head
from portal.webhooks.models import Hook, HookStatus

log = get_logger(__name__)

SYNC = "sync.site"
# GitLab's branch as it was fetched last.
FETCHED = "refs/gitlab/fetched"
# What was pushed to the branch of the merge request.
PROPOSED = "refs/gitlab/proposed"
# What is kept of one side, by the name of the branch that it gets at GitLab; and what is there already.
TO_SEND, SENT = "refs/parked/send", "refs/parked/sent"
# A branch of GitLab that moves each time it was fetched.
ROUNDS = 5
# After a failure that may pass.
PAUSES = (timedelta(seconds=10), timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=10))
# How often GitLab is asked where its branch is, if a webhook tells about pushes, and if none does.
WITH_HOOK = timedelta(minutes=15)
WITHOUT_HOOK = timedelta(minutes=1)
# A person has to do something about a site that has stopped; GitLab is asked now and then all the same.
STOPPED = timedelta(minutes=30)


class Stopped(Exception):
    """A person has to do something first."""

    def __init__(self, card: Card) -> None:
        super().__init__(card.code)
        self.card = card


@dataclass(frozen=True)
class Target:
    """Where a site is synced to, as the database has it now."""

    site: Site
    connection: Connection
    path: str
    committer: Person


def enqueue_sync(session: Session, site: Site, actor: Actor = SYSTEM) -> Job:
    """Sync a site in the background; if that is being done, return the job that does it."""
    return enqueue(
        session,
        SYNC,
        {"site_id": site.id},
        organization_id=site.organization_id,
        title=f"Sync {site.name}",
        key=f"sync:{site.id}",
        subject=f"site:{site.id}",
        lane=f"sync:{site.connection_id}",
        actor=actor,
    )


def run_sync(context: JobContext, *, site_id: int) -> None:
    """Sync one site until nothing asks for it."""
    runtime = context.runtime
    with runtime.database.reading() as session:
        site = session.get(Site, site_id)
    if site is None or not site.is_connected:
        return
    with holding(runtime, site, "sync") as repository:
        while site is not None and site.is_connected:
            context.raise_if_stopped()
            demands = site.demands
            try:
                sync_once(context, repository, site_id)
            except Stopped as error:
                _note(context, repository, site_id, demands, SiteState.STOPPED, error.card, STOPPED)
            except GitMissing as error:
                _note(context, repository, site_id, demands, SiteState.STOPPED, error.failure(), STOPPED)
            except GitFailed as error:
                card = Card("git_slow" if error.is_late else "git_failed")
                log.error("git_failed", status=error.status, said=clean(error.errors, is_sentence=True))
                _note_failure(context, repository, site_id, demands, RemoteFailed(card, is_passing=True))
            except (RemoteFailed, GitLabError, OutboundError, AccessUnavailable) as error:
                _note_failure(context, repository, site_id, demands, error)
            with runtime.database.reading() as session:
                site = session.get(Site, site_id)
                # What was asked for since is done now, unless more is expected to come.
                if site is None or site.due_at is None or site.due_at > utc_now():
                    return


def load_target(session: Session, site: Site) -> Target:
    """Return where a site is synced to.

    Raises:
        Stopped: the repository is gone, no longer enabled, or its connection is.
    """
    repository = session.get(Repository, site.repository_id) if site.repository_id else None
    connection = session.get(Connection, site.connection_id) if site.connection_id else None
    if connection is None or connection.state not in {ConnectionState.CONNECTED, ConnectionState.NEEDS_ATTENTION}:
        raise Stopped(Card("site_disconnected"))
    if repository is None or repository.missing_since is not None:
        raise Stopped(Card("site_repository_gone"))
    enabled = session.exec(select(Enablement.id).where(Enablement.repository_id == repository.id)).first()
    if enabled is None:
        raise Stopped(Card("site_not_enabled"))
    if repository.object_format == "sha256":
        raise Stopped(Card("git_sha256"))
    return Target(site, connection, repository.path_with_namespace, committer_of(session, connection))


def sync_once(context: JobContext, repository: git.Repository, site_id: int) -> None:
    """Bring both sides together once.

    Raises:
        Stopped, RemoteFailed, GitFailed, GitLabError, OutboundError, AccessUnavailable.
    """
    runtime = context.runtime
    with runtime.database.reading() as session:
        target = load_target(session, session.get_one(Site, site_id))
    site, demands = target.site, target.site.demands
    repository.create()
    with open_remote(runtime, target.connection, target.path) as remote:
        for _ in range(ROUNDS):
            context.raise_if_stopped()
            known = repository.head(GITLAB)
            crash_point("sync:before_fetch")
            gitlab = remote.fetch(repository, site.branch, FETCHED)
            crash_point("sync:fetched")
            if gitlab is None and known:
                raise Stopped(Card("site_branch_gone", {"name": site.branch}))
            if gitlab and known and not repository.is_ancestor(known, gitlab):
                raise Stopped(Card("site_branch_rewritten", {"name": site.branch}))
            if gitlab != known:
                repository.move(GITLAB, gitlab, known)
            here = _bring_together(context, repository, target, gitlab)
            crash_point("sync:merged")
            if here is None or here == gitlab:
                _note_in_step(context, repository, remote, site_id, demands, here or "")
                return
            if here == repository.head(PROPOSED) and (state := _state_of_proposal(runtime, target)) != "merged":
                if state == "closed":
                    raise Stopped(Card("site_proposal_closed", {"name": f"!{site.merge_request_iid}"}))
                _note(context, repository, site_id, demands, SiteState.PROPOSED, None, None)
                return
            pushed = remote.push(repository, here, site.branch, gitlab)
            crash_point("sync:pushed")
            if pushed.result == Push.MOVED:
                continue
            if pushed.result == Push.PROTECTED:
                _propose(context, repository, remote, target, here, demands, pushed.words)
                return
            if pushed.result == Push.REFUSED:
                raise Stopped(Card("site_push_refused", {"name": site.branch}, words=pushed.words))
            repository.move(GITLAB, here, gitlab)
            _note_in_step(context, repository, remote, site_id, demands, here)
            return
    raise RemoteFailed(Card("site_branch_busy", {"name": site.branch}), is_passing=True)


def _bring_together(context: JobContext, repository: git.Repository, target: Target, gitlab: str | None) -> str | None:
    """Move the branch `here` to where it has both sides, and return it."""
    runtime, site = context.runtime, target.site
    while True:
        with holding(runtime, site, "edit"):
            here = repository.head(HERE)
            if gitlab is None or here == gitlab or (here and repository.is_ancestor(gitlab, here)):
                return here
            if here is None or repository.is_ancestor(here, gitlab):
                repository.move(HERE, gitlab, here)
                return gitlab
        # Both have moved. While they are merged, people may change files: then it is done again.
        found = merging.merge(repository, here, gitlab)
        if found.tree == repository.tree_of(gitlab) and not found.conflicts:
            # GitLab has the same changes, such as those of a merge request that was squashed.
            repository.move(f"refs/parked/here/{here}", here, None)
            commit = gitlab
        else:
            number = _next_number(context, site, here, gitlab) if found.conflicts else 0
            parked = f"gatehouse/conflict-{number}"
            commit = merging.merge_commit(repository, found, here, gitlab, target.committer, parked)
            if found.conflicts:
                repository.move(f"{TO_SEND}/{parked}", here, None)
                _note_conflicts(context, repository, site, found, number, here, gitlab)
                crash_point("sync:conflict_noted")
        with holding(runtime, site, "edit"):
            if repository.move(HERE, commit, here):
                return commit


def _next_number(context: JobContext, site: Site, here: str, gitlab: str) -> int:
    """Return the number of a conflict: that of an earlier attempt at it, or the next one of the project."""
    with context.runtime.database.reading() as session:
        same = (SiteConflict.site_id == site.id, SiteConflict.here == here, SiteConflict.gitlab == gitlab)
        known = session.exec(select(SiteConflict.number).where(*same)).first()
        if known is not None:
            return known
        # Another site may be a folder of the same project, where the branch would have the same name.
        others = (
            select(func.max(SiteConflict.number))
            .join(Site, col(Site.id) == col(SiteConflict.site_id))
            .where(col(Site.gitlab_project_id) == site.gitlab_project_id)
        )
        return (session.exec(others).one() or 0) + 1


def _note_conflicts(
    context: JobContext,
    repository: git.Repository,
    site: Site,
    merged: merging.Merge,
    number: int,
    here: str,
    gitlab: str,
) -> None:
    base = merging.base_of(repository, here, gitlab)
    with context.transaction() as session:
        known = set(
            session.exec(
                select(SiteConflict.path).where(SiteConflict.site_id == site.id, SiteConflict.number == number)
            )
        )
        inside = f"{site.folder}/" if site.folder else ""
        for path in merged.conflicts:
            # What is outside the folder of the site was never changed here.
            name = path.removeprefix(inside)
            if name not in known and path.startswith(inside):
                row = SiteConflict(site_id=site.id or 0, number=number, path=name, here=here, gitlab=gitlab)
                row.folder, row.base = site.folder, base
                session.add(row)
        if not known:
            audit.record(
                session, SYSTEM, "site.conflict_found", site.target, files=list(merged.conflicts)[:20], number=number
            )


def _park(repository: git.Repository, remote: Remote) -> None:
    """Have what was parked here on branches of GitLab, too; if it refuses one, that is still kept here."""
    for line in repository.run("for-each-ref", "--format=%(objectname) %(refname)", TO_SEND).decode().splitlines():
        commit, _, ref = line.partition(" ")
        branch = ref.removeprefix(f"{TO_SEND}/")
        if repository.head(f"{SENT}/{branch}") is None:
            pushed = remote.push(repository, commit, branch, None)
            if pushed.result in {Push.DONE, Push.MOVED}:
                repository.move(f"{SENT}/{branch}", commit, None)


def _propose(
    context: JobContext,
    repository: git.Repository,
    remote: Remote,
    target: Target,
    here: str,
    demands: int,
    words: str,
) -> None:
    """Push to a branch next to the protected one, and have a merge request for it."""
    site, runtime = target.site, context.runtime
    branch, proposed = f"gatehouse/{site.slug}", PROPOSED
    if repository.head(proposed) != here:
        for _ in range(ROUNDS):
            pushed = remote.push(repository, here, branch, repository.head(proposed))
            if pushed.result != Push.MOVED:
                break
            # From an earlier time, or someone has pushed to it: forward only.
            there = remote.fetch(repository, branch, proposed)
            if there and not repository.is_ancestor(there, here):
                raise Stopped(Card("site_proposal_moved", {"name": branch}))
        if pushed.result != Push.DONE:
            raise Stopped(Card("site_push_refused", {"name": branch}, words=pushed.words or words))
        repository.move(proposed, here, repository.head(proposed))
    crash_point("sync:proposed")
    project_id = site.gitlab_project_id or 0
    with open_host_session(runtime, target.connection, is_background=True, purpose=Purpose.SYNC) as http:
        client = BranchClient(http, AccessSource(runtime, target.connection.id or 0, "source sync"))
        found = client.open_merge_request(project_id, branch, site.branch)
        if found is None:
            found = client.create_merge_request(project_id, branch, site.branch, f"Changes of {site.name} in Gatehouse")
    with context.transaction() as session:
        row = session.get_one(Site, site.id)
        if row.merge_request_iid != found.iid:
            audit.record(session, SYSTEM, "site.merge_request_opened", row.target, number=found.iid)
        row.merge_request_iid, row.merge_request_url = found.iid, found.web_url
    _note(context, repository, site.id or 0, demands, SiteState.PROPOSED, None, None)


def _state_of_proposal(runtime: Runtime, target: Target) -> str:
    """Return GitLab's state of the merge request that waits; `closed` if it is gone."""
    site = target.site
    if site.merge_request_iid is None:
        return "merged"
    with open_host_session(runtime, target.connection, is_background=True, purpose=Purpose.SYNC) as http:
        client = BranchClient(http, AccessSource(runtime, target.connection.id or 0, "source sync"))
        try:
            return client.merge_request(site.gitlab_project_id or 0, site.merge_request_iid).state
        except GitLabNotFound:
            return "closed"


# Outcomes.


def _note_in_step(
    context: JobContext, repository: git.Repository, remote: Remote, site_id: int, demands: int, head: str
) -> None:
    _park(repository, remote)
    with context.transaction() as session:
        site = session.get_one(Site, site_id)
        if site.state == SiteState.CONNECTING or site.gitlab_head != head:
            audit.record(session, SYSTEM, "site.synced", site.target, commit=head)
        site.gitlab_head, site.merge_request_iid, site.merge_request_url = head, None, ""
    _note(context, repository, site_id, demands, SiteState.IN_STEP, None, None)


def _note(
    context: JobContext,
    repository: git.Repository,
    site_id: int,
    demands: int,
    state: SiteState,
    card: Card | None,
    pause: timedelta | None,
) -> None:
    """Record how a run ended, and when the next one is due: after a pause, or when something asks for it."""
    with context.transaction() as session:
        site, now = session.get(Site, site_id), utc_now()
        if site is None or not site.is_connected:
            return
        if card is not None and card.code != (site.card or {}).get("code"):
            audit.record(session, SYSTEM, "site.sync_failed", site.target, result="failed", code=card.code)
        note_head(session, repository, site)
        site.state, site.card = state, card.to_json() if card else None
        if card is None:
            site.synced_at, site.failures = now, 0
        is_told = site.repository_id is not None and _has_hook(session, site)
        site.check_at = now + (WITH_HOOK if is_told else WITHOUT_HOOK)
        if site.demands == demands:
            site.due_at = now + pause if pause else None


def _note_failure(
    context: JobContext, repository: git.Repository, site_id: int, demands: int, error: Exception
) -> None:
    """Record a failure of GitLab or of the way to it: it is tried again, or someone has to do something."""
    card = error.card if isinstance(error, (RemoteFailed, AccessUnavailable)) else error.card()  # type: ignore[attr-defined]
    is_passing = getattr(error, "is_passing", isinstance(error, (*PASSING, OutboundError)))
    with context.transaction() as session:
        site = session.get(Site, site_id)
        if site is None:
            return
        site.failures += 1
        pause = PAUSES[min(site.failures, len(PAUSES)) - 1]
    asked = timedelta(seconds=min(getattr(error, "after_seconds", None) or 0.0, 3600))
    state = SiteState.RETRYING if is_passing else SiteState.STOPPED
    _note(context, repository, site_id, demands, state, card, max(pause, asked) if is_passing else STOPPED)


def _has_hook(session: Session, site: Site) -> bool:
    of_project = (col(Hook.repository_id) == site.repository_id) | (col(Hook.level) != Level.PROJECT)
    statement = select(Hook.id).where(
        col(Hook.connection_id) == site.connection_id, of_project, col(Hook.status) == HookStatus.ACTIVE
    )
    return session.exec(statement.limit(1)).first() is not None
