"""Generated requests of people who may not see all repositories: how many answers name one that they may not see."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table

from bench.figures import console
from portal import build_runtime, create_app
from portal.operation.start import bring_up_to_date
from portal.sandbox.testing import RunningSandbox
from portal.settings import Settings
from portal.vault import KeyRing
from tests.support.foreign_requests import ForeignRequests
from tests.support.people import make_cast


def run(requests: int, seed: int = 1) -> None:
    """Ask and print."""
    with TemporaryDirectory() as folder, RunningSandbox(with_service_user=True) as sandbox:
        settings = Settings(data_dir=Path(folder), allow_http=True, sandbox_origin=sandbox.url)
        KeyRing.create_file(settings.resolved_key_file)
        runtime = build_runtime(settings)
        bring_up_to_date(runtime.database)
        asking = ForeignRequests(create_app(settings), runtime, sandbox, make_cast(runtime))
        found = asking.ask(requests, seed)
        runtime.database.close()
    table = Table(title=f"{requests:,} requests of two leads, an auditor and a stranger", title_justify="left")
    for heading in ("foreign paths", "own paths", "5xx"):
        table.add_column(heading, justify="right")
    table.add_row(f"{len(found.foreign):,}", f"{found.own:,}", f"{len(found.failed):,}")
    console.print(table)
    console.print(", ".join(f"{status}: {count:,}" for status, count in sorted(found.statuses.items())))
    for line in [*found.foreign[:20], *found.failed[:20]]:
        console.print(line)
