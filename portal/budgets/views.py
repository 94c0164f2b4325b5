"""The page about the requests to one GitLab: what was agreed on, what was used, and when Gatehouse slowed down."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, flash, request, url_for

from portal.actor import Right
from portal.budgets.agreements import EnteredBudget, clock_of, drop_agreement, quiet_hours_of, save_agreement
from portal.budgets.consumption import SERIES, load_consumption
from portal.connections.store import get_connection
from portal.db import read_id
from portal.errors import InvalidInput
from portal.runtime import Runtime
from portal.web.access import requires
from portal.web.charts import draw_bars
from portal.web.current import current_principal, current_runtime
from portal.web.forms import refuse_unknown_fields
from portal.web.htmx import leave_to, render

blueprint = Blueprint("budgets", __name__, url_prefix="/connections/<slug>/budget")
FIELDS = tuple(EnteredBudget.__dataclass_fields__)


def register(app: Flask, runtime: Runtime) -> None:
    """Add the routes."""
    app.register_blueprint(blueprint)


@blueprint.get("")
@requires(Right.SEE_CONNECTIONS)
def show(slug: str) -> Response:
    """Show what was agreed on and what was used."""
    return _page(slug, None, {})


@blueprint.post("")
@requires(Right.MANAGE_CONNECTIONS)
def save(slug: str) -> Response:
    """Store what was agreed on."""
    refuse_unknown_fields(*FIELDS, "row_version")
    entered = EnteredBudget(**{name: request.form.get(name, "") for name in FIELDS})
    version = read_id(request.form.get("row_version", "")) or 0
    try:
        save_agreement(current_runtime(), current_principal(), slug, entered, row_version=version)
    except InvalidInput as error:
        response = _page(slug, entered, error.field_errors)
        response.status_code = error.status
        return response
    flash("The budget was saved. Every process keeps to it within seconds.", "success")
    return leave_to(url_for(".show", slug=slug))


@blueprint.post("/usual")
@requires(Right.MANAGE_CONNECTIONS)
def drop(slug: str) -> Response:
    """Return to what Gatehouse does if nothing was agreed on."""
    refuse_unknown_fields()
    drop_agreement(current_runtime(), current_principal(), slug)
    flash("The agreement was removed. The usual budget applies again.", "success")
    return leave_to(url_for(".show", slug=slug))


def _page(slug: str, entered: EnteredBudget | None, errors: dict[str, str]) -> Response:
    runtime, principal = current_runtime(), current_principal()
    connection = get_connection(runtime, principal, slug)
    found = load_consumption(runtime, principal, connection)
    row = found.agreement
    if entered is None and row is not None:
        has_quiet_hours = row.quiet_from != row.quiet_until
        entered = EnteredBudget(
            str(row.per_second),
            str(row.at_once),
            clock_of(row.quiet_from) if has_quiet_hours else "",
            clock_of(row.quiet_until) if has_quiet_hours else "",
            row.time_zone,
            str(row.quiet_per_second),
            row.agreed_with,
            f"{row.agreed_at:%Y-%m-%d}" if row.agreed_at else "",
            row.note,
        )
    per_second = found.allowed.per_second
    return render(
        "budgets/show.html",
        connection=connection,
        found=found,
        series=tuple(SERIES),
        wide=draw_bars(found.columns, width=1040, limit=per_second) if found.highest else None,
        narrow=draw_bars(found.columns, width=390, limit=per_second, every=2) if found.highest else None,
        entered=entered or EnteredBudget(),
        errors=errors,
        quiet_hours=quiet_hours_of(row) if row else "",
        is_changing="change" in request.args or bool(errors),
        may_manage=principal.may(Right.MANAGE_CONNECTIONS) and bool(found.origin),
    )
