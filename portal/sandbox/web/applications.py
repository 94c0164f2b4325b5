"""Pages of OAuth applications: the Admin area's, a group's, and a person's own, by the same handlers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from portal.sandbox.oauth.scopes import application_scopes, named
from portal.sandbox.oauth.store import Application
from portal.sandbox.web.application_form import ApplicationForm, read_form
from portal.sandbox.web.gate import signed_in_user
from portal.sandbox.web.places import SETTINGS_AREAS, Place, group_place, instance_place, settings_area, user_place

if TYPE_CHECKING:
    from portal.sandbox.world import World

Resolver = Callable[..., Place]
# Before this release the secret could not be renewed in the pages.
RENEW_SECRET_SINCE = (15, 9)


def add_routes(blueprint: Blueprint, world: World) -> None:
    """Mount the three places."""
    own = partial(_own_place, world)
    group = partial(_group_place, world)
    _mount(blueprint, world, "", "/admin/applications", "/admin/applications", instance_place)
    base = "/groups/<path:full_path>/-/settings/applications"
    _mount(blueprint, world, "group_", base, base, group)
    _mount(blueprint, world, "user_", None, "/oauth/applications", own)
    _mount_settings_list(blueprint, world, own)


def _mount(
    blueprint: Blueprint, world: World, prefix: str, list_rule: str | None, item_base: str, resolve: Resolver
) -> None:
    def show(application_id: int, **owner: str) -> ResponseReturnValue:
        place = resolve(**owner)
        application = _owned(world, place, application_id)
        if request.method == "GET":
            return _details(world, place, application, application.secret_text)
        if request.form.get("_method") == "delete":
            world.oauth.delete_application(application.id)
            flash("The application was deleted successfully.")
            return redirect(place.list_url)
        return _update(world, place, application)

    def edit(application_id: int, **owner: str) -> ResponseReturnValue:
        place = resolve(**owner)
        return _edit(world, place, _owned(world, place, application_id))

    def renew(application_id: int, **owner: str) -> ResponseReturnValue:
        place = resolve(**owner)
        application = _owned(world, place, application_id)
        return _details(world, place, application, world.oauth.renew_secret(application.id))

    item = f"{item_base}/<int:application_id>"
    blueprint.add_url_rule(item, f"{prefix}application", show, methods=["GET", "POST"])
    blueprint.add_url_rule(f"{item}/edit", f"{prefix}application_edit", edit)
    blueprint.add_url_rule(f"{item}/renew", f"{prefix}application_renew", renew, methods=["POST"])
    if list_rule is not None:
        _mount_list(blueprint, world, prefix, list_rule, resolve)


def _mount_list(blueprint: Blueprint, world: World, prefix: str, rule: str, resolve: Resolver) -> None:
    def index(**owner: str) -> ResponseReturnValue:
        place = resolve(**owner)
        return _create(world, place) if request.method == "POST" else _list(world, place)

    def new(**owner: str) -> ResponseReturnValue:
        place = resolve(**owner)
        return render_template("sandbox/applications/new.html", place=place, form=_blank_form(world, place))

    blueprint.add_url_rule(rule, f"{prefix}applications", index, methods=["GET", "POST"])
    blueprint.add_url_rule(f"{rule}/new", f"new_{prefix}application", new)


def _mount_settings_list(blueprint: Blueprint, world: World, resolve: Resolver) -> None:
    def index(area: str) -> ResponseReturnValue:
        current = settings_area(world.release)
        if area != current:
            return redirect(url_for("web.user_applications", area=current))
        return _create(world, resolve()) if request.method == "POST" else _own_list(world, resolve())

    for _, known in SETTINGS_AREAS:
        rule, methods = f"/{known}/applications", ["GET", "POST"]
        blueprint.add_url_rule(rule, "user_applications", index, defaults={"area": known}, methods=methods)


def _own_place(world: World) -> Place:
    return user_place(world, signed_in_user(world))


def _group_place(world: World, full_path: str) -> Place:
    group = world.group_by_path(full_path)
    if group is None or not world.owns_group(signed_in_user(world), group):
        abort(404)
    return group_place(group)


def _owned(world: World, place: Place, application_id: int) -> Application:
    application = world.oauth.application(application_id)
    if application is None or not place.owns(application):
        abort(404)
    return application


def _blank_form(world: World, place: Place) -> ApplicationForm:
    return ApplicationForm(
        choices=application_scopes(world.release),
        may_trust=place.may_trust,
        action=place.list_url,
        cancel="" if place.kind == "user" else place.list_url,
    )


def _list(world: World, place: Place, form: ApplicationForm | None = None) -> str:
    rows = world.oauth.applications(place.kind, place.owner_id)
    return render_template("sandbox/applications/index.html", place=place, applications=rows, form=form)


def _own_list(world: World, place: Place, form: ApplicationForm | None = None) -> str:
    """Show a person's own applications, the form for one more, and what they authorized."""
    user = signed_in_user(world)
    live = {token.application_id for token in world.oauth.tokens(user_id=user.id) if not token.is_revoked}
    authorized = [row for row in map(world.oauth.application, sorted(live)) if row is not None]
    if form is None and world.settings.user_oauth_applications:
        form = _blank_form(world, place)
    return render_template(
        "sandbox/applications/own.html",
        place=place,
        applications=world.oauth.applications("user", user.id),
        authorized=authorized,
        form=form,
    )


def _create(world: World, place: Place) -> ResponseReturnValue:
    if place.kind == "user" and not world.settings.user_oauth_applications:
        return redirect(place.list_url)
    form = read_form(request.form, application_scopes(world.release), may_trust=place.may_trust)
    if form.errors:
        form.action, form.cancel = place.list_url, "" if place.kind == "user" else place.list_url
        if place.kind == "user":
            return _own_list(world, place, form), 422
        return render_template("sandbox/applications/new.html", place=place, form=form), 422
    application, secret = world.oauth.create_application(
        form.name, form.redirect_uri, form.scopes, form.confidential, form.trusted, place.kind, place.owner_id
    )
    # Rendered at once, not after a redirect: the secret exists in this one answer only.
    return _details(world, place, application, secret, created=True)


def _details(world: World, place: Place, application: Application, secret: str, *, created: bool = False) -> str:
    can_renew = world.release >= RENEW_SECRET_SINCE
    return render_template(
        "sandbox/applications/show.html",
        place=place,
        application=application,
        scopes=named(application.scopes),
        secret=secret,
        secret_once=not application.secret_text,
        renew_url=place.url(application, "renew") if can_renew else "",
        created=created,
    )


def _edit(world: World, place: Place, application: Application) -> str:
    form = _blank_form(world, place)
    form.name, form.redirect_uri = application.name, "\n".join(application.redirect_uri.split())
    form.trusted, form.confidential = application.trusted, application.confidential
    form.scopes, form.action = application.scopes, place.url(application)
    return render_template("sandbox/applications/edit.html", place=place, application=application, form=form)


def _update(world: World, place: Place, application: Application) -> ResponseReturnValue:
    form = read_form(request.form, application_scopes(world.release), may_trust=place.may_trust)
    if form.errors:
        form.action = place.url(application)
        return render_template("sandbox/applications/edit.html", place=place, application=application, form=form), 422
    world.oauth.update_application(
        application.id, form.name, form.redirect_uri, form.scopes, form.confidential, form.trusted
    )
    flash("The application was updated successfully.")
    return redirect(place.url(application))
