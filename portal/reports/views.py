"""The page of reports, and its figures as a file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Flask, Response, flash, request, url_for

from portal import audit
from portal.actor import Right
from portal.db import read_id
from portal.errors import NotFound
from portal.foreign import Path
from portal.reports.query import PERIODS, USUAL_WEEKS, Report, Scope, Week, load_report
from portal.reports.settings import save_settings
from portal.repositories.forms import as_file
from portal.runtime import Runtime
from portal.web.access import requires
from portal.web.charts import Column, Drawing, draw_bars, draw_lines
from portal.web.current import current_principal, current_runtime
from portal.web.forms import refuse_unknown_fields
from portal.web.htmx import leave_to, render
from portal.web.times import day

blueprint = Blueprint("reports", __name__, url_prefix="/reports")
FIELDS = ("connection", "group", "repository", "weeks")
MINUTE, HOUR, DAY = 60, 3_600, 86_400
# Of the file.
COLUMNS = (
    *("week", "is_over", "commits", "merge_requests_opened", "merge_requests_merged", "merge_requests_closed"),
    *("issues_opened", "issues_closed", "deployments", "cycle_time_median_seconds", "cycle_time_p90_seconds"),
)
# Columns with a tick that fit beside each other, wide and narrow.
TICKS_WIDE, TICKS_HALF, TICKS_NARROW = 14, 8, 6
# A half of the page is drawn half as wide.
WIDE, HALF, NARROW = 1040.0, 520.0, 390.0


def register(app: Flask, runtime: Runtime) -> None:
    """Add the routes, and the filters of the page."""
    app.register_blueprint(blueprint)
    app.add_template_filter(length_of, "lasting")
    app.add_template_filter(lambda at: day(datetime.fromtimestamp(at, UTC)), "day_of")
    app.add_template_filter(lambda at: f"{at.day} {at:%b %Y}", "week_name")


@blueprint.get("")
@requires(Right.SEE_REPOSITORIES)
def index() -> Response:
    """Show a report."""
    scope = _scope(request.args)
    report = load_report(current_runtime(), current_principal(), scope)
    if scope.repository_id is not None and not report.path:
        raise NotFound
    return render("reports/index.html", report=report, scope=scope, periods=PERIODS, charts=_charts(report))


@blueprint.post("/export")
@requires(Right.SEE_REPOSITORIES)
def export() -> Response:
    """Return the figures by week as a file."""
    refuse_unknown_fields(*FIELDS, "format")
    runtime, principal, scope = current_runtime(), current_principal(), _scope(request.form)
    with runtime.database.transaction() as session:
        target = audit.Target(principal.organization_id, "reports")
        audit.record(session, principal.actor, "report.exported", target, filters=scope.parameters())
    return as_file("report", COLUMNS, _rows(load_report(runtime, principal, scope)))


@blueprint.post("/settings/<slug>")
@requires(Right.MANAGE_CONNECTIONS)
def save(slug: str) -> Response:
    """Choose how far back a connection is read, and how people are named."""
    refuse_unknown_fields("months", "has_initials", "row_version")
    months, version = (read_id(request.form.get(name, "")) or 0 for name in ("months", "row_version"))
    has_initials = request.form.get("has_initials") == "1"
    save_settings(
        current_runtime(), current_principal(), slug, months=months, has_initials=has_initials, row_version=version
    )
    flash("Saved. What is missing now is read next.", "success")
    return leave_to(url_for("connections.settings", slug=slug, _anchor="panel-reports"))


def _scope(given: Any) -> Scope:
    repository = given.get("repository", "")
    repository_id = read_id(repository) if repository else None
    if repository and repository_id is None:
        raise NotFound
    weeks = read_id(given.get("weeks", "")) or USUAL_WEEKS
    return Scope(
        connection=given.get("connection", "")[:64],
        group=Path(given.get("group", "")),
        repository_id=repository_id,
        weeks=weeks if weeks in PERIODS else USUAL_WEEKS,
    )


def _rows(report: Report) -> Iterator[dict[str, object]]:
    for week in report.shown:
        counts = week.counts
        yield {
            "week": week.begins.isoformat(),
            "is_over": "no" if week.is_open else "yes",
            "commits": counts["commits"],
            "merge_requests_opened": counts["opened"],
            "merge_requests_merged": counts["merged"],
            "merge_requests_closed": counts["closed"],
            "issues_opened": counts["issues_opened"],
            "issues_closed": counts["issues_closed"],
            "deployments": counts["deployments"],
            "cycle_time_median_seconds": week.cycles.median,
            "cycle_time_p90_seconds": week.cycles.slowest,
        }


def length_of(seconds: int | None, unit: str = "") -> str:
    """Return how long something took, with one decimal below ten; `unit` fixes it to days, without saying so."""
    if seconds is None:
        return "–"
    if unit == "days":
        return f"{seconds / DAY:.1f}"
    if seconds < 2 * HOUR:
        minutes = seconds // MINUTE
        return f"{minutes} minute{'' if minutes == 1 else 's'}"
    size, name = (DAY, "days") if seconds >= 2 * DAY else (HOUR, "hours")
    value = seconds / size
    return f"{value:.1f} {name}" if value < 10 else f"{round(value):,} {name}"


def _charts(report: Report) -> dict[str, tuple[Drawing, Drawing]]:
    """Return every chart, wide and narrow."""
    weeks = report.shown
    before: list[Week | None] | None = [*report.before.weeks, None] if report.before.is_known else None
    # Days, as people read them.
    lines = [
        [None if value is None else value / DAY for value in (getattr(week.cycles, name) for week in weeks)]
        for name in ("median", "slowest")
    ]
    ends = [
        f"{line[-1]:.1f} {name}" if line[-1] is not None else ""
        for line, name in zip(lines, ("median", "p90"), strict=True)
    ]
    found = {
        "cycle": (
            draw_lines(_columns(weeks, "", TICKS_WIDE), lines, ends, width=WIDE),
            draw_lines(_columns(weeks, "", TICKS_NARROW), lines, ends, width=NARROW),
        )
    }
    for name in ("merged", "commits", "opened", "issues_opened", "issues_closed"):
        found[name] = (
            draw_bars(_columns(weeks, name, TICKS_HALF, before), width=HALF),
            draw_bars(_columns(weeks, name, TICKS_NARROW, before), width=NARROW),
        )
    return found


def _columns(weeks: list[Week], name: str, ticks: int, before: list[Week | None] | None = None) -> list[Column]:
    """Return the columns of a chart: of one count, or without values."""
    every, month, columns = -(-len(weeks) // ticks), 0, []
    for number, week in enumerate(weeks):
        has_tick = number % every == 0
        # The month is named where it changes.
        text = f"{week.begins.day} {week.begins:%b}" if week.begins.month != month else str(week.begins.day)
        month = week.begins.month if has_tick else month
        other = before[number] if before else None
        columns.append(
            Column(
                text,
                (float(week.counts[name]),) if name else (),
                has_tick=has_tick,
                is_open=week.is_open,
                is_gap=week.is_open,
                mark=float(other.counts[name]) if other is not None else None,
            )
        )
    return columns
