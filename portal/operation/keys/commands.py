"""`gatehouse keys`: see, rotate and drop the keys that secrets are sealed with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from portal.errors import PortalError

if TYPE_CHECKING:
    from portal.runtime import Runtime

EXIT_REFUSED = 2
EXIT_UNFINISHED = 1

app = typer.Typer(no_args_is_help=True, help="The keys that stored secrets are sealed with.")
console = Console(highlight=False, soft_wrap=True)


@app.command()
def status() -> None:
    """Show every key and how many secrets it seals, by table."""
    from portal.operation.keys.manage import list_keys

    with _runtime() as runtime:
        uses = list_keys(runtime)
    table = Table("key", "made", "", "secrets", "where")
    for use in uses:
        word = "seals" if use.is_newest else "opens" if use.is_known else "[red]missing[/red]"
        where = ", ".join(f"{name} {count}" for name, count in use.uses.items())
        table.add_row(use.key_id or "damaged", use.created_at, word, str(use.total), where)
    console.print(table)


@app.command()
def rotate(
    new: Annotated[
        bool, typer.Option(help="Add another key even if something is still sealed with an older one.")
    ] = False,
) -> None:
    """Add a key and seal every secret again with it, while the portal runs. Run it again after an interruption."""
    from portal.operation.keys import manage
    from portal.vault.keyring import is_in_environment

    with _runtime() as runtime, console.status("Sealing …") as line:
        if is_in_environment():
            console.print("The key ring comes from the environment: its first key seals, and no key is added here.")
        rotation = manage.rotate(runtime, lambda resealed: line.update(f"Sealed again: {resealed.done}"), force_new=new)
    which = f"{'New key' if rotation.is_new else 'Key'} {rotation.key_id}"
    figures = f"{rotation.resealed.done} secrets sealed again, {len(rotation.resealed.unreadable)} unreadable."
    console.print(f"{which}: {figures}")
    for place in sorted(rotation.resealed.unreadable, key=str):
        console.print(f"[red]Unreadable, left as it is:[/red] {place.table}.{place.column} of row {place.row_id}")
    if rotation.resealed.left:
        console.print("A process still seals with an older key: restart it, then run this again.")
        raise SystemExit(EXIT_UNFINISHED)


@app.command()
def drop(
    key_id: Annotated[str, typer.Argument(help="The key's id, from `gatehouse keys status`.")],
    confirm: Annotated[str, typer.Option(help="The key's id again, instead of typing it when asked.")] = "",
) -> None:
    """Remove a key that no longer seals anything from the ring. Backups made with it become unreadable."""
    from portal.operation.keys import manage

    with _runtime() as runtime:
        manage.check_drop(runtime, key_id)
        console.print(f"Secrets in backups made while {key_id} sealed can never be read again without it.")
        typed = confirm or typer.prompt("Type the key's id to drop it")
        if typed.strip() != key_id:
            console.print("That is not the key's id. Nothing was changed.")
            raise SystemExit(EXIT_REFUSED)
        manage.drop(runtime, key_id)
    console.print(f"Dropped {key_id}.")


@app.command()
def add(file: Annotated[Path, typer.Argument(help="A key file of this portal, such as a kept copy.")]) -> None:
    """Put lost keys back: what they seal can be read again. New secrets are sealed as before."""
    from portal.operation.keys import manage

    with _runtime() as runtime:
        added = manage.add_keys(runtime, file)
    console.print(f"Added {', '.join(added)}." if added else "The key ring already has all of these keys.")


@contextmanager
def _runtime() -> Iterator[Runtime]:
    from portal import opened_runtime

    with opened_runtime() as runtime:
        try:
            yield runtime
        except PortalError as error:
            console.print(error.sentence)
            raise SystemExit(EXIT_REFUSED) from None
