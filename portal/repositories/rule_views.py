"""The page of a connection's rules: a draft in the form, and beside it what saving the draft would change."""

from __future__ import annotations

import re

from flask import Blueprint, Flask, Response, flash, g, request, url_for

from portal.actor import Right
from portal.connections.store import get_connection_for_admin
from portal.db import read_id
from portal.errors import BadRequest, Conflict, InvalidInput
from portal.repositories import rules
from portal.repositories.rules import Rule
from portal.web.access import requires
from portal.web.current import current_principal, current_runtime
from portal.web.forms import refuse_unknown_fields
from portal.web.htmx import leave_to, render

blueprint = Blueprint("rules", __name__)
FIELDS = ("id", "action", "pattern", "visibility", "active", "archived")
_STEP = re.compile(r"^(up|down|open|remove|above)-(\d{1,2})(?:-(\d{1,2}))?$")


def register(app: Flask) -> None:
    """Add the routes, and what the panel shows of rules."""
    app.register_blueprint(blueprint)
    app.add_template_global(numbers_of_rules, "rule_numbers")


def numbers_of_rules(connection_id: int) -> dict[int, int]:
    """Return the number of each rule of a connection by its id; every row of a list asks."""
    if (found := g.setdefault("rule_numbers", {})).get(connection_id) is None:
        with current_runtime().database.reading() as session:
            found[connection_id] = rules.rule_numbers(session, connection_id)
    numbers: dict[int, int] = found[connection_id]
    return numbers


@blueprint.get("/connections/<slug>/rules")
@requires(Right.MANAGE_CONNECTIONS)
def show(slug: str) -> Response:
    """Show the stored rules."""
    runtime, principal = current_runtime(), current_principal()
    with runtime.database.reading() as session:
        connection = get_connection_for_admin(session, principal, slug)
        stored = rules.list_rules(session, connection.id or 0)
    return _render(slug, stored, stored, version=rules.version_of(stored))


@blueprint.post("/connections/<slug>/rules")
@requires(Right.MANAGE_CONNECTIONS)
def change(slug: str) -> Response:
    """Change the draft by one step, or save it."""
    numbers = range(rules.MAX_RULES + 1)
    fields = [f"rule-{number}-{name}" for number in numbers for name in FIELDS]
    refuse_unknown_fields("version", "promise", "open", "do", *fields)
    form, runtime, principal = request.form, current_runtime(), current_principal()
    with runtime.database.reading() as session:
        connection = get_connection_for_admin(session, principal, slug)
        stored = rules.list_rules(session, connection.id or 0)
    draft = [_read(number, {rule.id for rule in stored}) for number in numbers if f"rule-{number}-action" in form]
    version, do, shown = form.get("version", ""), form.get("do", ""), form.get("open", "")
    is_shown = shown.isdecimal() and len(shown) < 3 and int(shown) < len(draft)
    opened = int(shown) if is_shown else None
    if step := _STEP.match(do):
        opened = _take_step(step[1], int(step[2]), int(step[3] or 0), draft, opened)
    elif do == "add" and len(draft) < rules.MAX_RULES:
        draft.append(Rule())
        opened = len(draft) - 1
    elif do == "save":
        try:
            outcome = rules.save_rules(
                runtime, principal, slug, draft, version=version, promise=form.get("promise", "")
            )
        except (Conflict, InvalidInput) as error:
            wrong = next((number for number, rule in enumerate(draft) if rule.problem), opened)
            return _render(
                slug,
                draft,
                stored,
                version=rules.version_of(stored),
                opened=wrong,
                problem=error.sentence,
                status=error.status,
                shows_problems=True,
            )
        flash(f"Rules saved. They {outcome.promise} repositories.", "success")
        return leave_to(url_for(".show", slug=slug))
    elif do == "discard":
        return leave_to(url_for(".show", slug=slug))
    return _render(slug, draft, stored, version=version, opened=opened)


def _read(number: int, known: set[int | None]) -> Rule:
    """Return one rule of the form.

    Raises:
        BadRequest: a choice that the form does not offer.
    """
    got = {name: request.form.get(f"rule-{number}-{name}", "") for name in FIELDS}
    months = int(got["active"]) if got["active"].isdecimal() and len(got["active"]) < 3 else -1
    rule_id = read_id(got["id"])
    if (
        got["action"] not in set(rules.Action)
        or got["visibility"] not in rules.VISIBILITIES
        or got["archived"] not in rules.ARCHIVED
        or months not in rules.MONTHS
    ):
        raise BadRequest
    return Rule(
        action=got["action"],
        pattern=rules.clean_pattern(got["pattern"]),
        visibility=got["visibility"],
        active_months=months,
        archived=got["archived"],
        id=rule_id if rule_id in known else None,
    )


def _take_step(step: str, number: int, place: int, draft: list[Rule], opened: int | None) -> int | None:
    """Change the draft; return which rule is open afterwards."""
    if number >= len(draft):
        return opened
    if step == "open":
        return None if opened == number else number
    marked = [(rule, at == opened) for at, rule in enumerate(draft)]
    moved = marked.pop(number)
    if step != "remove":
        target = {"up": number - 1, "down": number + 1, "above": min(place, number)}[step]
        marked.insert(max(target, 0), moved)
    draft[:] = [rule for rule, _ in marked]
    return next((at for at, (_, is_open) in enumerate(marked) if is_open), None)


def _render(
    slug: str,
    draft: list[Rule],
    stored: list[Rule],
    *,
    version: str,
    opened: int | None = None,
    problem: str = "",
    status: int = 200,
    shows_problems: bool = False,
) -> Response:
    runtime, principal = current_runtime(), current_principal()
    with runtime.database.reading() as session:
        connection = get_connection_for_admin(session, principal, slug)
    before = {rule.id: rule for rule in stored}
    return render(
        "repositories/rules.html",
        "repositories/_rules.html",
        status=status,
        connection=connection,
        draft=draft,
        changed=[rule != before.get(rule.id) for rule in draft],
        is_changed=draft != stored,
        outcome=rules.preview(runtime, principal, slug, draft),
        version=version,
        opened=opened,
        problem=problem,
        shows_problems=shows_problems,
        choices={"months": rules.MONTHS, "visibilities": rules.VISIBILITIES, "max": rules.MAX_RULES},
    )
