"""Projects, computed from their number: the same sandbox has the same projects each time, however many."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec

from portal.sandbox.first_projects import FIRST_PROJECTS, Row
from portal.sandbox.groups import GroupTree
from portal.sandbox.people import FIRST_COLLEAGUE_ID, ROOT_ID, People

# Every eighth id is missing, as if deleted: a count of ids is not a count of projects.
ID_BLOCK = 8
OLDEST_DAYS, NEWEST_DAYS = 1200, 20
DELETION_DELAY_DAYS = 30
RENAMED_SCHEDULED_SINCE = (18, 0)

QUALIFIERS = ("edge", "core", "async", "batch", "public", "internal", "mobile", "legacy", "next", "shared", "regional")
SUBJECTS = (
    *("billing", "orders", "inventory", "search", "notifications", "accounts", "pricing", "shipping", "reviews"),
    *("sessions", "metrics", "logging", "translation", "media", "consent", "loyalty", "returns", "warehouse"),
)
KINDS = ("service", "worker", "library", "api", "client", "schema", "jobs", "console", "tests", "docs")
TOPICS = ("python", "go", "rust", "typescript", "java", "kotlin", "ruby")


class Project(msgspec.Struct, frozen=True, gc=False):
    """One project; what a list shows of it, and what depends on the caller, is computed later.

    Attributes:
        group_id: the group it is in, or None in the personal namespace of `owner_id`.
        created, updated, last_activity: seconds since 1970, UTC.
        marked_for_deletion_on: the day, as text, or None.
    """

    id: int
    name: str
    path: str
    group_id: int | None
    owner_id: int | None
    creator_id: int
    visibility: str
    created: int
    updated: int
    last_activity: int
    description: str = ""
    default_branch: str = "main"
    topics: tuple[str, ...] = ()
    archived: bool = False
    empty: bool = False
    object_format: str = "sha1"
    repository_enabled: bool = True
    marked_for_deletion_on: str | None = None
    has_avatar: bool = False
    stars: int = 0
    forks: int = 0
    open_issues: int = 0


def id_of(index: int) -> int:
    """Return the id of the project with this number (from 0)."""
    return index + index // (ID_BLOCK - 1) + 1


class ProjectMaker:
    """Computes projects; `shares` collects the groups that first projects are shared with."""

    def __init__(
        self, count: int, seed: int, anchor: datetime, groups: GroupTree, people: People, release: tuple[int, int]
    ) -> None:
        self.count, self.seed, self.release = count, seed, release
        self._anchor = anchor
        self._now = int(anchor.timestamp())
        self._groups, self._people = groups, people
        outside = ("partners", "security")
        self._homes = [g for g in groups.all() if g.parent_id and g.full_path.partition("/")[0] not in outside]

    def all(self) -> Iterator[Project]:
        """Yield all projects in order of id."""
        first = min(self.count, len(FIRST_PROJECTS))
        for index in range(first):
            yield self._by_hand(index, FIRST_PROJECTS[index])
        for index in range(first, self.count):
            yield self._drawn(index)

    def shares(self) -> Iterator[tuple[int, int, int]]:
        """Yield (project id, group id, access level) for projects shared with another group."""
        for index, (_, _, _, special) in enumerate(FIRST_PROJECTS[: self.count]):
            if "shared_with" in special:
                full_path, level = special["shared_with"]
                group = self._groups.by_path(full_path)
                if group is not None:
                    yield id_of(index), group.id, level

    def _times(self, index: int, *, archived: bool) -> tuple[int, int, int]:
        day = 86400
        span = (OLDEST_DAYS - NEWEST_DAYS) * day
        created = self._now - OLDEST_DAYS * day + span * index // max(self.count, 1)
        age = 1800 * ((index * 31 + self.seed) % 97 + 1) ** 2 + (400 * day if archived else 0)
        last_activity = max(created, self._now - age)
        return created, last_activity + 60 * (index % 60), last_activity

    def _by_hand(self, index: int, row: Row) -> Project:
        namespace, path, name, special = row
        project_id = id_of(index)
        owner = self._people.by_username(namespace[1:]) if namespace.startswith("~") else None
        group = None if owner else self._groups.by_path(namespace)
        details: dict[str, Any] = {key: value for key, value in special.items() if key in Project.__struct_fields__}
        created, updated, last_activity = self._times(index, archived=special.get("archived", False))
        if special.get("pending_deletion"):
            suffix = "deletion_scheduled" if self.release >= RENAMED_SCHEDULED_SINCE else "deleted"
            path, name = f"{path}-{suffix}-{project_id}", f"{name}-{suffix}-{project_id}"
            details["marked_for_deletion_on"] = str((self._anchor + timedelta(days=DELETION_DELAY_DAYS)).date())
        return Project(
            id=project_id,
            name=name,
            path=path,
            group_id=group.id if group else None,
            owner_id=owner.id if owner else None,
            creator_id=owner.id if owner else FIRST_COLLEAGUE_ID + index % 6,
            created=created,
            updated=updated,
            last_activity=last_activity,
            description=f"{name[:80]} of the {namespace} team",
            stars=index * 7 % 23,
            forks=index * 3 % 5,
            open_issues=0 if special.get("archived") else index * 11 % 40,
            **{"visibility": "private", **details},
        )

    def _drawn(self, index: int) -> Project:
        mixed = (index + self.seed) * 2654435761 % 4294967296 >> 4
        group = self._homes[mixed % len(self._homes)]
        words = (QUALIFIERS[mixed % 11], SUBJECTS[mixed // 11 % 18], KINDS[mixed // 198 % 10])
        archived = mixed % 19 == 0
        created, updated, last_activity = self._times(index, archived=archived)
        topic = TOPICS[mixed // 1980 % 7]
        return Project(
            id_of(index),
            f"{words[0].title()} {words[1].title()} {words[2].title()} {index}",
            f"{words[0]}-{words[1]}-{words[2]}-{index}",
            group.id,
            None,
            ROOT_ID,
            group.visibility if mixed % 3 == 0 else "private",
            created,
            updated,
            last_activity,
            f"{words[2].title()} for {words[1]}, {words[0]} edition",
            "main" if mixed % 5 else "master",
            (topic,),
            archived,
            mixed % 41 == 0,
            "sha256" if mixed % 101 == 0 else "sha1",
            mixed % 83 != 0,
            None,
            mixed % 13 == 0,
            mixed % 37,
            mixed % 5,
            mixed % 29,
        )
