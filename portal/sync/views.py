"""The pages of sites: their files, history and conflicts, and how they are connected to a repository."""

from __future__ import annotations

import io
import re
from typing import Any

from flask import Blueprint, Flask, Response, flash, request, send_file, url_for
from wtforms import StringField, TextAreaField
from wtforms.validators import Length

from portal.actor import Right
from portal.db import MAX_ID, read_id
from portal.errors import BadRequest, Card, Conflict, InvalidInput, NotFound, Surface
from portal.jobs.models import JobState
from portal.runtime import Runtime
from portal.sync import conflicts, connecting, files
from portal.sync.files import IMAGES, Content, Kind
from portal.sync.models import Site
from portal.sync.store import (
    SiteRow,
    create_site,
    delete_site,
    get_site,
    list_sites,
    rename_site,
)
from portal.web.access import requires
from portal.web.current import current_principal, current_runtime
from portal.web.forms import StrictForm, answer_form, refuse_unknown_fields
from portal.web.htmx import leave_to, render, wants_fragment
from portal.web.request_checks import accepts_file

blueprint = Blueprint("sites", __name__, url_prefix="/sites")
COMMIT_LENGTH = 40
RECENT = 5
# A field about one passage of a conflict.
_PASSAGE = re.compile(r"(?:hunk|text)-[1-9][0-9]{0,4}")


def register(app: Flask, runtime: Runtime) -> None:
    """Add the routes."""
    app.register_blueprint(blueprint)


class NameForm(StrictForm):
    """What a site is called."""

    name = StringField("Name", [Length(max=200, message="That is too long.")])


class FileForm(StrictForm):
    """A text file: a new one has a path, one that is changed the id of what is replaced."""

    path = StringField(
        "Path",
        [Length(max=files.MAX_PATH_BYTES, message="That is too long.")],
        description="Folders are made as needed.",
    )
    body = TextAreaField("Content", [Length(max=files.MAX_TEXT, message="Here a file has at most 700 kB.")])
    expected = StringField("Version", [Length(max=COMMIT_LENGTH)])


class RepositoryForm(StrictForm):
    """A repository that GitLab is asked to create."""

    group = StringField("Group", [Length(max=20)])
    name = StringField("Name", [Length(max=200, message="That is too long.")])
    visibility = StringField("Visibility", [Length(max=10)])


class TargetForm(StrictForm):
    """Where a site is synced to."""

    branch = StringField("Branch", [Length(max=255, message="That is too long.")])
    folder = StringField(
        "Folder",
        [Length(max=files.MAX_PATH_BYTES, message="That is too long.")],
        description="Only this folder becomes the site. Leave it empty for the whole repository.",
    )


@blueprint.get("/")
@requires(Right.SEE_REPOSITORIES)
def index() -> Response:
    """Show every site."""
    query = request.args.get("q", "")
    return render("sites/index.html", rows=list_sites(current_runtime(), current_principal(), query), query=query)


@blueprint.route("/new", methods=["GET", "POST"])
@requires(Right.ENABLE_REPOSITORIES)
def new() -> Response:
    """Create a site."""
    form = NameForm()

    def act() -> Response:
        site = create_site(current_runtime(), current_principal(), form.text("name"))
        return leave_to(url_for(".show", slug=site.slug))

    return answer_form(form, lambda: render("sites/new.html", form=form), act)


@blueprint.get("/<slug>")
@requires(Right.SEE_REPOSITORIES)
def show(slug: str) -> Response:
    """Show a folder of a site."""
    runtime, row = current_runtime(), _row(slug)
    path = request.args.get("path", "")
    above, below = f"{row.site.state}-{row.conflicts}", f"{row.site.head}-{row.site.gitlab_head}-{row.site.synced_at}"
    shown = f"{above} {below}"
    if wants_fragment() and request.args.get("shown") == shown:
        # Nothing has changed, so git need not be asked every few seconds.
        return Response(status=204)
    if wants_fragment() and request.args.get("shown", "").partition(" ")[0] != above:
        # What is above the files says something else now.
        return leave_to(url_for(".show", slug=slug, path=path or None))
    items = files.list_folder(runtime, row.site, path)
    with runtime.database.reading() as session:
        open_conflicts = conflicts.list_conflicts(session, row.site)
    changes, _ = files.history(runtime, row.site, limit=RECENT)
    unsent = files.unsent(runtime, row.site)
    return render(
        "sites/show.html",
        "sites/_show.html",
        **_shown(row),
        path=path,
        shown=shown,
        items=items,
        conflicts=open_conflicts,
        changes=changes,
        unsent=unsent,
    )


@blueprint.get("/<slug>/file")
@requires(Right.SEE_REPOSITORIES)
def show_file(slug: str) -> Response:
    """Show a file."""
    runtime, row = current_runtime(), _row(slug)
    content, _ = files.read_file(runtime, row.site, request.args.get("path", ""))
    changes, _ = files.history(runtime, row.site, content.path, limit=RECENT)
    return render("sites/file.html", **_shown(row), content=content, changes=changes)


@blueprint.get("/<slug>/raw")
@requires(Right.SEE_REPOSITORIES)
def raw(slug: str) -> Response:
    """Return the content of an image, or any other file to be downloaded: it is never shown as a page."""
    row = _row(slug)
    content, body = files.read_file(current_runtime(), row.site, request.args.get("path", ""))
    if content.kind in {Kind.LARGE, Kind.LFS, Kind.SUBMODULE, Kind.SYMLINK}:
        raise NotFound
    name = content.path.rpartition("/")[2]
    is_image = content.kind == Kind.IMAGE
    kind = IMAGES[name.rpartition(".")[2].lower()] if is_image else "application/octet-stream"
    response = send_file(io.BytesIO(body), kind, as_attachment=not is_image, download_name=name)
    assert isinstance(response, Response)
    return response


@blueprint.route("/<slug>/edit", methods=["GET", "POST"])
@requires(Right.ENABLE_REPOSITORIES)
def edit(slug: str) -> Response:
    """Change a text file, or add one."""
    runtime, principal, row = current_runtime(), current_principal(), _row(slug)
    path = request.args.get("path", "")
    content: Content | None = None
    if path:
        content, _ = files.read_file(runtime, row.site, path)
        if not content.can_edit:
            raise NotFound
    stored = (content.text, content.id) if content else ("", "")
    form = FileForm(path=path or _prefix(), body=stored[0], expected=stored[1])

    def page(theirs: str = "") -> Response:
        shown = {**_shown(row), "form": form, "content": content, "theirs": theirs, "folder": _prefix().strip("/")}
        return render("sites/edit.html", **shown)

    def act() -> Response:
        try:
            written = path or form.text("path")
            files.save_file(runtime, principal, slug, written, form.text("body"), form.text("expected") or None)
        except Conflict as error:
            # Nothing that was typed is lost: it is compared with what is there now, and may be saved over it.
            found = files.read_file(runtime, row.site, path)[0] if path else None
            if found is None:
                raise InvalidInput(error.sentence, field_errors={"path": error.sentence}) from None
            form["expected"].data = found.id
            form.form_errors.append(error.sentence)
            response = page(found.text)
            response.status_code = Conflict.status
            return response
        flash(_told(row.site), "success")
        return leave_to(url_for(".show_file", slug=slug, path=written.strip("/")))

    return answer_form(form, page, act)


def _prefix() -> str:
    """Return the folder in which a new file begins."""
    folder = request.args.get("folder", "").strip("/")
    return f"{folder}/" if folder else ""


def _told(site: Site) -> str:
    return "Saved. It is sent to GitLab in a few seconds." if site.is_connected else "Saved."


@blueprint.post("/<slug>/upload")
@accepts_file("file")
@requires(Right.ENABLE_REPOSITORIES)
def upload(slug: str) -> Response:
    """Add a file as it is, or replace the one of that name if that is wanted."""
    refuse_unknown_fields("folder", "replace")
    _row(slug)
    sent = request.files.get("file")
    name = re.split(r"[/\\]", sent.filename or "")[-1] if sent else ""
    if sent is None or not name:
        flash("Choose a file first.", "warning")
        return leave_to(url_for(".edit", slug=slug, folder=request.form.get("folder") or None))
    path = f"{request.form.get('folder', '').strip('/')}/{name}".strip("/")
    site = files.upload_file(
        current_runtime(), current_principal(), slug, path, sent.read(), replaces=request.form.get("replace") == "1"
    )
    flash(_told(site), "success")
    return leave_to(url_for(".show_file", slug=slug, path=path))


@blueprint.post("/<slug>/delete-file")
@requires(Right.ENABLE_REPOSITORIES)
def delete_file(slug: str) -> Response:
    """Delete a file; its history stays."""
    refuse_unknown_fields("path", "expected")
    path = request.form.get("path", "")
    site = files.delete_file(current_runtime(), current_principal(), slug, path, request.form.get("expected", ""))
    flash(f"{path} is deleted. Its history stays, and so does every earlier version.", "success")
    return leave_to(url_for(".show", slug=site.slug, path=path.rpartition("/")[0] or None))


@blueprint.get("/<slug>/history")
@requires(Right.SEE_REPOSITORIES)
def history(slug: str) -> Response:
    """Show what was changed by whom, here and at GitLab."""
    row, path, before = _row(slug), request.args.get("path", ""), request.args.get("before", "")
    if before and (len(before) != COMMIT_LENGTH or not all(letter in "0123456789abcdef" for letter in before)):
        raise BadRequest
    runtime = current_runtime()
    changes, after = files.history(runtime, row.site, path, before=before)
    unsent = files.unsent(runtime, row.site)
    return render("sites/history.html", **_shown(row), changes=changes, after=after, path=path, unsent=unsent)


@blueprint.get("/<slug>/conflicts")
@requires(Right.SEE_REPOSITORIES)
def list_conflicts(slug: str) -> Response:
    """Show the files that someone has to decide about."""
    runtime, row = current_runtime(), _row(slug)
    with runtime.database.reading() as session:
        found = conflicts.list_conflicts(session, row.site)
    return render("sites/conflicts.html", **_shown(row), found=found)


@blueprint.get(f"/<slug>/conflicts/<int(max={MAX_ID}):conflict_id>")
@requires(Right.SEE_REPOSITORIES)
def conflict(slug: str, conflict_id: int) -> Response:
    """Show both versions of a file."""
    row = _row(slug)
    found = conflicts.load_comparison(current_runtime(), current_principal(), slug, conflict_id)
    return render("sites/conflict.html", **_shown(row), found=found, chosen={}, problem="")


@blueprint.post(f"/<slug>/conflicts/<int(max={MAX_ID}):conflict_id>/decide")
@requires(Right.ENABLE_REPOSITORIES)
def decide(slug: str, conflict_id: int) -> Response:
    """Commit what someone chose."""
    refuse_unknown_fields("digest", "all", *(name for name in request.form if _PASSAGE.fullmatch(name)))
    runtime, principal = current_runtime(), current_principal()
    found = conflicts.load_comparison(runtime, principal, slug, conflict_id)
    try:
        conflicts.resolve(runtime, principal, slug, conflict_id, request.form.get("digest", ""), request.form)
    except InvalidInput as error:
        row = _row(slug)
        shown = {**_shown(row), "found": found, "chosen": request.form, "problem": error.sentence}
        return render("sites/conflict.html", status=InvalidInput.status, **shown)
    flash(f"{found.conflict.path} is decided.", "success")
    return leave_to(url_for(".list_conflicts" if _row(slug).conflicts else ".show", slug=slug))


@blueprint.get("/<slug>/settings")
@requires(Right.SEE_REPOSITORIES)
def settings(slug: str) -> Response:
    """Show where a site is synced to, or what it can be connected to."""
    row = _row(slug)
    providers = [] if row.site.is_connected else connecting.list_providers(current_runtime(), current_principal())
    return render("sites/settings.html", **_shown(row), providers=providers, form=NameForm(name=row.site.name))


@blueprint.post("/<slug>/settings/name")
@requires(Right.ENABLE_REPOSITORIES)
def rename(slug: str) -> Response:
    """Give a site another name."""
    form, row = NameForm(), _row(slug)

    def page() -> Response:
        return render("sites/settings.html", **_shown(row), providers=[], form=form)

    def act() -> Response:
        rename_site(current_runtime(), current_principal(), slug, form.text("name"))
        flash("The name is changed.", "success")
        return leave_to(url_for(".settings", slug=slug))

    return answer_form(form, page, act)


@blueprint.post("/<slug>/settings/delete")
@requires(Right.ENABLE_REPOSITORIES)
def delete(slug: str) -> Response:
    """Delete a site with its files here."""
    refuse_unknown_fields("confirmation")
    row = _row(slug)
    delete_site(current_runtime(), current_principal(), slug, request.form.get("confirmation", ""))
    flash(f"{row.site.name} is deleted. What is at GitLab stays there.", "success")
    return leave_to(url_for(".index"))


# Connecting.


@blueprint.get("/<slug>/connect/<connection_slug>")
@requires(Right.ENABLE_REPOSITORIES)
def pick(slug: str, connection_slug: str) -> Response:
    """Show the enabled repositories that a site can be connected to."""
    runtime, principal, query = current_runtime(), current_principal(), request.args.get("q", "")
    row = _free(slug)
    choices = connecting.list_choices(runtime, principal, connection_slug, query)
    shown = {**_shown(row), "choices": choices, "query": query, "connection_slug": connection_slug}
    return render("sites/pick.html", **shown)


@blueprint.route("/<slug>/connect/<connection_slug>/new", methods=["GET", "POST"])
@requires(Right.ENABLE_REPOSITORIES)
def new_repository(slug: str, connection_slug: str) -> Response:
    """Have GitLab create a repository for the site."""
    runtime, principal, row = current_runtime(), current_principal(), _free(slug)
    groups = connecting.list_namespaces(runtime, principal, connection_slug)
    form = RepositoryForm(name=row.site.name, visibility="private")

    def page() -> Response:
        shown = {**_shown(row), "form": form, "groups": groups, "connection_slug": connection_slug}
        return render("sites/new_repository.html", **shown, visibilities=connecting.VISIBILITIES)

    def act() -> Response:
        group, name, visibility = (form.text(field) for field in ("group", "name", "visibility"))
        repository_id = connecting.create_repository(
            runtime, principal, connection_slug, read_id(group) or 0, name, visibility
        )
        flash("The repository is created and enabled.", "success")
        return leave_to(url_for(".target", slug=slug, repository_id=repository_id))

    return answer_form(form, page, act)


@blueprint.route(f"/<slug>/connect/repository/<int(max={MAX_ID}):repository_id>", methods=["GET", "POST"])
@requires(Right.ENABLE_REPOSITORIES)
def target(slug: str, repository_id: int) -> Response:
    """Choose the branch and the folder, and have the files compared."""
    runtime, principal, form = current_runtime(), current_principal(), TargetForm()
    row = _free(slug)
    with runtime.database.reading() as session:
        choice = connecting.find_choice(session, principal, repository_id)
    default = choice.repository.default_branch
    if request.method == "GET":
        form.branch.data = default or "main"
    created = f"creates it from {default}" if default else "creates it"
    form.branch.description = f"If there is no such branch, Gatehouse {created}."

    def page() -> Response:
        branches = connecting.list_branches(runtime, choice)
        return render("sites/target.html", **_shown(row), choice=choice, form=form, branches=branches)

    def act() -> Response:
        branch, folder = form.text("branch"), form.text("folder")
        job = connecting.request_preview(runtime, principal, slug, repository_id, branch, folder)
        return leave_to(url_for(".preview", slug=slug, public_id=job.public_id))

    return answer_form(form, page, act)


@blueprint.get("/<slug>/connect/preview/<public_id>")
@requires(Right.ENABLE_REPOSITORIES)
def preview(slug: str, public_id: str) -> Response:
    """Show which files would be replaced, as soon as that is known."""
    runtime = current_runtime()
    row, choice, job = connecting.load_preview(runtime, current_principal(), slug, public_id)
    if row.site.is_connected:
        return leave_to(url_for(".show", slug=slug))
    if wants_fragment() and job.is_finished:
        # The page is another one now.
        return leave_to(url_for(".preview", slug=slug, public_id=public_id))
    is_done = job.state == JobState.SUCCEEDED
    found = connecting.compare(runtime, row.site, job) if is_done else None
    card = Card.from_json(job.failure).at(Surface.JOB_PREVIEW) if job.failure and job.is_finished else None
    shown = {**_shown(row), "choice": choice, "job": job, "found": found, "card": card}
    return render("sites/preview.html", "sites/_waiting.html", **shown)


@blueprint.post("/<slug>/connect/preview/<public_id>")
@requires(Right.ENABLE_REPOSITORIES)
def connect(slug: str, public_id: str) -> Response:
    """Connect a site as its preview said."""
    refuse_unknown_fields("digest", "keep")
    keeps = request.form.get("keep") == "1"
    digest = request.form.get("digest", "")
    site = connecting.connect(current_runtime(), current_principal(), slug, public_id, digest, keeps=keeps)
    flash(f"{site.name} is connected.", "success")
    return leave_to(url_for(".show", slug=slug))


@blueprint.post("/<slug>/disconnect")
@requires(Right.ENABLE_REPOSITORIES)
def disconnect(slug: str) -> Response:
    """End the sync; the files stay."""
    refuse_unknown_fields()
    site = connecting.disconnect_site(current_runtime(), current_principal(), slug)
    flash(f"{site.name} is kept here only now. All its files are still here.", "success")
    return leave_to(url_for(".settings", slug=slug))


@blueprint.post("/<slug>/sync")
@requires(Right.ENABLE_REPOSITORIES)
def sync(slug: str) -> Response:
    """Sync now."""
    refuse_unknown_fields()
    connecting.request_sync(current_runtime(), current_principal(), slug)
    return leave_to(url_for(".show", slug=slug))


@blueprint.post("/<slug>/use-gitlab")
@requires(Right.ENABLE_REPOSITORIES)
def use_gitlab(slug: str) -> Response:
    """Continue from GitLab's rewritten branch."""
    refuse_unknown_fields()
    connecting.take_gitlab_version(current_runtime(), current_principal(), slug)
    flash("The site continues from GitLab's version. What was here is kept on a branch.", "success")
    return leave_to(url_for(".show", slug=slug))


def _row(slug: str) -> SiteRow:
    return get_site(current_runtime(), current_principal(), slug)


def _free(slug: str) -> SiteRow:
    """Return a site that is not connected."""
    row = _row(slug)
    if row.site.is_connected:
        raise Conflict("This site is connected already. Disconnect it first.")
    return row


def _shown(row: SiteRow) -> dict[str, Any]:
    """Return what every page of a site shows."""
    card = Card.from_json(row.site.card).at(Surface.SITE) if row.site.card else None
    may_edit = current_principal().may(Right.ENABLE_REPOSITORIES)
    return {"row": row, "site": row.site, "site_card": card, "may_edit": may_edit}
