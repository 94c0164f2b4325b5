"""The page on which an administrator says in which groups a team lead may work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Flask, Response, flash, request, url_for

from portal.actor import Right
from portal.db import MAX_ID, read_id
from portal.errors import BadRequest
from portal.repositories import grants
from portal.repositories.selection import as_searched
from portal.web.access import requires
from portal.web.current import current_principal, current_runtime
from portal.web.forms import refuse_unknown_fields
from portal.web.htmx import leave_to, render, wants_fragment
from portal.web.proof import require_proof

blueprint = Blueprint("grants", __name__, url_prefix=f"/members/<int(max={MAX_ID}):membership_id>/groups")


@dataclass(frozen=True)
class Undo:
    """Where a change is undone, and the fields that say which."""

    action: str
    fields: dict[str, int | None]


def register(app: Flask) -> None:
    """Add the routes."""
    app.register_blueprint(blueprint)


@blueprint.get("")
@requires(Right.GRANT_GROUPS)
def index(membership_id: int) -> Response:
    """Show a lead's groups and search for more."""
    return _show(membership_id, as_searched(request.args.get("q", "")))


@blueprint.post("")
@requires(Right.GRANT_GROUPS)
def grant(membership_id: int) -> Response:
    """Let a lead work in one more group."""
    refuse_unknown_fields("group_id", "q")
    require_proof(purpose="granting a group", keep=("group_id", "q"))
    granted = grants.grant_group(current_runtime(), current_principal(), membership_id, _id_of("group_id"))
    if granted is None:
        return _done(membership_id, "Nothing to change: the group is theirs already.")
    undo = Undo(url_for(".revoke", membership_id=membership_id), {"grant_id": granted.grant.id})
    return _done(membership_id, f"{granted.path} granted.", undo)


@blueprint.post("/revocation")
@requires(Right.GRANT_GROUPS)
def revoke(membership_id: int) -> Response:
    """Take a group away from a lead."""
    refuse_unknown_fields("grant_id", "q")
    require_proof(purpose="taking a group away", keep=("grant_id", "q"))
    revoked = grants.revoke_group(current_runtime(), current_principal(), membership_id, _id_of("grant_id"))
    if revoked is None:
        return _done(membership_id, "Nothing to change: the group is no longer theirs.")
    undo = None  # A group that GitLab no longer lists cannot be granted again.
    if revoked.group is not None:
        undo = Undo(url_for(".grant", membership_id=membership_id), {"group_id": revoked.group.id})
    return _done(membership_id, f"{revoked.path} taken away.", undo)


def _done(membership_id: int, sentence: str, undo: Undo | None = None) -> Response:
    query = as_searched(request.form.get("q", ""))
    if wants_fragment():
        return _show(membership_id, query, sentence=sentence, undo=undo)
    flash(sentence, "success")
    return leave_to(url_for(".index", membership_id=membership_id, q=query or None))


def _show(membership_id: int, query: str, **context: Any) -> Response:
    page = grants.load_page(current_runtime(), current_principal(), membership_id, query)
    return render("repositories/grants.html", "repositories/_grants.html", page=page, **context)


def _id_of(name: str) -> int:
    """Read one of our ids.

    Raises:
        BadRequest: it is not a number.
    """
    found = read_id(request.form.get(name, ""))
    if found is None:
        raise BadRequest
    return found
