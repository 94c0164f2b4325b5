"""Who may do what: roles are names for sets of rights, and this table is the only place that says which."""

from __future__ import annotations

from enum import StrEnum


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
    """One thing that a view can ask for; every view declares one (or is public, or for anybody signed in)."""

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
