"""User settings > Personal access tokens: prefilled from the address, the token shown once, list, revoke."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, cast

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from portal.sandbox.fine_grained import choices, title
from portal.sandbox.groups import Group
from portal.sandbox.oauth.scopes import Scope, personal_token_scopes
from portal.sandbox.personal_tokens import Access, GranularScope
from portal.sandbox.profiles import has
from portal.sandbox.projects import Project
from portal.sandbox.web.gate import signed_in_user
from portal.sandbox.web.places import SETTINGS_AREAS, settings_area

if TYPE_CHECKING:
    from portal.sandbox.world import World

PREFILL_SINCE = (14, 1)
DEFAULT_LIFETIME_DAYS = 30


@dataclass
class TokenForm:
    """One filled-in form."""

    name: str = ""
    description: str = ""
    expires_at: date | None = None
    scopes: tuple[str, ...] = ()
    errors: list[str] = field(default_factory=list)


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount the page under every path it has had; paths of other releases lead to this release's."""
    _mount(blueprint, world)

    @blueprint.route(f"/{SETTINGS_AREAS[0][1]}/personal_access_tokens/granular/new", methods=["GET", "POST"])
    def new_fine_grained_token() -> ResponseReturnValue:
        if not (world.settings.personal_tokens_enabled and has(world, "fine_grained_tokens")):
            abort(404)
        return _create_fine_grained(world) if request.method == "POST" else _fine_grained_page(world, TokenForm())

    @blueprint.post("/-/user_settings/personal_access_tokens/<int:token_id>/revoke")
    def revoke_personal_access_token(token_id: int) -> ResponseReturnValue:
        if not world.revoke_personal_token(signed_in_user(world), token_id):
            abort(404)
        flash("Revoked personal access token.")
        return redirect(url_for("web.personal_access_tokens", area=settings_area(world.release)))


def _mount(blueprint: Blueprint, world: World) -> None:
    def index(area: str) -> ResponseReturnValue:
        if not world.settings.personal_tokens_enabled:
            abort(404)
        current = settings_area(world.release)
        if area != current:
            query = f"?{request.query_string.decode()}" if request.query_string else ""
            return redirect(url_for("web.personal_access_tokens", area=current) + query)
        return _create(world) if request.method == "POST" else _page(world, _prefilled(world))

    for _, known in SETTINGS_AREAS:
        rule, methods = f"/{known}/personal_access_tokens", ["GET", "POST"]
        blueprint.add_url_rule(rule, "personal_access_tokens", index, defaults={"area": known}, methods=methods)


def _choices(world: World) -> tuple[Scope, ...]:
    user = signed_in_user(world)
    administrators_only = {"sudo", "admin_mode", "read_service_ping"}
    return tuple(s for s in personal_token_scopes(world.release) if user.admin or s.name not in administrators_only)


def _prefilled(world: World) -> TokenForm:
    """Read name, description and scopes from the address; unknown scopes are dropped silently, as GitLab does."""
    form = TokenForm(expires_at=world.now().date() + timedelta(days=DEFAULT_LIFETIME_DAYS))
    if world.release < PREFILL_SINCE:
        return form
    known = {scope.name for scope in _choices(world)}
    asked = request.args.get("scopes", "").replace(" ", ",").split(",")
    form.name, form.description = request.args.get("name", ""), request.args.get("description", "")
    form.scopes = tuple(name for name in asked if name in known)
    return form


def _page(world: World, form: TokenForm, token: str = "") -> str:
    return render_template(
        "sandbox/settings/personal_access_tokens.html",
        form=form,
        choices=_choices(world),
        token=token,
        tokens=[row for row in world.personal_tokens_of(signed_in_user(world)) if row.revoked_at is None],
        fine_grained_url=url_for("web.new_fine_grained_token") if has(world, "fine_grained_tokens") else "",
    )


def _create(world: World) -> ResponseReturnValue:
    form = _read_form(world, request.form)
    if form.errors:
        return _page(world, form), 422
    text = world.create_personal_token(
        signed_in_user(world),
        name=form.name,
        scopes=form.scopes,
        expires_at=form.expires_at,
        description=form.description,
    )
    # Rendered at once, not after a redirect: the token exists in this one answer only.
    return _page(world, TokenForm(expires_at=form.expires_at), text)


def _fine_grained_page(world: World, form: TokenForm) -> str:
    """Show the form, which nothing in the address fills in."""
    user = signed_in_user(world)
    places: list[Group | Project] = [*(row for row, _ in world.memberships_of(user)), *world.visible_projects(user)]
    return render_template(
        "sandbox/settings/fine_grained_token.html",
        form=form,
        sections={
            heading: [(f"{heading}:{name}", title(name)) for name in names] for heading, names in choices().items()
        },
        places=[(f"{type(place).__name__}:{place.id}", _path_of(world, place)) for place in places],
    )


def _create_fine_grained(world: World) -> ResponseReturnValue:
    user, posted = signed_in_user(world), request.form
    form = TokenForm(
        name=posted.get("name", "").strip(),
        description=posted.get("description", "").strip(),
        expires_at=_date(posted.get("expires_at", "")) or world.latest_expiry(user),
        scopes=tuple(posted.getlist("permissions")),
    )
    chosen = {
        heading: tuple(n for n in names if f"{heading}:{n}" in form.scopes) for heading, names in choices().items()
    }
    scopes = [GranularScope("user", chosen["User"]), GranularScope("instance", chosen["Global"])]
    on_places = chosen["Group and project"]
    access = posted.get("access", "")
    if access == "selected_memberships":
        for kind, _, number in (text.partition(":") for text in posted.getlist("places")):
            ids = {"group_id" if kind == "Group" else "project_id": int(number)}
            scopes.append(GranularScope("selected_memberships", on_places, **ids))
    elif access in ("all_memberships", "personal_projects"):
        scopes.append(GranularScope(cast("Access", access), on_places))
    findings = {"Name can't be blank": not form.name, "Select at least one permission": not form.scopes}
    form.errors = [message for message, found in findings.items() if found]
    if form.errors:
        return _fine_grained_page(world, form), 422
    text = world.create_personal_token(
        user,
        name=form.name,
        description=form.description,
        expires_at=form.expires_at,
        granular_scopes=tuple(scope for scope in scopes if scope.permissions),
    )
    return _page(world, TokenForm(), text)


def _path_of(world: World, place: Group | Project) -> str:
    if isinstance(place, Group):
        return place.full_path
    group = world.groups.by_id(place.group_id)
    owner = world.user(place.owner_id or 0)
    return f"{group.full_path if group else owner.username if owner else ''}/{place.path}"


def _read_form(world: World, posted: MultiDict[str, str]) -> TokenForm:
    known = {scope.name for scope in _choices(world)}
    form = TokenForm(
        name=posted.get("name", "").strip(),
        description=posted.get("description", "").strip(),
        expires_at=_date(posted.get("expires_at", "")),
        scopes=tuple(name for name in posted.getlist("scopes") if name in known),
    )
    user, today = signed_in_user(world), world.now().date()
    latest = world.latest_expiry(user)
    findings = {
        "Creation of legacy personal access tokens is disabled. Use a fine-grained token instead.": (
            world.requires_fine_grained(user)
        ),
        "Name can't be blank": not form.name,
        "Scopes can't be blank": not form.scopes,
        "Expiration date can't be blank": world.token_must_expire(user) and form.expires_at is None,
        "Expiration date can't be in the past": form.expires_at is not None and form.expires_at <= today,
        f"Expiration date must be before {latest}": (
            latest is not None and form.expires_at is not None and form.expires_at > latest
        ),
    }
    form.errors = [message for message, found in findings.items() if found]
    return form


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
