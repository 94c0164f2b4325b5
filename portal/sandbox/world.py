"""The world of the sandbox: people, groups, projects, roles, tokens and switches, in memory.

Every change goes through here, so that what is cached between requests is dropped in time.
Tests may change people, switches and clock directly; for groups, projects and roles use the methods.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import UTC, date, timedelta
from typing import Any
from urllib.parse import urlsplit

from portal.sandbox.activity import Activity
from portal.sandbox.deliveries import Deliveries
from portal.sandbox.environments import EnvironmentStore
from portal.sandbox.foundation import Foundation
from portal.sandbox.git import GitStore
from portal.sandbox.groups import GUEST, MAINTAINER, OWNER, Group, initial_groups
from portal.sandbox.histories import Histories
from portal.sandbox.hooks import Hooks
from portal.sandbox.members import Members
from portal.sandbox.options import SandboxOptions
from portal.sandbox.people import BLOCKED_ID, DEV_ID, FIRST_COLLEAGUE_ID, ROOT_ID, SERVICE_USER_ID, User, UserKind
from portal.sandbox.personal_tokens import GRANULAR, Access, GranularScope, PersonalToken
from portal.sandbox.profiles import has
from portal.sandbox.project_table import ProjectTable
from portal.sandbox.projects import Project, ProjectMaker
from portal.sandbox.selection import ProjectFilter, Selections

__all__ = ["GranularScope", "Group", "PersonalToken", "Project", "User", "World"]

TOKEN_LIFETIME_DAYS = 365
# https://docs.gitlab.com/security/tokens/#token-prefixes
OTHER_PREFIXES = {
    "deploy": "gldt-",
    "trigger": "glptt-",
    "feed": "glft-",
    "runner": "glrt-",
    "ci_job": "glcbt-",
    "agent": "glagent-",
    "incoming_mail": "glimt-",
    "scim": "glsoat-",
    "feature_flags": "glffct-",
    "workspace": "glwt-",
    "application": "gloas-",
}


class World(Foundation):
    """One GitLab instance."""

    def __init__(self, options: SandboxOptions | None = None) -> None:
        super().__init__(options)
        self.groups = initial_groups(self.options.project_count)
        maker = ProjectMaker(
            self.options.project_count, self.options.seed, self.anchor, self.groups, self.people, self.release
        )
        self.projects = ProjectTable(maker.all, self.groups, self.people, self._revision)
        self.members = Members(self.groups, self._revision)
        self.selections = Selections(self)
        self.hooks = Hooks()
        self.deliveries = Deliveries(self)
        self.activity = Activity(self)
        self.histories = Histories(self)
        self.git = GitStore(self)
        self.environments = EnvironmentStore(self)
        # Application id and user id of consents to fine-grained permissions that were taken back.
        self.withdrawn_consents: set[tuple[int, int]] = set()
        # Account id to what owns it: None is the instance.
        self.service_accounts: dict[int, tuple[str, int] | None] = {}
        self._give_initial_roles()
        for project_id, group_id, level in maker.shares():
            self.members.share(project_id, group_id, level)

    def _give_initial_roles(self) -> None:
        """Root owns what new people are added to; two groups belong to a colleague, so that some people lack them."""
        for group in self.groups.children(None):
            owner = ROOT_ID if group.path not in ("partners", "security") else FIRST_COLLEAGUE_ID
            self.members.put_on_group(group.id, owner, OWNER)
            if self.options.with_service_user and group.suggested_access_level:
                self.members.put_on_group(group.id, SERVICE_USER_ID, group.suggested_access_level)
        for path in ("web", "data/pipelines", "mobile/android"):
            self.members.put_on_group(self.group(path).id, DEV_ID, 30)
        for number, path in enumerate(("platform", "web", "data", "mobile", "research")):
            self.members.put_on_group(self.group(path).id, FIRST_COLLEAGUE_ID + 1 + number, MAINTAINER)
        self.members.put_on_group(self.group("partners").id, DEV_ID, GUEST)
        self.members.put_on_group(self.group("platform").id, BLOCKED_ID, 20)

    # People and bots

    def create_user(
        self,
        *,
        name: str,
        username: str,
        email: str = "",
        password: str = "",
        admin: bool = False,
        external: bool = False,
        kind: UserKind = "human",
        confirmed: bool = True,
        roles: dict[str, int] | None = None,
    ) -> User:
        """Create an account; `roles` maps full paths of groups to access levels.

        The e-mail address defaults to one at example.com, the password to `sandbox-<username>`.
        """
        with self.lock:
            user = User(
                self.people.next_id(),
                username,
                name,
                email or f"{username}@example.com",
                password or f"sandbox-{username}",
                self.now(),
                admin=admin,
                external=external,
                kind=kind,
                confirmed=confirmed,
            )
            self.people.add(user)
            for full_path, level in (roles or {}).items():
                self.members.put_on_group(self.group(full_path).id, user.id, level)
            self._changed()
        self.activity.user_created(user)
        return user

    # Groups and roles

    def group(self, full_path: str) -> Group:
        """Return by full path. Raises LookupError if there is none."""
        group = self.groups.by_path(full_path)
        if group is None:
            raise LookupError(f"no group {full_path}")
        return group

    def group_by_path(self, full_path: str) -> Group | None:
        """Return by full path."""
        return self.groups.by_path(full_path)

    def top_level_groups(self) -> list[Group]:
        """Return the groups without a parent."""
        return self.groups.children(None)

    def add_group(self, full_path: str, name: str = "", visibility: str = "private") -> Group:
        """Create a group; its parent must exist."""
        group = self.groups.add(full_path, name or full_path.rpartition("/")[2], visibility)
        self._changed()
        self.activity.group_created(group)
        return group

    def rename_group(self, group_id: int, path: str, name: str | None = None) -> Group:
        """Give a group another path; old addresses of projects below it redirect from now on."""
        before, was = self.projects.remember_paths_below(group_id), self.groups.by_id(group_id)
        group = self.groups.rename(group_id, path, name)
        self.projects.note_moves(before)
        self._changed()
        self.activity.group_renamed(was or group, group)
        return group

    def add_group_member(self, group_id: int, user_id: int, access_level: int) -> None:
        """Give a role on a group and everything below it; level 0 removes it."""
        before, group = self.members.direct_on_group(group_id, user_id), self.groups.by_id(group_id)
        self.members.put_on_group(group_id, user_id, access_level)
        self._changed()
        if group is not None:
            self.activity.member_changed(user_id, group, before, access_level)

    def add_project_member(self, project_id: int, user_id: int, access_level: int) -> None:
        """Give a role on one project; level 0 removes it."""
        before, project = self.members.direct_on_project(project_id, user_id), self.projects.by_id(project_id)
        self.members.put_on_project(project_id, user_id, access_level)
        self._changed()
        if project is not None:
            self.activity.member_changed(user_id, project, before, access_level)

    def add_member(self, user: User, place: Group | Project, access_level: int) -> None:
        """Give a role on a group (inherited by everything below) or a project; level 0 removes it."""
        if isinstance(place, Group):
            self.add_group_member(place.id, user.id, access_level)
        else:
            self.add_project_member(place.id, user.id, access_level)

    def share_project(self, project_id: int, group_id: int, access_level: int) -> None:
        """Invite a group to a project."""
        self.members.share(project_id, group_id, access_level)
        self._changed()

    def memberships_of(self, user: User) -> list[tuple[Group, int]]:
        """Return the groups a person was added to directly, with the level."""
        pairs = ((self.groups.by_id(group_id), level) for group_id, level in self.members.groups_of(user.id))
        return [(group, level) for group, level in pairs if group is not None]

    def group_paths_of(self, user: User) -> list[str]:
        """Return the full paths of the groups a person was added to directly."""
        return [group.full_path for group, _ in self.memberships_of(user)]

    def owns_group(self, user: User, group: Group) -> bool:
        """Return whether a person may change a group; administrators may."""
        return user.admin or self.members.on_groups(user.id).get(group.id, 0) >= OWNER

    # Projects

    def project(self, path_or_id: str | int) -> Project:
        """Return by full path or id. Raises LookupError if there is none."""
        found = self.projects.by_id(path_or_id) if isinstance(path_or_id, int) else self.projects.by_path(path_or_id)
        if found is None:
            raise LookupError(f"no project {path_or_id}")
        return found

    def add_project(self, full_path: str, name: str = "", **attributes: Any) -> Project:
        """Create a project in a group, or in a personal namespace if the first part is a username."""
        namespace, _, path = full_path.rpartition("/")
        group, owner = self.groups.by_path(namespace), self.people.by_username(namespace)
        if group is None and owner is None:
            raise LookupError(f"no namespace {namespace}")
        now = int(self.now().timestamp())
        details: dict[str, Any] = {"visibility": "private", "creator_id": ROOT_ID}
        details |= {"created": now, "updated": now, "last_activity": now}
        with self.lock:
            project = Project(
                id=self.projects.next_id(),
                name=name or path,
                path=path,
                group_id=group.id if group else None,
                owner_id=owner.id if owner and not group else None,
                **(details | attributes),
            )
            self.projects.put(project)
            self._changed()
        self.activity.project_created(project)
        return project

    def change_project(self, project_id: int, **changes: Any) -> Project:
        """Change attributes (of `Project`) and stamp `updated` unless given; an old address redirects from now on."""
        now = int(self.now().timestamp())
        before = self.projects.by_id(project_id)
        old_path = self.projects.full_path(before) if before else ""
        project = self.projects.change(project_id, **({"updated": now} | changes))
        self._changed()
        self.activity.project_changed(before or project, old_path, project)
        return project

    def delete_project(self, project_id: int) -> None:
        """Delete permanently, with its hooks and roles."""
        project = self.projects.by_id(project_id)
        if project is not None:
            self.activity.project_removed(project)
        self.projects.remove(project_id)
        self.members.forget_project(project_id)
        self.hooks.forget_project(project_id)
        self._changed()

    def visible_projects(self, user: User) -> list[Project]:
        """Return what a person sees in the web interface, latest activity first; do not change the list."""
        wanted = ProjectFilter(user.id, sees_everything=user.admin, order_by="last_activity_at")
        return self.selections.projects(wanted)

    def access_level(self, user: User, project: Project) -> int:
        """Return a person's effective level on a project, 0 for none."""
        return self.members.on_project(project, user.id)

    # Tokens that belong to a place, and secrets that are no access tokens

    def create_group_token(self, group: Group, access_level: int = MAINTAINER, **details: Any) -> str:
        """Issue a group access token: a bot user with a role on this group only."""
        return self._place_token(group, access_level, details)

    def create_project_token(self, project: Project, access_level: int = MAINTAINER, **details: Any) -> str:
        """Issue a project access token: a bot user with a role on this project only."""
        return self._place_token(project, access_level, details)

    def _place_token(self, place: Group | Project, access_level: int, details: dict[str, Any]) -> str:
        base = f"{'group' if isinstance(place, Group) else 'project'}_{place.id}_bot"
        with self.lock:
            number = "" if self.people.by_username(base) is None else self.people.next_id()
            username = f"{base}_{secrets.token_hex(8)}" if has(self, "random_bot_names") else f"{base}{number}"
            name = str(details.get("name", "Access token"))
            bot = self.create_user(
                name=name, username=username, email=self._noreply(username), kind="project_bot", external=True
            )
            self.add_member(bot, place, access_level)
            return self.create_personal_token(bot, **({"expires_at": self._in_a_year()} | details))

    def bots_of(self, place: Group | Project) -> list[tuple[User, int]]:
        """Return the bot users of a place's access tokens, each with its level there."""
        base = f"{'group' if isinstance(place, Group) else 'project'}_{place.id}_bot"
        direct = self.members.direct_on_group if isinstance(place, Group) else self.members.direct_on_project
        bots = [user for user in self.all_users() if user.kind == "project_bot" and user.username.startswith(base)]
        return [(bot, direct(place.id, bot.id)) for bot in bots]

    def create_service_account(
        self, place: Group | Project | None = None, *, name: str = "", username: str = "", email: str = ""
    ) -> User:
        """Create a service account of the instance, a top-level group or a project; it has no role anywhere yet."""
        kind = "" if place is None else f"{'group' if isinstance(place, Group) else 'project'}_{place.id}_"
        username = username or f"service_account_{kind}{secrets.token_hex(16)}"
        account = self.create_user(
            name=name or "Service account user",
            username=username,
            email=email or self._noreply(username),
            kind="service_account",
        )
        self.service_accounts[account.id] = None if place is None else (type(place).__name__, place.id)
        return account

    def create_service_account_token(self, roles: dict[str, int], **details: Any) -> str:
        """Create a service account of the instance with these roles on groups, and issue a token of it."""
        account = self.create_service_account()
        for full_path, level in roles.items():
            self.add_group_member(self.group(full_path).id, account.id, level)
        return self.create_personal_token(account, **details)

    def create_fine_grained_token(
        self,
        user: User,
        permissions: Iterable[str],
        *,
        on: Iterable[Group | Project] = (),
        access: Access = "all_memberships",
        **details: Any,
    ) -> str:
        """Issue a fine-grained token: what concerns the user and the instance, and `permissions` on some places.

        GitLab's form sorts permissions by boundary, so each is granted wherever it means something. `on` names groups
        and projects; without any, `access` says which of the user's.
        """
        if not has(self, "fine_grained_tokens"):
            raise ValueError(f"GitLab {self.settings.version} has no fine-grained tokens")
        names = tuple(permissions)
        details = {"expires_at": self._in_a_year()} | details
        return self.create_personal_token(user, granular_scopes=_granular_scopes(names, on, access), **details)

    def make_granular(
        self, application_id: int, permissions: Iterable[str], on: Iterable[Group | Project] = ()
    ) -> None:
        """Give an application fine-grained permissions: its tokens then have the only scope `granular`."""
        application = self.oauth.application(application_id)
        if application is None or not has(self, "granular_applications"):
            raise ValueError("no application that could have fine-grained permissions")
        application.scopes = (GRANULAR,)
        application.granular_scopes = _granular_scopes(tuple(permissions), on, "all_memberships")

    def other_secret(self, kind: str) -> str:
        """Return a secret that GitLab has, but that is no access token: `deploy`, `trigger`, `feed`, `runner`, …"""
        return self.prefixed(OTHER_PREFIXES[kind]) + secrets.token_urlsafe(15)

    def _noreply(self, username: str) -> str:
        return f"{username}@noreply.{urlsplit(self.settings.external_url).hostname}"

    def _in_a_year(self) -> date:
        return self.now().astimezone(UTC).date() + timedelta(days=TOKEN_LIFETIME_DAYS)


def _granular_scopes(
    names: tuple[str, ...], on: Iterable[Group | Project], access: Access
) -> tuple[GranularScope, ...]:
    places = [
        GranularScope("selected_memberships", names, group_id=place.id)
        if isinstance(place, Group)
        else GranularScope("selected_memberships", names, project_id=place.id)
        for place in on
    ]
    everywhere = (GranularScope("user", names), GranularScope("instance", names))
    return (*everywhere, *(places or [GranularScope(access, names)]))
