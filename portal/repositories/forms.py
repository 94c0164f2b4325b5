"""What the panel's addresses and forms say, and files that are downloaded from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flask import Response, request, url_for
from werkzeug.datastructures import MultiDict

from portal.db import read_id, utc_now
from portal.errors import BadRequest
from portal.exports import Format
from portal.foreign import Path
from portal.repositories.selection import (
    ActivityFilter,
    Filters,
    PanelView,
    RoleFilter,
    Sort,
    StateFilter,
    VisibilityFilter,
    as_searched,
)

MAX_SLUG = 64
# What the panel sends with a change, so that the response shows the same view.
PANEL_FIELDS = (
    *("connection", "q", "group", "state", "visibility", "activity", "role", "sort"),
    *("after", "before", "on"),
)


def read_filters(arguments: MultiDict[str, str], connection: str = "") -> Filters:
    """Read the panel's filters from an address or a form; what makes no sense there is a 400."""
    keys: dict[str, tuple[Any, int] | None] = {"after": None, "before": None}
    try:
        sort = Sort(arguments.get("sort", ""))
        for name in keys:
            if text := arguments.get(name, ""):
                text_of_id, _, value = text.partition(":")
                number = read_id(text_of_id)
                if number is None:
                    raise ValueError(text)
                keys[name] = sort.read(value), number
        return Filters(
            connection=connection or arguments.get("connection", "")[:MAX_SLUG],
            query=as_searched(arguments.get("q", "")),
            group=Path(arguments.get("group", "")),
            state=StateFilter(arguments.get("state", "")),
            visibility=VisibilityFilter(arguments.get("visibility", "")),
            activity=ActivityFilter(arguments.get("activity", "")),
            role=RoleFilter(arguments.get("role", "")),
            sort=sort,
            **keys,
        )
    except ValueError:
        raise BadRequest("This address does not describe a view of the repositories.") from None


def view_of_form(arguments: MultiDict[str, str], slug: str = "") -> PanelView:
    """Return the view that a change or a poll came from."""
    filters = read_filters(arguments, connection=slug)
    fixed = arguments.get("on") == "setup"
    return PanelView(
        filters,
        url_for("repositories.setup", slug=filters.connection) if fixed else url_for("repositories.index"),
        fixed,
    )


def as_file(name: str, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> Response:
    """Stream rows as a download, in the format that the form names.

    Raises:
        BadRequest: there is no such format.
    """
    try:
        chosen = Format(request.form.get("format", ""))
    except ValueError:
        raise BadRequest("There is no such format.") from None
    headers = {"Content-Disposition": f'attachment; filename="{name}-{utc_now():%Y-%m-%d}.{chosen.extension}"'}
    return Response(chosen.lines(columns, rows), content_type=chosen.media_type, headers=headers)
