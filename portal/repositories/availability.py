"""Why a repository cannot be enabled: one reason each, the most fundamental first, with what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from portal.repositories.models import Reason

REPORTER = 20
SHA256 = "sha256"


@dataclass(frozen=True)
class Explanation:
    """What people read: the word on the badge, the sentence, and how to fix it."""

    label: str
    sentence: str
    remedy: str


EXPLANATIONS = {
    Reason.DISCONNECTED: Explanation(
        "Disconnected",
        "Its connection is disconnected, so Gatehouse neither reads it nor gives access to it.",
        "An administrator can connect it again on the connection's page.",
    ),
    Reason.MISSING: Explanation(
        "No longer seen",
        "The last complete read of GitLab did not find it.",
        "Check in GitLab whether it was deleted, or whether the service user lost its membership.",
    ),
    Reason.PENDING_DELETION: Explanation(
        "Pending deletion", "It is marked for deletion in GitLab.", "Restore it in GitLab, under Settings → General."
    ),
    Reason.ROLE_TOO_LOW: Explanation(
        "Role too low",
        "The service user is below Reporter there, so GitLab does not show it the code.",
        "Give the service user the role Reporter in this project or its group.",
    ),
    Reason.REPOSITORY_OFF: Explanation(
        "Repository off",
        "The repository feature is switched off for this project.",
        "Switch it on in GitLab: Settings → General → Visibility.",
    ),
    Reason.ARCHIVED: Explanation("Archived", "It is archived and read-only.", "Unarchive it in GitLab."),
    Reason.SHA256: Explanation(
        "SHA-256", "It uses SHA-256 object ids, which Gatehouse cannot read yet.", "There is nothing to do for now."
    ),
    Reason.EMPTY: Explanation("Empty", "It has no commits yet.", "Push a first commit; the next read notices it."),
}


@dataclass(frozen=True)
class Facts:
    """What decides whether a repository can be enabled, as the catalogue knows it."""

    archived: bool
    is_empty: bool
    object_format: str
    repository_enabled: bool
    marked_for_deletion: bool
    access_level: int | None


def reason_against(facts: Facts) -> Reason | None:
    """Return why it cannot be enabled; None if it can. An unknown role is not a reason: the first call will show."""
    checks = {
        Reason.PENDING_DELETION: facts.marked_for_deletion,
        Reason.ROLE_TOO_LOW: facts.access_level is not None and facts.access_level < REPORTER,
        Reason.REPOSITORY_OFF: not facts.repository_enabled,
        Reason.ARCHIVED: facts.archived,
        Reason.SHA256: facts.object_format == SHA256,
        Reason.EMPTY: facts.is_empty,
    }
    return next((reason for reason, holds in checks.items() if holds), None)


# https://docs.gitlab.com/api/access_requests/#valid-access-levels
ROLES = {
    0: "None",
    5: "Minimal",
    10: "Guest",
    15: "Planner",
    20: "Reporter",
    30: "Developer",
    40: "Maintainer",
    50: "Owner",
}


def role_name(access_level: int | None) -> str:
    """Return GitLab's word for a role; a level between two is the lower one."""
    if access_level is None:
        return "–"
    return ROLES[max(level for level in ROLES if level <= max(access_level, 0))]


def explain(code: str) -> Explanation | None:
    """Return what people read for a stored code; None for an available repository."""
    return EXPLANATIONS[Reason(code)] if code else None
