"""User settings > Personal access tokens: prefilled from the address, the token shown once, list, revoke."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from portal.sandbox.oauth.scopes import Scope, personal_token_scopes
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
        today=world.now().date(),
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
        f"Expiration date must be before {(latest or today) + timedelta(days=1)}": (
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
