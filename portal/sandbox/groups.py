"""The group tree: seven top-level groups, up to four levels deep, and squads when there are many projects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

GUEST, REPORTER, DEVELOPER, MAINTAINER, OWNER = 10, 20, 30, 40, 50
PROJECTS_PER_SQUAD = 50
SQUADS_BEGIN_AT = 1000

# (full path, name, visibility); a parent comes before its children. The order determines the ids.
TREE = (
    ("platform", "Platform", "internal"),
    ("platform/infrastructure", "Infrastructure", "private"),
    ("platform/infrastructure/kubernetes", "Kubernetes", "private"),
    ("platform/infrastructure/kubernetes/clusters", "Clusters", "private"),
    ("platform/infrastructure/network", "Network", "private"),
    ("platform/identity", "Identity", "private"),
    ("platform/build", "Build & Release", "internal"),
    ("platform/build/runners", "Runners", "internal"),
    ("web", "Web", "public"),
    ("web/shop", "Shop", "private"),
    ("web/shop/checkout", "Checkout", "private"),
    ("web/shop/checkout/payments", "Payments", "private"),
    ("web/shop/catalogue", "Catalogue", "private"),
    ("web/marketing", "Marketing", "internal"),
    ("web/design-system", "Design System", "public"),
    ("data", "Data", "private"),
    ("data/pipelines", "Pipelines", "private"),
    ("data/pipelines/ingest", "Ingest", "private"),
    ("data/pipelines/ingest/connectors", "Connectors", "private"),
    ("data/warehouse", "Warehouse", "private"),
    ("data/reporting", "Reporting", "private"),
    ("mobile", "Mobile", "internal"),
    ("mobile/android", "Android", "internal"),
    ("mobile/android/libraries", "Libraries", "internal"),
    ("mobile/ios", "iOS", "internal"),
    ("research", "Research", "private"),
    ("research/vision", "Vision", "private"),
    ("research/language", "Language", "private"),
    ("research/language/models", "Models", "private"),
    ("research/language/models/evaluation", "Evaluation", "private"),
    ("partners", "Partners", "private"),
    ("partners/handover", "Handover", "private"),
    ("security", "Security", "private"),
    ("security/incident-response", "Incident Response", "private"),
)
# The role the Admin area suggests for a new person: guest among partners, nothing in security.
SUGGESTED_LEVELS = {"partners": GUEST, "security": 0}


@dataclass(frozen=True)
class Group:
    """One group.

    Attributes:
        suggested_access_level: what the *New user* form of the sandbox preselects; 0 for nothing.
    """

    id: int
    parent_id: int | None
    path: str
    name: str
    full_path: str
    full_name: str
    visibility: str
    suggested_access_level: int = MAINTAINER
    marked_for_deletion_on: str | None = None


class GroupTree:
    """All groups, found by id or full path."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self._by_id: dict[int, Group] = {}
        self._by_path: dict[str, Group] = {}
        self._children: dict[int | None, list[int]] = {}
        for group in groups:
            self.put(group)

    def __len__(self) -> int:
        return len(self._by_id)

    def put(self, group: Group) -> Group:
        """Add a group, or replace the one with its id."""
        before = self._by_id.get(group.id)
        if before is not None:
            del self._by_path[before.full_path.lower()]
            self._children[before.parent_id].remove(group.id)
        self._by_id[group.id] = group
        self._by_path[group.full_path.lower()] = group
        self._children.setdefault(group.parent_id, []).append(group.id)
        return group

    def all(self) -> list[Group]:
        """Return all groups in order of id."""
        return [self._by_id[group_id] for group_id in sorted(self._by_id)]

    def by_id(self, group_id: int | None) -> Group | None:
        """Return one group."""
        return None if group_id is None else self._by_id.get(group_id)

    def by_path(self, full_path: str) -> Group | None:
        """Return one group by full path, ignoring case as GitLab does."""
        return self._by_path.get(full_path.lower())

    def children(self, group_id: int | None) -> list[Group]:
        """Return the direct subgroups, or the top-level groups for None."""
        return [self._by_id[child] for child in sorted(self._children.get(group_id, ()))]

    def descendants(self, group_id: int) -> Iterator[Group]:
        """Yield all subgroups below a group, parents before children."""
        for child in self.children(group_id):
            yield child
            yield from self.descendants(child.id)

    def ancestors(self, group_id: int | None) -> Iterator[Group]:
        """Yield the group itself, then its parent, up to the top."""
        group = self.by_id(group_id)
        while group is not None:
            yield group
            group = self.by_id(group.parent_id)

    def next_id(self) -> int:
        """Return the id of the next group."""
        return max(self._by_id, default=0) + 1

    def add(self, full_path: str, name: str, visibility: str = "private") -> Group:
        """Create a group below its parent, which must exist."""
        parent_path, _, path = full_path.rpartition("/")
        parent = self.by_path(parent_path) if parent_path else None
        if parent_path and parent is None:
            raise LookupError(f"no group {parent_path}")
        full_name = f"{parent.full_name} / {name}" if parent else name
        suggested = SUGGESTED_LEVELS.get(full_path.partition("/")[0], MAINTAINER)
        parent_id = parent.id if parent else None
        return self.put(Group(self.next_id(), parent_id, path, name, full_path, full_name, visibility, suggested))

    def rename(self, group_id: int, path: str, name: str | None = None) -> Group:
        """Give a group another path; everything below it moves along."""
        group = self._by_id[group_id]
        renamed = self.put(self._under_parent(replace(group, path=path, name=name or group.name)))
        for child in list(self.descendants(group_id)):
            self.put(self._under_parent(child))
        return renamed

    def _under_parent(self, group: Group) -> Group:
        parent = self.by_id(group.parent_id)
        if parent is None:
            return replace(group, full_path=group.path, full_name=group.name)
        return replace(
            group, full_path=f"{parent.full_path}/{group.path}", full_name=f"{parent.full_name} / {group.name}"
        )


def initial_groups(project_count: int) -> GroupTree:
    """Return the named tree, and one squad for every 50 projects beyond the first 1,000."""
    tree = GroupTree(())
    for full_path, name, visibility in TREE:
        tree.add(full_path, name, visibility)
    parents = [group for group in tree.all() if group.parent_id and not group.full_path.startswith(("partn", "secur"))]
    squad_count = max(0, project_count - SQUADS_BEGIN_AT) // PROJECTS_PER_SQUAD
    first_id = tree.next_id()
    for number in range(squad_count):
        parent = parents[number % len(parents)]
        path, name = f"squad-{number + 1:04}", f"Squad {number + 1}"
        full_path, full_name = f"{parent.full_path}/{path}", f"{parent.full_name} / {name}"
        tree.put(Group(first_id + number, parent.id, path, name, full_path, full_name, parent.visibility))
    return tree
