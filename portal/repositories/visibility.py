"""Which repositories a person may see and enable: applied in the query, so that lists, counts and changes agree."""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import aliased
from sqlmodel import col

from portal.accounts.models import GroupGrant
from portal.actor import Principal, Role
from portal.connections.models import Connection
from portal.foreign import clean
from portal.repositories.models import GitLabGroup, Repository

LIKE_ESCAPE = "\\"
# As long as a path may be, so that any that is pasted finds what it names; SQLite takes so many conditions at once.
MAX_QUERY = 1000
MAX_WORDS = 50


def visible_to(principal: Principal) -> ColumnElement[bool]:
    """Return the condition on `repository` joined with `connection` for what this person may see."""
    own_organization = col(Connection.organization_id) == principal.organization_id
    if principal.role != Role.TEAM_LEAD:
        return own_organization
    # One range of the index for each granted group, however many there are. Both columns are in the order of their
    # characters' numbers, where 0 comes right after the slash.
    inside, path, below = aliased(Repository), col(GitLabGroup.full_path), col(GitLabGroup.full_path) + "/"
    namespace = col(inside.namespace_path)
    granted = (
        select(col(inside.id))
        .select_from(GroupGrant)
        .join(
            GitLabGroup,
            (col(GroupGrant.gitlab_group_id) == col(GitLabGroup.gitlab_group_id))
            & (col(GroupGrant.connection_id) == col(GitLabGroup.connection_id)),
        )
        .join(
            inside,
            (col(inside.connection_id) == col(GitLabGroup.connection_id))
            & namespace.between(path, path + "0")
            & or_(namespace == path, func.substr(namespace, 1, func.length(below)) == below),
        )
        .where(col(GroupGrant.membership_id) == principal.membership_id)
    )
    return own_organization & col(Repository.id).in_(granted)


def inside_path(path: str) -> ColumnElement[bool]:
    """Return the condition for repositories in a group or below it; `org` does not match `organisation`."""
    return or_(
        col(Repository.namespace_path) == path,
        col(Repository.namespace_path).like(f"{escape_like(path)}/%", escape=LIKE_ESCAPE),
    )


def as_searched(text: str) -> str:
    """Return a search in the form in which GitLab's names are stored: composed, with hidden characters written out."""
    # Each hidden character becomes eight: nothing of it is cut off.
    return clean(text.strip()[:MAX_QUERY], MAX_QUERY * 8)


def escape_like(text: str) -> str:
    """Escape a text for use inside LIKE."""
    for character in (LIKE_ESCAPE, "%", "_"):
        text = text.replace(character, LIKE_ESCAPE + character)
    return text
