"""`gatehouse audit`: verify the chain of the audit log, and export it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from portal.audit_log.export import COLUMNS, rows_of
from portal.errors import BadRequest
from portal.exports import Format

EXIT_BROKEN = 1
EXIT_REFUSED = 2

app = typer.Typer(no_args_is_help=True, help="The audit log: who did what, from where.")
# Not standard output: that is where an export goes.
console = Console(stderr=True, highlight=False, soft_wrap=True)


@app.command()
def verify() -> None:
    """Check every event; if one is not as it was written, print the first such number and exit with code 1."""
    from portal import opened_runtime
    from portal.audit.verify import verify_chain

    progress = Progress(console=console, transient=True, disable=not console.is_terminal)
    with opened_runtime() as runtime, progress as bar:
        task = bar.add_task("Verifying")
        head_file = runtime.settings.audit_head_file
        try:
            verdict = verify_chain(runtime, lambda done, total: bar.update(task, completed=done, total=total))
        except OSError as error:
            typer.echo(f"The head file {head_file} cannot be read: {error.strerror}.")
            raise SystemExit(EXIT_BROKEN) from None
    if head_file and not head_file.exists():
        console.print(f"The head file {head_file} does not exist: missing events at the end would go unnoticed.")
    if verdict.fault:
        typer.echo(f"{verdict.fault} The {verdict.checked:,} before it are as they were written.")
        raise SystemExit(EXIT_BROKEN)
    typer.echo(f"All {verdict.checked:,} events are as they were written.")


@app.command()
def export(
    format: Annotated[Format, typer.Option(help="CSV for spreadsheets, or JSON lines.")] = Format.CSV,
    from_: Annotated[str, typer.Option("--from", help="The first day, such as 2026-01-31, in UTC.")] = "",
    to: Annotated[str, typer.Option(help="The last day.")] = "",
) -> None:
    """Write the events of all organizations to standard output, oldest first; that itself is recorded."""
    from portal import opened_runtime
    from portal.actor import COMMAND_LINE
    from portal.audit.service import Target, record
    from portal.audit_log.filters import Filters
    from portal.audit_log.search import iterate_events

    try:
        filters = Filters.read({"from": from_, "to": to})
    except BadRequest as error:
        console.print(error.sentence)
        raise SystemExit(EXIT_REFUSED) from None
    with opened_runtime() as runtime:
        with runtime.database.transaction() as session:
            target, chosen = Target(None, "audit_log"), filters.fields()
            record(session, COMMAND_LINE, "audit.exported", target, format=format.value, filters=chosen)
        for line in format.lines(COLUMNS, rows_of(iterate_events(runtime.database, filters.for_organization(None)))):
            sys.stdout.write(line)
