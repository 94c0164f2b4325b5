"""Lists of projects: the filters of a request, and its page by offset or by key."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from flask import Response

from portal.sandbox.api import params
from portal.sandbox.api.answers import ApiError, raw_answer
from portal.sandbox.api.paging import next_link, offset_page, per_page
from portal.sandbox.api.project_entity import ProjectWriter
from portal.sandbox.bearer import Caller
from portal.sandbox.profiles import has
from portal.sandbox.projects import Project
from portal.sandbox.selection import ORDER_KEYS, ProjectFilter

if TYPE_CHECKING:
    from portal.sandbox.world import World

VISIBILITIES = frozenset({"", "private", "internal", "public"})
KEYSET_REFUSED = "Keyset pagination is not yet available for this type of request"


def project_filter(
    world: World, who: Caller | None, *, group_ids: frozenset[int] | None = None, with_shared: bool = False
) -> ProjectFilter:
    """Read the filters of this request."""
    order_by = params.choice("order_by", ORDER_KEYS, "created_at")
    least = params.access_level("min_access_level") if has(world, "min_access_level") else 0
    if not has(world, "updated_after"):
        updated_after = updated_before = None
    else:
        updated_after, updated_before = params.moment("updated_after"), params.moment("updated_before")
    if (updated_after or updated_before) and order_by != "updated_at":
        problem = "updated_at filter and updated_at sorting must be paired"
        raise ApiError(400, {"message": f"400 Bad request - {problem}"})
    return ProjectFilter(
        who.user.id if who else None,
        sees_everything=who is not None and who.acts_as_admin,
        membership=who is not None and bool(params.flag("membership")),
        owned=who is not None and bool(params.flag("owned")),
        min_access_level=least if who else 0,
        archived=params.flag("archived"),
        active=params.flag("active"),
        visibility=params.choice("visibility", VISIBILITIES, ""),
        search=params.text("search"),
        search_namespaces=bool(params.flag("search_namespaces")),
        topics=tuple(topic for topic in params.text("topic").split(",") if topic),
        updated_after=updated_after,
        updated_before=updated_before,
        last_activity_after=params.moment("last_activity_after") if has(world, "last_activity_after") else None,
        last_activity_before=params.moment("last_activity_before") if has(world, "last_activity_after") else None,
        group_ids=group_ids,
        with_shared=with_shared,
        order_by=order_by,
        descending=params.choice("sort", frozenset({"asc", "desc"}), "desc") == "desc",
    )


def answer_list(world: World, wanted: ProjectFilter, writer: ProjectWriter, *, keyset_allowed: bool) -> Response:
    """Answer one page of a list."""
    id_after = id_before = None
    if has(world, "id_after"):
        id_after, id_before = params.whole_number("id_after"), params.whole_number("id_before")
    rows = _within(world.selections.projects(wanted), wanted, id_after, id_before)
    shown = {"order_by": wanted.order_by, "sort": "desc" if wanted.descending else "asc"}
    if params.text("pagination") == "keyset" and keyset_allowed and has(world, "project_keyset"):
        if wanted.order_by != "id":
            raise ApiError(405, {"error": KEYSET_REFUSED})
        page = list(rows[: per_page(world)])
        return raw_answer(writer.page(page), headers=_keyset_headers(world, wanted, page))
    page_rows, headers = offset_page(world, rows, capped_kind="Project" if keyset_allowed else "", shown=shown)
    return raw_answer(writer.page(list(page_rows)), headers=headers)


class _Range(Sequence[Project]):
    """A part of a list, without copying it: a late page of 100,000 must not cost more than an early one."""

    def __init__(self, rows: list[Project], begin: int, end: int) -> None:
        self._rows, self._begin, self._end = rows, begin, max(begin, end)

    def __len__(self) -> int:
        return self._end - self._begin

    @overload
    def __getitem__(self, place: int) -> Project: ...

    @overload
    def __getitem__(self, place: slice) -> list[Project]: ...

    def __getitem__(self, place: int | slice) -> Project | list[Project]:
        wanted = range(self._begin, self._end)[place]
        return self._rows[wanted] if isinstance(wanted, int) else [self._rows[index] for index in wanted]


def _within(
    rows: list[Project], wanted: ProjectFilter, id_after: int | None, id_before: int | None
) -> Sequence[Project]:
    """Cut to a range of ids; by bisection when the list is in order of id."""
    if id_after is None and id_before is None:
        return rows
    after, before = id_after or 0, id_before if id_before is not None else 1 << 62
    if wanted.order_by != "id":
        return [project for project in rows if after < project.id < before]
    if wanted.descending:
        begin = bisect_right(rows, -before, key=lambda project: -project.id)
        return _Range(rows, begin, bisect_left(rows, -after, key=lambda project: -project.id))
    begin = bisect_right(rows, after, key=lambda project: project.id)
    return _Range(rows, begin, bisect_left(rows, before, key=lambda project: project.id))


def _keyset_headers(world: World, wanted: ProjectFilter, page: list[Project]) -> dict[str, str]:
    """A page that is not empty has a next link, even if nothing follows; the next page is then empty."""
    if not page:
        return {}
    bound = "id_before" if wanted.descending else "id_after"
    members = {bound: str(page[-1].id), "per_page": str(per_page(world))}
    return {"Link": next_link(world, **members)}
