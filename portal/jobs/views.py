"""Pages of background work: the list, one job with live progress, and the button that stops it."""

from __future__ import annotations

from flask import Blueprint, Flask, request, url_for
from flask.typing import ResponseReturnValue

from portal import audit
from portal.actor import AccessRefused, Principal, Right
from portal.db import read_id
from portal.jobs import service
from portal.jobs.models import Job
from portal.runtime import Runtime
from portal.web.access import requires
from portal.web.addresses import safe_next
from portal.web.current import current_principal, current_runtime
from portal.web.forms import refuse_unknown_fields
from portal.web.htmx import hx_trigger, leave_to, render

blueprint = Blueprint("jobs", __name__, url_prefix="/jobs")
# What the rest of a job's page waits for.
FINISHED_EVENT = "job-finished"


def register(app: Flask, _runtime: Runtime) -> None:
    """Add the pages to the application."""
    app.register_blueprint(blueprint)


@blueprint.get("")
@requires(Right.SEE_JOBS)
def index() -> ResponseReturnValue:
    """List the organization's jobs, newest first; only the list for htmx."""
    before = read_id(request.args.get("before", ""))
    with current_runtime().database.reading() as session:
        listing = service.list_jobs(session, current_principal().organization_id, before=before)
    return render("jobs/index.html", "jobs/_list.html", listing=listing, before=before)


@blueprint.get("/<public_id>")
@requires(Right.SEE_JOBS)
def show(public_id: str) -> ResponseReturnValue:
    """Show one job; for htmx only its progress, which polls until the job has finished."""
    job, summary, may_stop = _load(current_principal(), public_id)
    response = render("jobs/show.html", "jobs/_progress.html", job=job, summary=summary, may_stop=may_stop)
    return hx_trigger(response, FINISHED_EVENT) if job.is_finished else response


@blueprint.get("/<public_id>/details")
@requires(Right.SEE_JOBS)
def details(public_id: str) -> ResponseReturnValue:
    """Show what appears below the progress: why it failed, its items, its facts."""
    job, summary, may_stop = _load(current_principal(), public_id)
    return render("jobs/show.html", "jobs/details.hx.html", job=job, summary=summary, may_stop=may_stop)


@blueprint.post("/<public_id>/stop")
@requires(Right.SEE_JOBS)
def stop(public_id: str) -> ResponseReturnValue:
    """Ask a job to stop: for those who manage connections, and for whoever asked for the job."""
    refuse_unknown_fields()
    principal = current_principal()
    with current_runtime().database.transaction() as session:
        job = service.find_job(session, principal.organization_id, public_id)
        is_allowed = _may_stop(principal, job)
        if is_allowed and not job.is_finished:
            service.request_stop(session, public_id)
            audit.record(session, principal.actor, "job.stop", job.target)
    if not is_allowed:
        raise AccessRefused(Right.MANAGE_CONNECTIONS)
    return leave_to(safe_next(request.form.get("next", "")) or url_for("jobs.show", public_id=public_id))


def _load(principal: Principal, public_id: str) -> tuple[Job, service.ItemSummary, bool]:
    with current_runtime().database.reading() as session:
        job = service.find_job(session, principal.organization_id, public_id)
        assert job.id is not None
        summary = service.summarize_items(session, job.id)
    # Items name repositories, and a team lead sees those of the granted groups only.
    if not principal.sees_all_groups and job.actor.user_id != principal.user_id:
        summary = summary.without_items()
    return job, summary, not job.is_finished and _may_stop(principal, job)


def _may_stop(principal: Principal, job: Job) -> bool:
    return principal.may(Right.MANAGE_CONNECTIONS) or job.actor.user_id == principal.user_id
