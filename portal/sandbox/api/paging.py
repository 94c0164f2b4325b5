"""Pages of lists: GitLab's offset and keyset pagination with all their headers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode, urlsplit

from flask import request

from portal.sandbox.api.answers import ApiError
from portal.sandbox.api.params import refused, whole_number

if TYPE_CHECKING:
    from portal.sandbox.world import World

DEFAULT_PER_PAGE = 20
OFFSET_CAP_SINCE = (13, 0)
CREDENTIALS = ("private_token", "access_token")
OFFSET_REFUSED = (
    "Offset pagination has a maximum allowed offset of {limit} for requests that return objects of type {kind}. "
    "Remaining records can be retrieved using keyset pagination."
)

Item = TypeVar("Item")


def per_page(world: World) -> int:
    """Return the page size asked for, within this GitLab's bounds. Raises ApiError 400 for 0."""
    asked = whole_number("per_page")
    if asked == 0:
        raise refused("per_page", "has a value not allowed")
    return min(max(asked or DEFAULT_PER_PAGE, 1), world.settings.max_per_page)


def offset_page(
    world: World, rows: Sequence[Item], *, capped_kind: str = "", shown: dict[str, str] | None = None
) -> tuple[Sequence[Item], dict[str, str]]:
    """Return one page and its headers.

    `capped_kind` names the kind of list that also offers keyset and so refuses large offsets; `shown` are defaults
    that GitLab writes into the links.
    """
    page, size = max(whole_number("page") or 1, 1), per_page(world)
    limit = world.settings.max_offset
    if capped_kind and world.release >= OFFSET_CAP_SINCE and page * size > limit:
        raise ApiError(405, {"error": OFFSET_REFUSED.format(limit=limit, kind=capped_kind)})
    begin = (page - 1) * size
    last = max(1, -(-len(rows) // size))
    has_next = begin + size < len(rows)
    headers = {
        "X-Next-Page": str(page + 1) if has_next else "",
        "X-Page": str(page),
        "X-Per-Page": str(size),
        "X-Prev-Page": str(page - 1) if page > 1 else "",
    }
    counted = len(rows) <= world.settings.hide_totals_above
    if counted:
        headers |= {"X-Total": str(len(rows)), "X-Total-Pages": str(last)}
    pages = {"prev": page - 1 if page > 1 else 0, "next": page + 1 if has_next else 0, "first": 1}
    pages |= {"last": last} if counted else {}
    links = [
        _link(world, rel, {**(shown or {}), "page": str(n), "per_page": str(size)}) for rel, n in pages.items() if n
    ]
    headers["Link"] = ", ".join(links)
    return rows[begin : begin + size], headers


def next_link(world: World, **members: str) -> str:
    """Return the `Link` header of keyset pagination: this request with some members of the query replaced."""
    return _link(world, "next", members)


def _link(world: World, rel: str, members: dict[str, str]) -> str:
    """Build from the request's scheme and path, but with the configured host and port, as GitLab does."""
    query = [(name, value) for name, value in request.args.items(multi=True) if name not in CREDENTIALS]
    query = [(name, value) for name, value in query if name not in members]
    query += list(members.items())
    host = urlsplit(world.settings.external_url).netloc
    return f'<{request.scheme}://{host}{request.path}?{urlencode(sorted(query))}>; rel="{rel}"'
