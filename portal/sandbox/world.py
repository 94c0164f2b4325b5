"""The world of the sandbox: people, groups, projects, roles, tokens and switches, in memory.

Everything that happens to it goes through here, so that what is remembered between requests is dropped in time.
Tests may change people, switches and clock directly; for groups, projects and roles use the methods.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from portal.sandbox.clock import Clock
from portal.sandbox.groups import GUEST, MAINTAINER, OWNER, Group, initial_groups
from portal.sandbox.hooks import Hooks
from portal.sandbox.members import Members
from portal.sandbox.oauth.store import OAuthStore
from portal.sandbox.options import SandboxOptions
from portal.sandbox.people import (
    BLOCKED_ID,
    DEV_ID,
    FIRST_COLLEAGUE_ID,
    ROOT_ID,
    SERVICE_USER_ID,
    People,
    User,
    initial_people,
)
from portal.sandbox.personal_tokens import PREFIX_SINCE, PersonalToken, PersonalTokens
from portal.sandbox.project_table import ProjectTable
from portal.sandbox.projects import Project, ProjectMaker
from portal.sandbox.selection import ProjectFilter, Selections
from portal.sandbox.settings import SandboxSettings

__all__ = ["Group", "PersonalToken", "Project", "User", "World"]

TOKEN_LIFETIME_DAYS = 365


class World:
    """One GitLab instance; `lock` may be held across steps that belong together."""

    def __init__(self, options: SandboxOptions | None = None) -> None:
        self.options = options or SandboxOptions()
        self.settings = SandboxSettings.from_options(self.options)
        self.clock = Clock()
        self.lock = threading.RLock()
        self.revision = 0
        # Times of the data hang on the day the sandbox was started, so that its lists always look lived in.
        self.anchor = self.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
        self.people = People(initial_people(self.anchor, with_service_user=self.options.with_service_user))
        self.groups = initial_groups(self.options.project_count)
        maker = ProjectMaker(
            self.options.project_count, self.options.seed, self.anchor, self.groups, self.people, self.release
        )
        self.projects = ProjectTable(maker.all, self.groups, self.people, self._revision)
        self.members = Members(self.groups, self._revision)
        self.selections = Selections(self)
        self.personal_access_tokens = PersonalTokens()
        self.hooks = Hooks()
        self.oauth = OAuthStore(self.now, lambda: self.release)
        self._give_initial_roles()
        for project_id, group_id, level in maker.shares():
            self.members.share(project_id, group_id, level)

    def _revision(self) -> int:
        return self.revision

    def _changed(self) -> None:
        with self.lock:
            self.revision += 1

    def _give_initial_roles(self) -> None:
        """Root owns what newcomers are added to; two groups belong to a colleague, so that somebody lacks them."""
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

    # Time, version and switches

    def now(self) -> datetime:
        """Return GitLab's time, aware UTC."""
        return self.clock.now()

    @property
    def release(self) -> tuple[int, int]:
        """The (major, minor) of the version played."""
        major, minor = self.settings.version.split(".")[:2]
        return int(major), int(minor)

    def change_settings(self, **changes: Any) -> None:
        """Set switches by name. Raises AttributeError for one that does not exist."""
        with self.lock:
            for name, value in changes.items():
                getattr(self.settings, name)
                setattr(self.settings, name, value)

    # People

    def all_users(self) -> list[User]:
        """Return everybody in order of id."""
        return self.people.all()

    def user(self, user_id: int) -> User | None:
        """Return by id."""
        return self.people.by_id(user_id)

    def user_by_username(self, username: str) -> User | None:
        """Return by username, ignoring case."""
        return self.people.by_username(username)

    def user_with_password(self, login: str, password: str) -> User | None:
        """Return whom username (or e-mail address) and password belong to, whatever their state."""
        user = self.people.by_username(login) or self.people.by_email(login)
        return user if user is not None and password and user.password == password else None

    def sign_in(self, login: str, password: str) -> User | None:
        """Return the same, but only an active person."""
        user = self.user_with_password(login, password)
        return user if user is not None and user.state == "active" else None

    def demo_accounts(self) -> list[User]:
        """Return the people whose passwords the sign-in page shows."""
        return [user for user in self.people.all() if not user.bot][:12]

    def create_user(
        self,
        *,
        name: str,
        username: str,
        email: str = "",
        password: str = "",
        admin: bool = False,
        external: bool = False,
        bot: bool = False,
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
                bot=bot,
                confirmed=confirmed,
            )
            self.people.add(user)
            for full_path, level in (roles or {}).items():
                self.members.put_on_group(self.group(full_path).id, user.id, level)
            self._changed()
            return user

    def set_user_state(self, user_id: int, state: str) -> None:
        """Block, deactivate or activate an account."""
        self._user(user_id).state = state

    def _user(self, user_id: int) -> User:
        user = self.people.by_id(user_id)
        if user is None:
            raise LookupError(f"no user {user_id}")
        return user

    def open_visibilities(self, user_id: int) -> frozenset[str]:
        """Return the visibilities a person sees without being a member; external people see less."""
        user = self.people.by_id(user_id)
        external = user is None or user.external
        return frozenset({"public"} if external else {"public", "internal"})

    # Groups and roles

    def group(self, full_path: str) -> Group:
        """Return by full path. Raises LookupError when there is none."""
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
        return group

    def rename_group(self, group_id: int, path: str, name: str | None = None) -> Group:
        """Give a group another path; old addresses of projects below redirect from now on."""
        before = self.projects.remember_paths_below(group_id)
        group = self.groups.rename(group_id, path, name)
        self.projects.note_moves(before)
        self._changed()
        return group

    def add_group_member(self, group_id: int, user_id: int, access_level: int) -> None:
        """Give a role on a group and all below it; level 0 takes it away."""
        self.members.put_on_group(group_id, user_id, access_level)
        self._changed()

    def add_project_member(self, project_id: int, user_id: int, access_level: int) -> None:
        """Give a role on one project; level 0 takes it away."""
        self.members.put_on_project(project_id, user_id, access_level)
        self._changed()

    def add_member(self, user: User, place: Group | Project, access_level: int) -> None:
        """Give a role on a group (inherited by all below) or a project; level 0 takes it away."""
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

    def owned_groups(self, user: User) -> list[Group]:
        """Return the groups a person owns, inherited ones included."""
        levels = self.members.on_groups(user.id)
        return [group for group in self.groups.all() if levels.get(group.id, 0) >= OWNER]

    def owns_group(self, user: User, group: Group) -> bool:
        """Return whether a person may change a group; administrators may."""
        return user.admin or self.members.on_groups(user.id).get(group.id, 0) >= OWNER

    # Projects

    def project(self, path_or_id: str | int) -> Project:
        """Return by full path or id. Raises LookupError when there is none."""
        found = self.projects.by_id(path_or_id) if isinstance(path_or_id, int) else self.projects.by_path(path_or_id)
        if found is None:
            raise LookupError(f"no project {path_or_id}")
        return found

    def add_project(self, full_path: str, name: str = "", **attributes: Any) -> Project:
        """Create a project in a group, or in a personal namespace when the first part is a username."""
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
        return project

    def change_project(self, project_id: int, **changes: Any) -> Project:
        """Change attributes (of `Project`) and stamp `updated` unless given; an old address redirects from now on."""
        now = int(self.now().timestamp())
        project = self.projects.change(project_id, **({"updated": now} | changes))
        self._changed()
        return project

    def delete_project(self, project_id: int) -> None:
        """Delete for good, with its hooks and roles."""
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

    # Personal access tokens

    def create_personal_token(
        self,
        user: User,
        *,
        name: str = "token",
        scopes: Iterable[str] = ("api",),
        expires_at: date | None = None,
        description: str = "",
        impersonation: bool = False,
    ) -> str:
        """Issue a token and return its text; without a date it never expires."""
        prefix = "glpat-" if self.release >= PREFIX_SINCE else ""
        token = self.personal_access_tokens.create(
            user.id,
            name,
            scopes,
            self.now(),
            expires_at,
            description=description,
            impersonation=impersonation,
            prefix=prefix,
        )
        return token.token

    def create_group_token(self, group: Group, access_level: int = MAINTAINER, **details: Any) -> str:
        """Issue a group access token: a bot user with a role on this group only."""
        bot = self._bot(f"group_{group.id}_bot")
        self.add_group_member(group.id, bot.id, access_level)
        return self.create_personal_token(bot, **({"expires_at": self._in_a_year()} | details))

    def create_project_token(self, project: Project, access_level: int = MAINTAINER, **details: Any) -> str:
        """Issue a project access token: a bot user with a role on this project only."""
        bot = self._bot(f"project_{project.id}_bot")
        self.add_project_member(project.id, bot.id, access_level)
        return self.create_personal_token(bot, **({"expires_at": self._in_a_year()} | details))

    def _bot(self, base: str) -> User:
        username = base if self.people.by_username(base) is None else f"{base}{self.people.next_id()}"
        return self.create_user(name="Access token", username=username, bot=True, external=True)

    def _in_a_year(self) -> date:
        return self.now().astimezone(UTC).date() + timedelta(days=TOKEN_LIFETIME_DAYS)

    def personal_tokens_of(self, user: User) -> list[PersonalToken]:
        """Return a person's own tokens, oldest first, dead ones included."""
        return self.personal_access_tokens.of_user(user.id)

    def revoke_personal_token(self, user: User, token_id: int) -> bool:
        """Revoke one of a person's own tokens; False when it is not theirs."""
        for token in self.personal_tokens_of(user):
            if token.id == token_id:
                token.revoked_at = token.revoked_at or self.now()
                return True
        return False
