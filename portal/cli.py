"""The `gatehouse` command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.panel import Panel

from portal.audit.commands import app as audit
from portal.backup.commands import register as add_backup_commands
from portal.keys.commands import app as keys
from portal.settings import Settings, SettingsError

if TYPE_CHECKING:
    from portal.runtime import Runtime

EXIT_REFUSED = 2
EXIT_CONFIG = 78
SANDBOX_PORT = 8929

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # They may hold secrets.
    help="Connect a self-hosted GitLab to your software.",
)
users = typer.Typer(no_args_is_help=True, help="People of this portal.")
app.add_typer(users, name="user")
app.add_typer(keys, name="keys")
add_backup_commands(app)
app.add_typer(audit, name="audit")
console = Console()


def main() -> None:
    """Run the command line; what the operator has to put right ends it with one clear line each."""
    from portal.migrations.upgrade import NewerSchema
    from portal.vault import KeyRingError, WrongKey

    try:
        app()
    except SettingsError as error:
        console.print(f"[red]Settings:[/red] {error}")
        raise SystemExit(EXIT_CONFIG) from None
    except (KeyRingError, WrongKey, NewerSchema) as error:
        console.print(f"[red]Stopped:[/red] {error}", soft_wrap=True, highlight=False)
        raise SystemExit(EXIT_CONFIG) from None


@app.command()
def serve(
    sandbox: Annotated[bool, typer.Option(help="Also run the sandbox, a simulated GitLab, on loopback.")] = False,
    sandbox_port: Annotated[int, typer.Option(help="Port of the sandbox.")] = SANDBOX_PORT,
    bind: Annotated[str, typer.Option(help="host:port to listen on; by default that of the base URL.")] = "",
    workers: Annotated[int, typer.Option(help="Web processes.")] = 1,
    log_file: Annotated[Path | None, typer.Option(help="Write logs here and only the links to the terminal.")] = None,
    without_key: Annotated[
        bool,
        typer.Option("--without-key", help="The key ring is lost: make a new one, secrets are re-entered."),
    ] = False,
) -> None:
    """Run the portal: web server and worker, and print the setup link at first start."""
    from portal import serving, start

    if sandbox:
        serving.export(sandbox_origin=f"http://localhost:{sandbox_port}", allow_http="true")
    settings = Settings.from_environ()
    prepared = start.prepare(settings, without_key=without_key)
    supervisor = serving.Supervisor(log_file=log_file)
    supervisor.listen()
    if sandbox:
        supervisor.start("sandbox", ["-m", "portal", "sandbox", f"--port={sandbox_port}"])
    if settings.embedded_worker:
        supervisor.start("worker", ["-m", "portal", "worker"])
    supervisor.start("web", serving.web_arguments(settings, bind or serving.bind_address(settings), workers))
    start.wait_until_answering(bind or serving.bind_address(settings))
    console.print(Panel(start.banner(settings, prepared, log_file), title="Gatehouse", expand=False))
    raise SystemExit(supervisor.run())


@app.command()
def worker() -> None:
    """Run one background worker. On PostgreSQL start as many as you like; on SQLite exactly one runs."""
    from portal.jobs.worker import run_worker
    from portal.logs import configure_logs

    settings = Settings.from_environ()
    configure_logs(settings.log_level)
    raise SystemExit(run_worker(settings))


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(help="Port on loopback.")] = SANDBOX_PORT,
    projects: Annotated[int, typer.Option(help="How many projects it has.")] = 60,
    version: Annotated[str, typer.Option(help="The GitLab version it plays.")] = "18.5.0",
    root: Annotated[str, typer.Option(help="A sub-path such as /gitlab.")] = "",
    iam: Annotated[bool, typer.Option("--iam", help="Issue OAuth tokens as GitLab's new token service does.")] = False,
) -> None:
    """Run the sandbox: a simulated GitLab on loopback, with people, groups and projects."""
    from portal.sandbox.options import SandboxOptions
    from portal.sandbox.serve import serve as serve_sandbox

    options = SandboxOptions(
        external_url=f"http://localhost:{port}{root}",
        port=port,
        relative_root=root,
        version=version,
        project_count=projects,
        iam=iam,
    )
    console.print(f"The sandbox answers at {options.external_url}")
    serve_sandbox(options)


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    from portal.db import Database
    from portal.start import bring_up_to_date

    settings = Settings.from_environ()
    console.print(f"The database is at revision {bring_up_to_date(Database(settings.resolved_database_url))}.")


@users.command("add")
def add_user(
    email: Annotated[str, typer.Argument(help="Their e-mail address.")],
    name: Annotated[str, typer.Option(help="Their name.", prompt=True)],
    role: Annotated[str, typer.Option(help="owner, administrator, team_lead or auditor.")] = "administrator",
    password: Annotated[str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True)] = "",
) -> None:
    """Add a person to the portal's organization."""
    from portal.accounts import people
    from portal.accounts.roles import Role

    with _runtime() as runtime, _clear_refusals():
        person = people.check_person(name, email, password)
        with runtime.database.transaction() as session:
            organization = people.only_organization(session)
            assert organization.id is not None
            people.add_member(session, organization.id, person, Role(role))
    console.print(f"Added {email}.")


@users.command("password")
def set_user_password(
    email: Annotated[str, typer.Argument(help="Whose password.")],
    password: Annotated[str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True)] = "",
) -> None:
    """Give a person another password; all their sessions end."""
    from portal.accounts import people

    with _runtime() as runtime, _clear_refusals():
        people.set_password(runtime, email, password)
    console.print(f"The password of {email} is changed.")


@users.command("list")
def list_users() -> None:
    """List everybody."""
    from sqlmodel import select

    from portal.accounts.models import Membership, User

    with _runtime() as runtime, runtime.database.reading() as session:
        for user in session.exec(select(User)):
            membership = session.exec(select(Membership).where(Membership.user_id == user.id)).first()
            console.print(f"{user.email}  {user.name}  {membership.role if membership else 'removed'}", highlight=False)


@contextmanager
def _runtime() -> Iterator[Runtime]:
    from portal.runtime import build_runtime

    runtime = build_runtime(Settings.from_environ())
    try:
        yield runtime
    finally:
        runtime.database.close()


@contextmanager
def _clear_refusals() -> Iterator[None]:
    """End with one line for what a person got wrong."""
    from portal.errors import InvalidInput, PortalError

    try:
        yield
    except InvalidInput as error:
        console.print("; ".join(error.field_errors.values()) or error.sentence)
        raise SystemExit(EXIT_REFUSED) from None
    except (PortalError, ValueError) as error:
        console.print(str(error))
        raise SystemExit(EXIT_REFUSED) from None


@app.command("check-host")
def check_host_command(host: Annotated[str, typer.Argument(help="A host or address, as typed into *Domain*.")]) -> None:
    """Tell how the portal understands a host and whether it may be reached; exit code 2 when it may not."""
    from portal.net.check_host import check_host

    code, lines = check_host(host, Settings.from_environ())
    for line in lines:
        console.print(line, highlight=False, markup=False)
    raise SystemExit(code)
