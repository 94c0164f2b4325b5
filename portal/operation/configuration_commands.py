"""`gatehouse export`, `plan` and `apply`: the configuration as a file. What it may say: `docs/configuration.md`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from portal.errors import InvalidInput, PortalError

if TYPE_CHECKING:
    from portal.actor import Principal
    from portal.configuration.plan import Plan
    from portal.runtime import Runtime

EXIT_REFUSED = 1
EXIT_CHANGES = 2
CONFIRMATION = "apply"
File = Annotated[Path, typer.Argument(help="A file as `gatehouse export` writes it.")]
Person = Annotated[str, typer.Option("--as", help="Whose rights are used, by e-mail address; by default an owner's.")]


def register(app: typer.Typer) -> None:
    """Add the three commands."""
    app.command()(export)
    app.command()(plan)
    app.command()(apply)


def export(
    file: Annotated[Path | None, typer.Argument(help="Where to write; by default to standard output.")] = None,
    person: Person = "",
) -> None:
    """Write connections, rules, groups of team leads and enablements as TOML, without any secret."""
    from portal.configuration.export import export as export_text

    with _opened(person) as (runtime, principal):
        text = export_text(runtime, principal)
    if file is None:
        typer.echo(text, nl=False)
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        _refuse(f"{file} cannot be written: {error.strerror}.")


def plan(
    file: File,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    person: Person = "",
) -> None:
    """Print what a file would change, and change nothing. Exit code 0: no changes, 2: changes, 1: an error."""
    text = _read(file)
    with _opened(person) as (runtime, principal):
        made = _planned(runtime, principal, text, as_json=as_json)
    raise SystemExit(EXIT_CHANGES if made.steps else 0)


def apply(
    file: File,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    plan_id: Annotated[str, typer.Option("--plan", help="Only if the plan is still the one with this id.")] = "",
    person: Person = "",
) -> None:
    """Print what a file would change, ask, and change it. Run it again after an interruption."""
    from portal.configuration.plan import make_plan

    text = _read(file)
    with _opened(person) as (runtime, principal):
        shown = _planned(runtime, principal, text)
        if plan_id not in {"", shown.id}:
            _refuse(f"This is no longer plan {plan_id}. Nothing was changed.")
        if not shown.steps:
            return
        if not yes:
            if typer.prompt(f"Type {CONFIRMATION} to make these changes").strip() != CONFIRMATION:
                _refuse("Nothing was changed.")
            current = make_plan(runtime, principal, text)
            if current.id != shown.id:
                _refuse("Something has changed since the plan was shown. Nothing was changed; run this again.")
        count = 0
        try:
            for _ in shown.apply():
                count += 1
        except PortalError as error:
            sentences = error.field_errors.values() if isinstance(error, InvalidInput) else ()
            reason = " ".join(sentences) or error.sentence
            _refuse(f"{reason} {count:,} of {len(shown.changes):,} changes were made; run this again for the rest.")
    typer.echo(f"{count:,} changes made.")


def _planned(runtime: Runtime, principal: Principal, text: str, *, as_json: bool = False) -> Plan:
    """Print the plan of a file; if that has errors, print all of them and exit."""
    from portal.configuration.plan import make_plan

    made = make_plan(runtime, principal, text)
    problems = made.document.problems
    if as_json:
        answer = {
            "id": made.id,
            "problems": [asdict(problem) for problem in problems],
            "changes": [asdict(change) for change in made.changes],
            "waits": made.waits,
        }
        typer.echo(json.dumps(answer, ensure_ascii=False, indent=2))
    elif problems:
        typer.echo("\n".join(map(str, problems)), err=True)
    else:
        lines = [line for change in made.changes for line in change.lines] or ["No changes."]
        lines += [f"  waits: {wait}" for wait in made.waits]
        typer.echo("\n".join([*lines, *([f"Plan {made.id}: {len(made.changes):,} changes."] if made.steps else [])]))
    if problems:
        raise SystemExit(EXIT_REFUSED)
    return made


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        _refuse(f"{file} cannot be read: {error.strerror}.")
    except UnicodeDecodeError:
        _refuse(f"{file} is not UTF-8.")


def _refuse(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    sys.exit(EXIT_REFUSED)


@contextmanager
def _opened(email: str) -> Iterator[tuple[Runtime, Principal]]:
    """Yield the runtime and whose rights are used: the audit log names the command line, not that person."""
    from sqlmodel import col, select

    from portal import opened_runtime
    from portal.accounts import people
    from portal.accounts.models import Membership, User
    from portal.accounts.principal import load_principal
    from portal.actor import COMMAND_LINE, Right, Role

    with opened_runtime() as runtime:
        try:
            with runtime.database.reading() as session:
                organization = people.only_organization(session)
                statement = (
                    select(User)
                    .join(Membership, col(Membership.user_id) == col(User.id))
                    .where(Membership.organization_id == organization.id, col(User.is_disabled).is_(False))
                    .where(User.email == email.strip().lower() if email else Membership.role == Role.OWNER)
                    .order_by(col(User.id))
                )
                user = session.exec(statement).first()
                assert organization.id is not None
                found = load_principal(session, user.id, organization.id) if user and user.id else None
            if found is None or not found.may(Right.MANAGE_CONNECTIONS):
                _refuse(f"{email or 'No owner'} may not manage connections here.")
            yield runtime, replace(found, acted_by=COMMAND_LINE)
        except PortalError as error:
            _refuse(error.sentence)
