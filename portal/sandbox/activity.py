"""What people do in the sandbox, and which hooks hear of it."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from portal.sandbox import payloads
from portal.sandbox.groups import Group
from portal.sandbox.hooks import INSTANCE, Hook
from portal.sandbox.payloads import Item, no_commit
from portal.sandbox.people import ROOT_ID, User
from portal.sandbox.projects import Project

if TYPE_CHECKING:
    from portal.sandbox.world import World

# GitLab's name of a kind of event, and the field of a hook that switches it on.
TRIGGERS = {
    "push_hooks": "push_events",
    "tag_push_hooks": "tag_push_events",
    "merge_request_hooks": "merge_requests_events",
    "issue_hooks": "issues_events",
    "confidential_issue_hooks": "confidential_issues_events",
    "note_hooks": "note_events",
    "confidential_note_hooks": "confidential_note_events",
    "member_hooks": "member_events",
    "subgroup_hooks": "subgroup_events",
    "project_hooks": "project_events",
    "repository_update_hooks": "repository_update_events",
}


class Activity:
    """Pushes, issues, merge requests and comments, and the deliveries of these and of every change of the world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._lock = threading.Lock()
        self._heads: dict[tuple[int, str], str] = {}
        self._items: dict[tuple[int, str], list[Item]] = {}
        self._last_id = 0

    # In a repository

    def head(self, project: Project, ref: str) -> str:
        """Return the commit a branch or tag is at; zeros if there is none."""
        if self._world.git.has(project.id):
            return self._world.git.refs(project).get(ref, no_commit(project))
        first = "" if project.empty or ref != f"refs/heads/{project.default_branch}" else "commit"
        initial = payloads.commit_id(project, first) if first else no_commit(project)
        return self._heads.get((project.id, ref), initial)

    def push(
        self,
        project_id: int,
        *branches: str,
        commits: int = 1,
        tags: Sequence[str] = (),
        user: User | None = None,
        delete: bool = False,
    ) -> None:
        """Push to branches (the default one if nothing is named) and tags at once, or delete them.

        GitLab sends nothing about branches, or about tags, if one push changes more than three of them.
        """
        world, user = self._world, self._actor(user)
        project = world.project(project_id)
        if not branches and not tags:
            branches = (project.default_branch,)
        refs = [f"refs/heads/{name}" for name in branches] + [f"refs/tags/{name}" for name in tags]
        changes: list[tuple[str, str, str]] = []
        with self._lock:
            for ref in refs:
                before = self.head(project, ref)
                after = no_commit(project) if delete else payloads.commit_id(project, f"{ref}{uuid.uuid4()}")
                self._heads[project.id, ref] = after
                changes.append((before, after, ref))
        self.pushed(project, changes, user, commits=commits)

    def pushed(
        self,
        project: Project,
        changes: Sequence[tuple[str, str, str]],
        user: User | None,
        *,
        commits: int = 1,
    ) -> None:
        """Report what one push changed: where each ref was, where it is, and its name."""
        world, user = self._world, self._actor(user)
        nothing = no_commit(project)
        now = int(world.now().timestamp())
        is_left_empty = project.empty and all(after == nothing for _, after, _ in changes)
        project = world.projects.change(project.id, last_activity=now, empty=is_left_empty)
        limit = world.settings.push_hooks_limit
        number_of_tags = sum(ref.startswith("refs/tags/") for _, _, ref in changes)
        for before, after, ref in changes:
            is_tag = ref.startswith("refs/tags/")
            if (number_of_tags if is_tag else len(changes) - number_of_tags) > limit:
                continue
            is_gone = is_tag or after == nothing
            known = [] if is_gone else [f"Change {number + 1} of {ref[11:]}" for number in range(commits)]
            event = "tag_push" if is_tag else "push"
            body = payloads.push_body(world, project, user, ref, before, after, known, event=event)
            self.fire(f"{event}_hooks", body, project, branch=ref.partition("/heads/")[2])
        update = payloads.repository_update_body(world, project, user, list(changes))
        self._tell_instance(update, "repository_update_events")

    def latest(self, project_id: int, kind: str) -> Item | None:
        """Return the newest `issue` or `merge_request` of a project."""
        items = self._items.get((project_id, kind), [])
        return items[-1] if items else None

    def issue(
        self, project_id: int, action: str = "open", *, confidential: bool = False, user: User | None = None
    ) -> Item:
        """Open an issue, or `close`, `reopen` or `update` the newest one."""
        project, user = self._world.project(project_id), self._actor(user)
        issue = self._item(project, "issue", action, user, "Something to look into")
        issue.confidential = issue.confidential or confidential
        body = payloads.issue_body(self._world, project, user, issue, action)
        self.fire("confidential_issue_hooks" if issue.confidential else "issue_hooks", body, project)
        return issue

    def merge_request(self, project_id: int, action: str = "open", *, user: User | None = None) -> Item:
        """Open a merge request, or `close`, `reopen`, `update`, `approved` or `merge` the newest one."""
        project, user = self._world.project(project_id), self._actor(user)
        request = self._item(project, "merge_request", action, user, "A change to review")
        body = payloads.merge_request_body(self._world, project, user, request, action)
        self.fire("merge_request_hooks", body, project)
        return request

    def comment(self, project_id: int, kind: str = "issue", *, user: User | None = None) -> None:
        """Comment on the newest issue or merge request, which is opened if there is none."""
        project, user = self._world.project(project_id), self._actor(user)
        opened = self.merge_request if kind == "merge_request" else self.issue
        about = self.latest(project_id, kind) or opened(project_id, user=user)
        with self._lock:
            self._last_id += 1
            about.notes.append(self._last_id)
        body = payloads.note_body(self._world, project, user, about, kind, about.notes[-1])
        self.fire("confidential_note_hooks" if about.confidential else "note_hooks", body, project)

    def sample(self, hook: Hook, trigger: str, user: User) -> tuple[str, dict[str, Any]]:
        """Return what a test of a hook sends: the kind of event and its body.

        Raises:
            LookupError: there is nothing to make it from, in GitLab's words.
        """
        world = self._world
        group = world.groups.by_id(hook.owner_id) if hook.level == "group" else None
        project = world.projects.by_id(hook.owner_id) if group is None else self._first_project(group)
        kind = next((kind for kind, flag in TRIGGERS.items() if flag == trigger), "")
        if group is not None and trigger in ("member_events", "subgroup_events"):
            if trigger == "member_events":
                return kind, payloads.member_event(world, user, group, 30, "user_add_to_group")
            return kind, payloads.subgroup_event(world, group, group, "subgroup_create")
        if project is None:
            raise LookupError("Ensure the group has a project with commits.")
        if trigger in ("push_events", "tag_push_events"):
            if project.empty:
                raise LookupError("Ensure the project has at least one commit.")
            event, ref = kind.removesuffix("_hooks"), f"refs/heads/{project.default_branch}"
            head, before, messages = self.head(project, ref), payloads.commit_id(project, "before"), ["Initial commit"]
            if event == "tag_push":
                ref, before, messages = "refs/tags/v1", no_commit(project), []
            return kind, payloads.push_body(world, project, user, ref, before, head, messages, event=event)
        if trigger == "project_events":
            return kind, payloads.project_event(world, project, "project_create")
        issue, request = self.latest(project.id, "issue"), self.latest(project.id, "merge_request")
        if trigger in ("issues_events", "confidential_issues_events") and issue is not None:
            return kind, payloads.issue_body(world, project, user, issue, "open")
        if trigger == "merge_requests_events" and request is not None:
            return kind, payloads.merge_request_body(world, project, user, request, "open")
        noted = next((item for item in (issue, request) if item is not None and item.notes), None)
        if trigger in ("note_events", "confidential_note_events") and noted is not None:
            about = "issue" if noted is issue else "merge_request"
            return kind, payloads.note_body(world, project, user, noted, about, noted.notes[-1])
        what = {"issues": "issues", "confidential_issues": "issues", "merge_requests": "merge requests"}
        what |= {"note": "notes", "job": "CI jobs", "pipeline": "CI pipelines", "releases": "releases"}
        name = trigger.removesuffix("_events")
        raise LookupError(f"Ensure the project has {what.get(name, name.replace('_', ' '))}.")

    # What the world tells

    def project_created(self, project: Project) -> None:
        """Report a new project."""
        self._tell_of(project, "project_create")

    def project_removed(self, project: Project) -> None:
        """Report that a project is about to vanish; its own hooks hear nothing."""
        self._tell_of(project, "project_destroy")

    def project_changed(self, before: Project, old_path: str, project: Project) -> None:
        """Report a transfer, a rename or any other change, as GitLab does: of one of them only."""
        if (before.group_id, before.owner_id) != (project.group_id, project.owner_id):
            self._tell_of(project, "project_transfer", old_path)
        elif before.path != project.path:
            self._tell_of(project, "project_rename", old_path)
        else:
            self._tell_of(project, "project_update")

    def group_created(self, group: Group) -> None:
        """Report a new group, or subgroup."""
        if self._has_listeners():
            self._tell_instance(payloads.group_event(self._world, group, "group_create"))
            parent = self._world.groups.by_id(group.parent_id)
            if parent is not None:
                body = payloads.subgroup_event(self._world, group, parent, "subgroup_create")
                self._fire_group("subgroup_hooks", body, parent.id)

    def group_renamed(self, before: Group, group: Group) -> None:
        """Tell the instance's hooks; of the projects below a renamed group, no hook hears anything."""
        self._tell_instance(payloads.group_event(self._world, group, "group_rename", before))

    def member_changed(self, user_id: int, place: Group | Project, before: int, level: int) -> None:
        """Report someone's new role, or that they no longer have one."""
        user = self._world.user(user_id)
        if user is None or before == level or not self._has_listeners():
            return
        what = "add_to" if not before else "update_for" if level else "remove_from"
        event = f"user_{what}_{'group' if isinstance(place, Group) else 'team'}"
        body = payloads.member_event(self._world, user, place, level or before, event)
        self._tell_instance(body)
        if isinstance(place, Group):
            self._fire_group("member_hooks", body, place.id)

    def user_created(self, user: User) -> None:
        """Report a new account."""
        self._tell_instance(payloads.user_event(self._world, user, "user_create"))

    # Which hooks

    def _actor(self, user: User | None) -> User:
        return user or self._world.people.by_id(ROOT_ID) or self._world.all_users()[0]

    def _item(self, project: Project, kind: str, action: str, user: User, title: str) -> Item:
        """Open a new item for `open`, otherwise change the state of the newest. Raises LookupError if there is none."""
        now = self._world.now()
        with self._lock:
            items = self._items.setdefault((project.id, kind), [])
            if action == "open":
                self._last_id += 1
                items.append(Item(self._last_id, len(items) + 1, title, user.id, now, now))
            if not items:
                raise LookupError(f"no {kind} in {project.path}")
            state = {"close": "closed", "merge": "merged", "reopen": "opened"}.get(action)
            items[-1].state, items[-1].updated_at = state or items[-1].state, now
            return items[-1]

    def _first_project(self, group: Group) -> Project | None:
        below = {group.id, *(child.id for child in self._world.groups.descendants(group.id))}
        inside = (row for row in self._world.projects.rows if row.group_id in below and not row.empty)
        return next(inside, None)

    def _has_listeners(self) -> bool:
        """Return whether any hook exists: without one, nothing needs to be worked out."""
        return not self._world.hooks.is_empty

    def _tell_of(self, project: Project, event: str, old_path: str = "") -> None:
        if self._has_listeners():
            body = payloads.project_event(self._world, project, event, old_path)
            self._tell_instance(body)
            if event in ("project_create", "project_destroy"):
                self._fire_group("project_hooks", body, project.group_id)

    def fire(self, trigger: str, body: dict[str, Any], project: Project, *, branch: str | None = None) -> None:
        """Send to the project's hooks, those of every group above it, and the instance's."""
        hooks = [*self._world.hooks.of_project(project.id), *self._above(project.group_id)]
        wanted = [hook for hook in hooks if hook.flags.get(TRIGGERS[trigger]) and (not branch or _passes(hook, branch))]
        self._world.deliveries.enqueue(wanted, trigger, body)
        if TRIGGERS[trigger] in ("push_events", "tag_push_events", "merge_requests_events"):
            self._tell_instance(body | ({"commits": []} if "commits" in body else {}), TRIGGERS[trigger])

    def _fire_group(self, trigger: str, body: dict[str, Any], group_id: int | None) -> None:
        wanted = [hook for hook in self._above(group_id) if hook.flags.get(TRIGGERS[trigger])]
        self._world.deliveries.enqueue(wanted, trigger, body)

    def _above(self, group_id: int | None) -> list[Hook]:
        if self._world.settings.edition == "ce" or not self._world.settings.group_hooks:
            return []
        above = self._world.groups.ancestors(group_id)
        return [hook for group in above for hook in self._world.hooks.of(group.id, "group")]

    def _tell_instance(self, body: dict[str, Any], flag: str = "") -> None:
        """Send to the instance's hooks: to those with a flag, or to all, which hear of every place and account."""
        hooks = self._world.hooks.of(INSTANCE, "system")
        wanted = [hook for hook in hooks if not flag or hook.flags.get(flag)]
        self._world.deliveries.enqueue(wanted, "system_hooks", body)


def _passes(hook: Hook, branch: str) -> bool:
    pattern = str(hook.details.get("push_events_branch_filter") or "")
    strategy = hook.details.get("branch_filter_strategy", "wildcard")
    if not pattern or strategy == "all_branches":
        return True
    return bool(re.search(pattern, branch)) if strategy == "regex" else fnmatchcase(branch, pattern)
