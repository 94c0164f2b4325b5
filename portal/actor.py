"""Who acts and who may do what: roles are names for sets of rights, and only the table here says which."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from portal.errors import NotFound


class ActorKind(StrEnum):
    """What kind of actor did something; stored in `audit_event.actor_kind` and `job.actor_kind`."""

    USER = "user"
    API_KEY = "api_key"
    WORKLOAD = "workload"
    GITLAB_USER = "gitlab_user"
    # The person with a hand-over link; whoever made it says who that is, and no one has checked it.
    HAND_OVER = "hand_over"
    SYSTEM = "system"
    # Someone who has not proved who they are.
    ANONYMOUS = "anonymous"


@dataclass(frozen=True)
class Actor:
    """Who did something or asked for it, with the name they had at that moment.

    Attributes:
        id: unique within its kind: the id of one of our rows as text, or the name a workload or GitLab uses for itself.
    """

    kind: ActorKind
    id: str = ""
    name: str = ""

    @classmethod
    def of_user(cls, user_id: int | None, name: str) -> Actor:
        """Return a person who has an account here."""
        return cls(ActorKind.USER, str(user_id), name)

    @property
    def user_id(self) -> int | None:
        """The id of a person who has an account here; None for everyone else."""
        return int(self.id) if self.kind == ActorKind.USER else None


SYSTEM = Actor(ActorKind.SYSTEM, name="Gatehouse")
COMMAND_LINE = Actor(ActorKind.SYSTEM, "console", "Command line")
ANONYMOUS = Actor(ActorKind.ANONYMOUS)


class Role(StrEnum):
    """What a member is in an organization; stored in `membership.role`."""

    OWNER = "owner"
    ADMINISTRATOR = "administrator"
    TEAM_LEAD = "team_lead"
    AUDITOR = "auditor"

    @property
    def label(self) -> str:
        """The role as people read it."""
        return self.value.replace("_", " ").capitalize()


class Right(StrEnum):
    """One right that a view can require; every view declares one (or is public, or open to anyone signed in)."""

    SEE_CONNECTIONS = "see_connections"
    MANAGE_CONNECTIONS = "manage_connections"
    SEE_REPOSITORIES = "see_repositories"
    ENABLE_REPOSITORIES = "enable_repositories"
    SEE_JOBS = "see_jobs"
    SEE_MEMBERS = "see_members"
    MANAGE_MEMBERS = "manage_members"
    GRANT_GROUPS = "grant_groups"
    SEE_AUDIT = "see_audit"
    CONFIRM_RESTORED = "confirm_restored"


ROLE_RIGHTS: dict[Role, frozenset[Right]] = {
    Role.OWNER: frozenset(Right),
    Role.ADMINISTRATOR: frozenset(Right) - {Right.MANAGE_MEMBERS, Right.CONFIRM_RESTORED},
    # Only within the groups granted to them; that narrowing is in the queries of `portal.repositories`.
    Role.TEAM_LEAD: frozenset(
        {Right.SEE_CONNECTIONS, Right.SEE_REPOSITORIES, Right.ENABLE_REPOSITORIES, Right.SEE_JOBS}
    ),
    Role.AUDITOR: frozenset(
        {Right.SEE_CONNECTIONS, Right.SEE_REPOSITORIES, Right.SEE_JOBS, Right.SEE_MEMBERS, Right.SEE_AUDIT}
    ),
}

ROLE_SENTENCES: dict[Role, str] = {
    Role.OWNER: "Everything in the organization, members included.",
    Role.ADMINISTRATOR: "Creates, authorizes and repairs connections, and enables repositories of all groups.",
    Role.TEAM_LEAD: "Sees and enables repositories in the groups they lead.",
    Role.AUDITOR: "Reads everything but secrets, the audit log included.",
}


@dataclass(frozen=True)
class Principal:
    """A signed-in person in one organization, with the rights they have at this moment.

    Attributes:
        session_id: the row of `session`; None in a job, which acts for a person without their browser.
        proved_at: when they last gave their password in this session; None in a job.
        acted_by: who acts with these rights instead of the person themselves: by a hand-over link, or the command line.
    """

    user_id: int
    name: str
    email: str
    organization_id: int
    organization_name: str
    plan: str
    membership_id: int
    role: Role
    session_id: int | None = None
    proved_at: datetime | None = None
    acted_by: Actor | None = None

    @property
    def actor(self) -> Actor:
        """How the audit log and jobs identify whoever acts."""
        return self.acted_by or Actor.of_user(self.user_id, self.name)

    def may(self, right: Right) -> bool:
        """Return whether their role includes a right."""
        return right in ROLE_RIGHTS[self.role]

    @property
    def sees_all_groups(self) -> bool:
        """Whether they may see the repositories of every group; a team lead sees only the granted ones."""
        return self.role != Role.TEAM_LEAD


class AccessRefused(NotFound):
    """Someone asked for what they have no right to: to them it does not exist, and the refusal is recorded."""

    def __init__(self, right: Right, sentence: str | None = None) -> None:
        super().__init__(sentence)
        self.right = right


class RightLost(AccessRefused):
    """Someone had the right when their request began, but no longer has it."""

    code = "right_lost"
    title = "You no longer have the right to do this"
    sentence = "Your role or your session changed while this was running. Nothing was changed."
