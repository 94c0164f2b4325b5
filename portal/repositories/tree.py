"""The group tree beside the list: every group of GitLab with how many repositories it and its subgroups hold."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlmodel import Session, col

from portal.actor import Principal
from portal.connections.models import Connection
from portal.repositories.models import Enablement, GitLabGroup, Repository
from portal.repositories.visibility import visible_to

# GitLab nests no deeper (docs.gitlab.com/user/group/subgroups); a peer that reports more does not decide how deep we
# go.
MAX_DEPTH = 20


@dataclass
class TreeNode:
    """One group; counts include everything below it. Below `MAX_DEPTH` levels the rest of a path is one group."""

    path: str
    name: str
    total: int = 0
    enabled: int = 0
    children: list[TreeNode] = field(default_factory=list)


def group_tree(session: Session, principal: Principal, connection_slug: str) -> list[TreeNode]:
    """Return the top-level groups of a connection with their subgroups, as far as this person may see them.

    Groups without repositories are included, so that the list can be compared with what was expected.
    """
    counts = _counts_by_namespace(session, principal, connection_slug)
    names = _group_names(session, principal, connection_slug)
    nodes: dict[str, TreeNode] = {}
    roots: list[TreeNode] = []
    for path in sorted({*counts, *names}, key=lambda path: path.split("/")):
        siblings, above = roots, ""
        for ancestor in _with_ancestors(path):
            if ancestor not in nodes:
                name = names.get(ancestor) or ancestor.removeprefix(f"{above}/")
                nodes[ancestor] = TreeNode(ancestor, name)
                siblings.append(nodes[ancestor])
            nodes[ancestor].total += counts[path][0]
            nodes[ancestor].enabled += counts[path][1]
            siblings, above = nodes[ancestor].children, ancestor
    return roots


def _with_ancestors(path: str) -> list[str]:
    parts = path.split("/")
    levels = ["/".join(parts[:length]) for length in range(1, min(len(parts), MAX_DEPTH) + 1)]
    return levels if len(parts) <= MAX_DEPTH else [*levels, path]


def _counts_by_namespace(
    session: Session, principal: Principal, connection_slug: str
) -> defaultdict[str, tuple[int, int]]:
    statement = (
        select(col(Repository.namespace_path), func.count(), func.count(col(Enablement.id)))
        .join(Connection, col(Connection.id) == col(Repository.connection_id))
        .outerjoin(Enablement, col(Enablement.repository_id) == col(Repository.id))
        .where(visible_to(principal), col(Connection.slug) == connection_slug)
        .group_by(col(Repository.namespace_path))
    )
    counts: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    counts.update({path: (total, enabled) for path, total, enabled in session.execute(statement).all()})
    return counts


def _group_names(session: Session, principal: Principal, connection_slug: str) -> dict[str, str]:
    if not principal.sees_all_groups:
        return {}
    statement = (
        select(col(GitLabGroup.full_path), col(GitLabGroup.name))
        .join(Connection, col(Connection.id) == col(GitLabGroup.connection_id))
        .where(col(Connection.slug) == connection_slug, col(Connection.organization_id) == principal.organization_id)
    )
    return dict(session.execute(statement).all())
