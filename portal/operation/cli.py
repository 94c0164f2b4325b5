"""The `gatehouse` command."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from portal.operation.audit_commands import app as audit
from portal.operation.backup.commands import register as add_backup_commands
from portal.operation.configuration_commands import register as add_configuration_commands
from portal.operation.keys.commands import app as keys
from portal.settings import EXIT_CONFIG, Settings

EXIT_REFUSED = 2
EXIT_UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits.h.
SANDBOX_PORT = 8929
# An earlier version accepted it; scripts that still pass it are told what to do instead.
REFUSED_PASSWORD = typer.Option("--password", hidden=True)

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
add_configuration_commands(app)
app.add_typer(audit, name="audit")
console = Console()


def main() -> None:
    """Run the command line; each problem the operator has to fix ends it with one clear line."""
    from portal.operation.start import Refused, plain_refusals

    try:
        with plain_refusals():
            app()
    except Refused as refused:
        typer.echo(str(refused), err=True)
        raise SystemExit(EXIT_CONFIG) from None


@app.command()
def serve(
    sandbox: Annotated[bool, typer.Option(help="Also run the sandbox, a simulated GitLab, on loopback.")] = False,
    sandbox_port: Annotated[int, typer.Option(help="Port of the sandbox.", min=1, max=65535)] = SANDBOX_PORT,
    bind: Annotated[
        str, typer.Option(help="host:port to listen on; by default that of the base URL, if it is on loopback.")
    ] = "",
    workers: Annotated[int, typer.Option(help="Web processes.", min=1)] = 1,
    log_file: Annotated[
        Path | None, typer.Option(help="Write logs to this file, and only the links to the terminal.")
    ] = None,
    without_key: Annotated[
        bool,
        typer.Option("--without-key", help="The key ring is lost: make a new one; all secrets must be entered again."),
    ] = False,
) -> None:
    """Run the portal: web server and worker, and print the setup link at first start."""
    from portal.operation import serving, start
    from portal.preflight import check_ground

    with_sandbox = {"sandbox_origin": f"http://localhost:{sandbox_port}", "allow_http": "true"} if sandbox else {}
    settings = Settings.from_environ(**with_sandbox)
    # Before anything is created or printed: a portal that cannot answer must not void the link of one that does.
    with start.taken_ports(settings, bind, sandbox_port if sandbox else None) as sockets:
        check_ground(settings)
        prepared = start.prepare(settings, without_key=without_key)
        supervisor = serving.Supervisor(log_file=log_file, settings=with_sandbox)
        supervisor.listen()
        try:
            serving.start_children(supervisor, settings, sockets, workers)
            code = 0
            if start.wait_until_answering(supervisor, settings, sockets):
                for line in start.banner(settings, prepared, log_file):
                    typer.echo(line)
                code = supervisor.run()
        except start.NotAnswering as problem:
            typer.echo(str(problem), err=True)
            code = EXIT_UNAVAILABLE
        finally:
            supervisor.stop()
    raise SystemExit(code)


@app.command()
def worker() -> None:
    """Run one background worker. On PostgreSQL start as many as you like; on SQLite exactly one runs."""
    from portal import build_runtime
    from portal.jobs.engine import run_worker
    from portal.logs import configure_logs
    from portal.preflight import check_ground

    settings = Settings.from_environ()
    check_ground(settings)
    configure_logs(settings.log_level)
    raise SystemExit(run_worker(build_runtime(settings)))


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(help="Port on loopback.")] = SANDBOX_PORT,
    projects: Annotated[int, typer.Option(help="How many projects it has.")] = 60,
    version: Annotated[str, typer.Option(help="The GitLab version it plays.")] = "18.5.0",
    root: Annotated[str, typer.Option(help="A sub-path such as /gitlab.")] = "",
    iam: Annotated[bool, typer.Option("--iam", help="Issue OAuth tokens as GitLab's IAM service does.")] = False,
    listen_fd: Annotated[list[int] | None, typer.Option(hidden=True, help="A socket passed on by `serve`.")] = None,
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
    serve_sandbox(options, descriptors=listen_fd or [])


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    from portal.db import Database
    from portal.operation.start import bring_up_to_date
    from portal.preflight import check_ground

    settings = Settings.from_environ()
    check_ground(settings)
    console.print(f"The database is at revision {bring_up_to_date(Database(settings.resolved_database_url))}.")


@app.command()
def check(
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing if all is in order.")] = False,
) -> None:
    """Check settings, data folder, database and key ring, as every start does; exit code 78 and a sentence if not."""
    from portal.operation.start import check_for_web

    check_for_web(Settings.from_environ())
    if not quiet:
        console.print("Settings, data folder, database and key ring are in order.")


@users.command("add")
def add_user(
    email: Annotated[str, typer.Argument(help="Their e-mail address.")],
    name: Annotated[str, typer.Option(help="Their name.", prompt=True)],
    role: Annotated[str, typer.Option(help="owner, administrator, team_lead or auditor.")] = "administrator",
    password: Annotated[str | None, REFUSED_PASSWORD] = None,
) -> None:
    """Add a person to the portal's organization. Their password is asked for, or read from standard input."""
    from portal import opened_runtime
    from portal.accounts import people
    from portal.actor import Role

    typed = _read_password(password)
    with opened_runtime() as runtime, _clear_refusals():
        person = people.check_person(name, email, typed)
        with runtime.database.transaction() as session:
            organization = people.only_organization(session)
            assert organization.id is not None
            people.add_member(session, organization.id, person, Role(role))
    console.print(f"Added {email}.")


@users.command("password")
def set_user_password(
    email: Annotated[str, typer.Argument(help="Whose password.")],
    password: Annotated[str | None, REFUSED_PASSWORD] = None,
) -> None:
    """Give a person a new password; all their sessions end. It is asked for, or read from standard input."""
    from portal import opened_runtime
    from portal.accounts import people

    typed = _read_password(password)
    with opened_runtime() as runtime, _clear_refusals():
        people.set_password(runtime, email, typed)
    console.print(f"The password of {email} is changed.")


@users.command("list")
def list_users() -> None:
    """List everyone."""
    from sqlmodel import select

    from portal import opened_runtime
    from portal.accounts.models import Membership, User

    with opened_runtime() as runtime, runtime.database.reading() as session:
        for user in session.exec(select(User)):
            membership = session.exec(select(Membership).where(Membership.user_id == user.id)).first()
            console.print(f"{user.email}  {user.name}  {membership.role if membership else 'removed'}", highlight=False)


def _read_password(given: str | None) -> str:
    """Ask for a password twice, or read a line of standard input if there is no terminal."""
    if given is not None:
        typer.echo(
            "A password on the command line can be read by everyone on this machine and stays in the shell's history. "
            "Leave --password out: the command asks for the password or reads it from standard input.",
            err=True,
        )
        raise SystemExit(EXIT_REFUSED)
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n")


@contextmanager
def _clear_refusals() -> Iterator[None]:
    """Exit with one line about what a person got wrong."""
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
    """Say how the portal interprets a host and whether it may be reached; exit code 2 if it may not."""
    from portal.net.check_host import check_host

    code, lines = check_host(host, Settings.from_environ())
    for line in lines:
        console.print(line, highlight=False, markup=False)
    raise SystemExit(code)
