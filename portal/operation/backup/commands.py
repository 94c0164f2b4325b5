"""`gatehouse backup` and `gatehouse restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from portal.settings import Settings

EXIT_REFUSED = 2
WORD = "replace"

console = Console(highlight=False, soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add both commands."""
    app.command()(backup)
    app.command()(restore)


def backup(folder: Annotated[Path, typer.Argument(help="A new or empty folder.")]) -> None:
    """Write a consistent backup while the portal runs. It holds no keys: store the key ring separately."""
    from portal import opened_runtime
    from portal.operation.backup.make import make_backup
    from portal.operation.backup.manifest import BackupRefused

    with opened_runtime() as runtime:
        try:
            manifest = make_backup(runtime, folder)
        except BackupRefused as error:
            raise _refused(error) from None
    contents = manifest.contents
    console.print(f"{folder}: {sum(contents.rows.values())} rows, audit log up to event {contents.audit_number}.")
    if contents.key_ids:
        console.print(f"Restoring it needs the key ring with {', '.join(contents.key_ids)}.")


def restore(
    folder: Annotated[Path | None, typer.Argument(help="The backup's folder.")] = None,
    replace: Annotated[bool, typer.Option(help="Replace a database that is in use.")] = False,
    confirm: Annotated[str, typer.Option(help=f"`{WORD}`, instead of typing it when asked.")] = "",
    confirm_running: Annotated[
        bool, typer.Option("--confirm-running", help="The original is permanently off: let the restored portal run.")
    ] = False,
) -> None:
    """Verify a backup and put it in place. The restored portal does nothing by itself until someone confirms it."""
    from portal import opened_runtime
    from portal.copies import confirmation
    from portal.operation.backup.manifest import BackupRefused
    from portal.operation.backup.restore import check_backup
    from portal.operation.backup.restore import restore as put_in_place
    from portal.preflight import check_ground

    settings = Settings.from_environ()
    check_ground(settings)
    try:
        if confirm_running:
            with opened_runtime() as runtime:
                count = confirmation.confirm_running(runtime)
            if count is None:
                raise BackupRefused("This portal is not waiting for a confirmation.")
            console.print(f"Confirmed. {count} credentials are tried out before anything is renewed.")
        elif folder is None:
            raise BackupRefused("Name the backup's folder, or use --confirm-running.")
        else:
            manifest = check_backup(settings, folder)
            console.print(f"The backup is of {manifest.made_at} and whole.")
            question = f"Type {WORD} to put it in the place of the current database"
            if replace and (confirm or typer.prompt(question)) != WORD:
                raise BackupRefused("That is a different word. Nothing was changed.")
            done = put_in_place(settings, folder, replace=replace)
            console.print(f"Restored: {sum(manifest.contents.rows.values())} rows. Everyone has to sign in again.")
            if done.kept:
                console.print(f"The database before it is {done.kept}.")
            if done.kept_head_file:
                console.print(f"The audit log's head file before it is {done.kept_head_file}.")
            console.print(
                "Nothing runs in the background yet. Make sure that the portal it was made from is off, start this "
                "one, and confirm it on the page /restored or with `gatehouse restore --confirm-running`."
            )
    except BackupRefused as error:
        raise _refused(error) from None


def _refused(error: Exception) -> SystemExit:
    console.print(f"[red]Refused:[/red] {error}", markup=True)
    return SystemExit(EXIT_REFUSED)
