"""What happened in the projects of the sandbox: commits, merge requests, reviews, issues and deployments of two years.

A history is computed from the project and the sandbox's seed when someone asks for it, and forgotten again unless
something has happened since. Its shapes are those of real teams: most work on weekdays, many changes that wait for a
first review, few that wait for weeks. `History` is also the truth that tests compare reports with.
"""

from __future__ import annotations

import hashlib
import random
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from portal.sandbox import payloads
from portal.sandbox.payloads import Item
from portal.sandbox.people import DEV_ID, FIRST_COLLEAGUE_ID, User
from portal.sandbox.projects import Project

if TYPE_CHECKING:
    from portal.sandbox.world import World

DAY, HOUR = 86_400, 3_600
WEEKS = 104
# Untouched histories that are kept: a client reads several lists of the same project.
KEPT = 64
# GitLab's ids are those of the whole instance; each project has its own range.
IDS = 1_000_000
AUTHORS = (DEV_ID, *range(FIRST_COLLEAGUE_ID, FIRST_COLLEAGUE_ID + 6))
APPROVED = "approved this merge request"
# On an issue.
COMMENT = "This happens here, too."
TITLES = ("Fix", "Add", "Rename", "Speed up", "Document", "Remove", "Test", "Refactor")
SUBJECTS = ("the retry", "a health check", "old flags", "the search index", "error pages", "the cache", "exports")


class Commit(msgspec.Struct, frozen=True, gc=False):
    """One commit; times are seconds since 1970."""

    id: str
    parents: tuple[str, ...]
    title: str
    author_id: int
    authored: int
    committed: int


class Note(msgspec.Struct, frozen=True, gc=False):
    """A comment on a merge request or an issue, or what GitLab itself writes there."""

    id: int
    author_id: int
    at: int
    body: str
    system: bool = False


class MergeRequest(msgspec.Struct):
    """One merge request.

    Attributes:
        commits: of its branch, oldest first.
        head: the last of them.
        method: `merge`, `squash` or `ff`: what happens to its commits.
    """

    id: int
    iid: int
    title: str
    author_id: int
    created: int
    updated: int
    method: str
    head: str = ""
    reviewers: tuple[int, ...] = ()
    commits: tuple[Commit, ...] = ()
    notes: list[Note] = msgspec.field(default_factory=list)
    state: str = "opened"
    draft: bool = False
    merged: int | None = None
    closed: int | None = None
    ended_by: int | None = None
    merge_commit: str | None = None
    squash_commit: str | None = None

    @property
    def first_commit(self) -> int | None:
        """When the first of its commits was written, if the default branch still has them as they were."""
        return min((one.authored for one in self.commits), default=None) if self.method == "merge" else None

    @property
    def reviews(self) -> list[Note]:
        """What others said: comments and approvals, in order."""
        said = [note for note in self.notes if note.author_id != self.author_id]
        return sorted((note for note in said if not note.system or note.body == APPROVED), key=lambda note: note.at)


class Issue(msgspec.Struct):
    """One issue."""

    id: int
    iid: int
    title: str
    author_id: int
    created: int
    updated: int
    state: str = "opened"
    closed: int | None = None
    closed_by: int | None = None
    notes: list[Note] = msgspec.field(default_factory=list)


class Deployment(msgspec.Struct, frozen=True):
    """One deployment of the default branch."""

    id: int
    iid: int
    at: int
    user_id: int
    sha: str
    environment: str
    status: str = "success"


class Event(msgspec.Struct, frozen=True, gc=False):
    """One row of a project's activity (api/events)."""

    id: int
    action: str
    target_type: str
    at: int
    author_id: int
    iid: int = 0
    note: Note | None = None


class History(msgspec.Struct):
    """Everything of one project.

    Attributes:
        mainline: commits of the default branch, each on top of the one before.
        branches: commits that came to it with a merge.
        events: oldest first.
        ended: the time of the newest thing in it.
    """

    project_id: int
    mainline: list[Commit] = msgspec.field(default_factory=list)
    branches: list[Commit] = msgspec.field(default_factory=list)
    merge_requests: dict[int, MergeRequest] = msgspec.field(default_factory=dict)
    issues: dict[int, Issue] = msgspec.field(default_factory=dict)
    deployments: list[Deployment] = msgspec.field(default_factory=list)
    events: list[Event] = msgspec.field(default_factory=list)
    ended: int = 0
    last_id: int = 0
    last_iids: dict[str, int] = msgspec.field(default_factory=lambda: {"merge_request": 0, "issue": 0})

    def next_id(self) -> int:
        """Return an id that nothing of the instance has."""
        self.last_id += 1
        return self.project_id * IDS + self.last_id

    def next_iid(self, kind: str) -> int:
        """Return the next number of a merge request or an issue: never one that was deleted."""
        self.last_iids[kind] += 1
        return self.last_iids[kind]

    def event(
        self, action: str, target_type: str, at: int, author_id: int, iid: int = 0, note: Note | None = None
    ) -> None:
        """Add a row to the activity."""
        self.events.append(Event(self.next_id(), action, target_type, at, author_id, iid, note))

    def commit(self, name: str, at: int, author_id: int, *also: str, authored: int | None = None) -> Commit:
        """Put a commit on top of the default branch; `also` are its other parents."""
        first = (self.mainline[-1].id,) if self.mainline else ()
        made = Commit(self.sha(name), (*first, *also), name, author_id, authored or at, at)
        self.mainline.append(made)
        self.ended = max(self.ended, at)
        return made

    def sha(self, name: str) -> str:
        """Return a made-up id."""
        return hashlib.sha1(f"{self.project_id}/{name}/{self.next_id()}".encode(), usedforsecurity=False).hexdigest()


class Histories:
    """The histories of all projects, and what happens in them now."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._lock = threading.RLock()
        self._touched: dict[int, History] = {}
        self._kept: OrderedDict[int, History] = OrderedDict()

    def of(self, project: Project) -> History:
        """Return a project's history as it is now; read it only."""
        with self._lock:
            if project.id in self._touched:
                return self._touched[project.id]
            found = self._kept.pop(project.id, None) or _made(self._world, project)
            self._kept[project.id] = found
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return found

    def updated_since(self, project: Project, seconds: float) -> bool:
        """Return whether anything can have been updated in a project since then."""
        return project.id in self._touched or seconds < min(self._anchor, project.last_activity)

    # What happens now: each fires the hooks of the project.

    def open_merge_request(self, project_id: int, *, user: User | None = None) -> int:
        """Open a merge request of two commits; return its number."""
        with self._change(project_id) as (project, history, now):
            author = user.id if user else AUTHORS[history.last_id % len(AUTHORS)]
            number = history.next_iid("merge_request")
            base = (history.mainline[-1].id,) if history.mainline else ()
            first = Commit(history.sha("first"), base, "Begin", author, now - HOUR, now - HOUR)
            last = Commit(history.sha("last"), (first.id,), "Finish", author, now - 60, now - 60)
            request = MergeRequest(history.next_id(), number, "A new change", author, now, now, "merge", last.id)
            request.commits = (first, last)
            request.reviewers = (AUTHORS[(AUTHORS.index(author) + 1) % len(AUTHORS)] if author in AUTHORS else DEV_ID,)
            history.merge_requests[number] = request
            history.event("opened", "MergeRequest", now, author, number)
            self._fire_merge_request(project, request, "open")
            return number

    def merge(self, project_id: int, number: int) -> None:
        """Merge an open merge request."""
        with self._change(project_id) as (project, history, now):
            request = history.merge_requests[number]
            _merge(history, request, now, request.reviewers[0] if request.reviewers else request.author_id)
            self._fire_merge_request(project, request, "merge")

    def close(self, project_id: int, number: int, kind: str = "merge_request") -> None:
        """Close a merge request or an issue."""
        with self._change(project_id) as (project, history, now):
            if kind == "issue":
                issue = history.issues[number]
                issue.state, issue.closed, issue.closed_by, issue.updated = "closed", now, issue.author_id, now
                history.event("closed", "Issue", now, issue.author_id, number)
                self._fire_issue(project, issue, "close")
                return
            request = history.merge_requests[number]
            request.state, request.closed, request.ended_by, request.updated = "closed", now, request.author_id, now
            history.event("closed", "MergeRequest", now, request.author_id, number)
            self._fire_merge_request(project, request, "close")

    def review(self, project_id: int, number: int, *, approves: bool = False) -> None:
        """Let a reviewer comment on a merge request, or approve it."""
        with self._change(project_id) as (project, history, now):
            request = history.merge_requests[number]
            author = request.reviewers[0] if request.reviewers else DEV_ID
            _review(history, request, author, now, approves=approves)
            self._fire_merge_request(project, request, "approved" if approves else "update")

    def open_issue(self, project_id: int) -> int:
        """Open an issue; return its number."""
        with self._change(project_id) as (project, history, now):
            number = history.next_iid("issue")
            issue = Issue(history.next_id(), number, "Something to look into", DEV_ID, now, now)
            history.issues[number] = issue
            history.event("opened", "Issue", now, DEV_ID, number)
            self._fire_issue(project, issue, "open")
            return number

    def delete(self, project_id: int, kind: str, number: int) -> None:
        """Delete a merge request or an issue: no hook hears of it."""
        with self._change(project_id) as (_, history, _now):
            (history.issues if kind == "issue" else history.merge_requests).pop(number)

    def push(self, project_id: int, commits: int = 1) -> None:
        """Push to the default branch."""
        with self._change(project_id) as (project, history, now):
            for number in range(commits):
                history.commit(f"Push {number + 1}", now - commits + number + 1, DEV_ID)
            history.event("pushed to", "", now, DEV_ID)
            self._world.activity.push(project.id)

    def deploy(self, project_id: int, environment: str = "production") -> None:
        """Deploy the default branch."""
        with self._change(project_id) as (_, history, now):
            sha, number = history.mainline[-1].id, len(history.deployments) + 1
            history.deployments.append(Deployment(history.next_id(), number, now, DEV_ID, sha, environment))

    def change_many(self, count: int, project_ids: list[int]) -> dict[str, int]:
        """Let many things happen in some projects, the same ones each time; return how many of each kind."""
        draw = random.Random(f"{self._world.options.seed}/{count}/{project_ids}")  # noqa: S311 - no secrets
        done: dict[str, int] = {}
        for _ in range(count):
            project_id = draw.choice(project_ids)
            history = self.of(self._world.project(project_id))
            open_ones = sorted(item.iid for item in history.merge_requests.values() if item.state == "opened")
            open_issues = sorted(item.iid for item in history.issues.values() if item.state == "opened")
            what = draw.choices(
                ("open", "review", "merge", "close", "issue", "close_issue", "push", "delete"),
                (20, 25, 18, 4, 12, 10, 8, 3),
            )[0]
            if what in ("review", "merge", "close", "delete") and not open_ones:
                what = "open"
            if what == "close_issue" and not open_issues:
                what = "issue"
            done[what] = done.get(what, 0) + 1
            if what == "open":
                self.open_merge_request(project_id)
            elif what == "review":
                self.review(project_id, draw.choice(open_ones), approves=draw.random() < 0.5)
            elif what == "merge":
                self.merge(project_id, draw.choice(open_ones))
            elif what == "close":
                self.close(project_id, draw.choice(open_ones))
            elif what == "issue":
                self.open_issue(project_id)
            elif what == "close_issue":
                self.close(project_id, draw.choice(open_issues), "issue")
            elif what == "push":
                self.push(project_id)
            else:
                self.delete(project_id, "merge_request", draw.choice(open_ones))
        return done

    @property
    def _anchor(self) -> int:
        return int(self._world.anchor.timestamp())

    @contextmanager
    def _change(self, project_id: int) -> Iterator[tuple[Project, History, int]]:
        project, now = self._world.project(project_id), int(self._world.now().timestamp())
        with self._lock:
            history = self.of(project)
            self._touched[project_id] = history
            self._kept.pop(project_id, None)
            yield project, history, now
            history.ended = max(history.ended, now)
        # GitLab moves the time of a project's last activity at most once an hour.
        if now - project.last_activity >= HOUR:
            self._world.projects.change(project_id, last_activity=now, updated=now)

    def _fire_merge_request(self, project: Project, request: MergeRequest, action: str) -> None:
        user = self._world.user(request.ended_by or request.author_id) or self._world.all_users()[0]
        body = payloads.merge_request_body(self._world, project, user, _item(request), action)
        self._world.activity.fire("merge_request_hooks", body, project)

    def _fire_issue(self, project: Project, issue: Issue, action: str) -> None:
        user = self._world.user(issue.author_id) or self._world.all_users()[0]
        body = payloads.issue_body(self._world, project, user, _item(issue), action)
        self._world.activity.fire("issue_hooks", body, project)


def _item(row: MergeRequest | Issue) -> Item:
    created, updated = (datetime.fromtimestamp(at, UTC) for at in (row.created, row.updated))
    return Item(row.id, row.iid, row.title, row.author_id, created, updated, state=row.state)


def _review(history: History, request: MergeRequest, author: int, at: int, *, approves: bool) -> None:
    text = APPROVED if approves else "Could this be simpler?"
    note = Note(history.next_id(), author, at, text, system=approves)
    request.notes.append(note)
    request.updated = max(request.updated, at)
    if approves:
        history.event("approved", "MergeRequest", at, author, request.iid)
    else:
        history.event("commented on", "Note", at, author, request.iid, note)


def _merge(history: History, request: MergeRequest, at: int, by: int) -> None:
    request.state, request.merged, request.ended_by, request.updated = "merged", at, by, at
    title = f"Merge !{request.iid}"
    if request.method == "merge":
        history.branches += request.commits
        request.merge_commit = history.commit(title, at, by, request.head).id
    elif request.method == "squash":
        request.squash_commit = history.commit(request.title, at, request.author_id).id
        request.merge_commit = history.commit(title, at, by, request.squash_commit).id
    else:
        # Rebased on top: other ids than the branch had.
        done = [history.commit(one.title, at, one.author_id, authored=one.authored) for one in request.commits]
        request.head = done[-1].id if done else request.head
    history.event("accepted", "MergeRequest", at, by, request.iid)


def _made(world: World, project: Project) -> History:
    """Return what happened in a project before the sandbox was started."""
    history = History(project.id)
    end = min(int(world.anchor.timestamp()), project.last_activity)
    begin = max(int(world.anchor.timestamp()) - WEEKS * 7 * DAY, project.created)
    if project.empty or end - begin < DAY:
        return history
    draw = random.Random(f"{world.options.seed}/{project.id}")  # noqa: S311 - no secrets
    weeks = (end - begin) / (7 * DAY)
    # Few projects are busy, most are not.
    busy = min(draw.lognormvariate(-0.25, 0.8), 5.0) * world.options.history
    method = draw.choices(("merge", "squash", "ff"), (70, 20, 10))[0]
    team = draw.sample(AUTHORS, draw.randint(2, len(AUTHORS)))
    slow = draw.uniform(0.5, 2.0)

    def times(per_week: float) -> list[int]:
        return sorted(_working_time(draw, begin, end) for _ in range(round(per_week * weeks)))

    # (when, what): in the order in which they change the default branch and the activity.
    steps: list[tuple[int, int, str, MergeRequest | Issue | None, int]] = []

    def plan(at: float, what: str, row: MergeRequest | Issue | None = None, who: int = 0) -> None:
        if at < end:
            steps.append((int(at), len(steps), what, row, who))

    for at in times(9 * busy):
        plan(at, "push", None, draw.choice(team))
    for at in times(2.4 * busy):
        author = draw.choice(team)
        title = f"{draw.choice(TITLES)} {draw.choice(SUBJECTS)}"
        number = history.next_iid("merge_request")
        request = MergeRequest(history.next_id(), number, title, author, at, at, method)
        others = [one for one in team if one != author]
        request.reviewers = tuple(draw.sample(others, min(len(others), draw.choice((0, 1, 1, 1, 2)))))
        request.draft = draw.random() < 0.06
        history.merge_requests[number] = request
        plan(at, "open", request)
        first = at + draw.lognormvariate(2.0, 1.1) * slow * HOUR
        last = first
        for turn in range(draw.choice((0, 1, 1, 2, 2, 3, 5))):
            who = draw.choice(request.reviewers or others)
            last = first if not turn else last + draw.lognormvariate(1.0, 1.0) * HOUR
            plan(last, "comment", request, who if draw.random() < 0.8 else author)
        if draw.random() < 0.75:
            last += draw.lognormvariate(0.5, 1.0) * HOUR
            plan(last, "approve", request, draw.choice(request.reviewers or others))
        fate = draw.random()
        last += draw.lognormvariate(1.5, 1.2) * slow * HOUR
        if fate < 0.97:
            # A draft is given up in the end.
            what, wait = ("close", 30 * DAY) if request.draft or fate >= 0.9 else ("merge", 0)
            plan(last + wait, what, request, draw.choice(others))
    for at in times(1.5 * busy):
        number = history.next_iid("issue")
        issue = Issue(history.next_id(), number, f"{draw.choice(SUBJECTS)} fails", draw.choice(team), at, at)
        history.issues[number] = issue
        plan(at, "open_issue", issue)
        if draw.random() < 0.4:
            plan(at + draw.lognormvariate(2.5, 1.2) * HOUR, "comment_issue", issue, draw.choice(team))
        if draw.random() < 0.85:
            plan(at + draw.lognormvariate(4.2, 1.3) * HOUR, "close_issue", issue, draw.choice(team))
    if draw.random() < 0.4:
        for at in times(1.2 * busy):
            plan(at, "deploy", None, draw.choice(team))
    history.commit("Initial commit", begin, team[0])
    for at, _, what, row, who in sorted(steps, key=lambda step: step[:2]):
        _do(history, draw, at, what, row, who)
    history.ended = end
    return history


def _working_time(draw: random.Random, begin: int, end: int) -> int:
    """Return a moment, most of them on weekdays between 8 and 18 o'clock."""
    while True:
        at = draw.randrange(begin, end)
        day, hour = (at // DAY + 3) % 7, at % DAY // HOUR
        if draw.random() < (0.06 if day > 4 else 1.0) * (1.0 if 8 <= hour < 18 else 0.08):
            return at


def _do(history: History, draw: random.Random, at: int, what: str, row: MergeRequest | Issue | None, who: int) -> None:
    if what == "push":
        history.commit(f"{draw.choice(TITLES)} {draw.choice(SUBJECTS)}", at, who)
        history.event("pushed to", "", at, who)
    elif what == "deploy" and history.mainline:
        sha, number = history.mainline[-1].id, len(history.deployments) + 1
        status = "success" if draw.random() < 0.93 else "failed"
        history.deployments.append(Deployment(history.next_id(), number, at, who, sha, "production", status))
    elif isinstance(row, MergeRequest):
        if what == "open":
            written = at - int(draw.lognormvariate(2.2, 1.3) * HOUR)
            # The branch begins at what was there when its first commit was written.
            place = bisect_right(history.mainline, written, key=lambda one: one.committed)
            parent, commits = (history.mainline[place - 1].id,) if place else (), []
            for turn in range(draw.choice((1, 1, 2, 2, 3, 4, 6))):
                moment = min(at - 30, written + turn * draw.randint(600, 6 * HOUR))
                one = Commit(history.sha(f"!{row.iid}"), parent, row.title, row.author_id, moment, moment)
                commits.append(one)
                parent = (one.id,)
            row.commits, row.head = tuple(commits), commits[-1].id
            history.event("opened", "MergeRequest", at, row.author_id, row.iid)
        elif what == "merge":
            _merge(history, row, at, who)
        elif what == "close":
            row.state, row.closed, row.ended_by, row.updated = "closed", at, who, at
            history.event("closed", "MergeRequest", at, who, row.iid)
        else:
            _review(history, row, who, at, approves=what == "approve")
    elif isinstance(row, Issue):
        if what == "open_issue":
            history.event("opened", "Issue", at, row.author_id, row.iid)
            return
        row.updated = at
        if what == "comment_issue":
            row.notes.append(Note(history.next_id(), who, at, COMMENT))
            history.event("commented on", "Note", at, who, row.iid, row.notes[-1])
        else:
            row.state, row.closed, row.closed_by = "closed", at, who
            history.event("closed", "Issue", at, who, row.iid)
