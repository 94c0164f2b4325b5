"""Copy and restore a database in every way an operator would; count which portals wait, and what GitLab is asked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from bench.figures import console
from bench.portal_setup import new_organization
from portal import CAPABILITIES, build_runtime
from portal.copies.confirmation import find_waiting
from portal.net import NetworkPolicy, OutboundClient, parse_address
from portal.operation.start import prepare
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.settings import Settings
from tests.support.copies import (
    ON_POSTGRESQL,
    ON_SQLITE,
    ON_VOLUMES,
    WITH_A_SERVER,
    Original,
    Way,
    fresh_volume,
    mounted,
    outside_of_containers,
)
from tests.support.paired import Paired, pair
from tests.support.postgresql import Cluster, running_cluster


@dataclass
class Case:
    """One portal with a pair, and the places it is copied to."""

    original: Original
    paired: Paired


def run() -> None:
    """Try every way on both databases and print one line for each."""
    with RunningSandbox(with_service_user=True) as sandbox:
        volumes = ON_VOLUMES if os.geteuid() == 0 else {}
        _measure("SQLite", {**ON_SQLITE, **volumes}, sandbox, None)
        with running_cluster() as cluster:
            _measure("PostgreSQL", {**ON_POSTGRESQL, **WITH_A_SERVER}, sandbox, cluster)


def _measure(title: str, ways: Mapping[str, Way], sandbox: RunningSandbox, cluster: Cluster | None) -> None:
    table = Table(title=title, title_justify="left")
    for heading in ("", "waits", "token requests of the copy", "original continues", "what was seen first"):
        table.add_column(heading)
    waiting = 0
    for name, way in ways.items():
        with _case(sandbox, cluster, on_volume=name in ON_VOLUMES) as case:
            row = _try(case, way)
        waiting += row[0] == "yes"
        table.add_row(name, *row)
    console.print(table)
    console.print(f"{title}: {len(ways)} ways, {waiting} wait")


def _try(case: Case, way: Way) -> list[str]:
    """Copy in one way, start the copy and have it renew its token; then the original, if it is there."""
    original, paired = case.original, case.paired
    with way(original) as settings:
        before = paired.token_requests
        with _opened(settings, paired) as copy:
            copy.make_due()
            refused = _code_of_refusal(copy)
            waiting = find_waiting(copy.runtime)
        asked = paired.token_requests - before
        goes_on = "moved" if not original.folder.exists() else "put back"
        if settings.data_dir != original.folder or settings.database_url != original.settings.database_url:
            shares_database = settings.resolved_database_url == original.settings.resolved_database_url
            goes_on = "shares the database" if shares_database else goes_on
            if original.folder.exists() and not shares_database:
                prepare(original.settings)
                original.refresh()
                goes_on = "yes" if paired.holds_the_last_pair() else "NO"
    is_waiting = waiting is not None and refused == "portal_restored"
    return ["yes" if is_waiting else "NO", str(asked), goes_on, waiting.seen[0] if waiting and waiting.seen else ""]


def _code_of_refusal(copy: Paired) -> str:
    try:
        return copy.refusal().card.code
    except AssertionError:
        return ""


@contextmanager
def _case(sandbox: RunningSandbox, cluster: Cluster | None, *, on_volume: bool) -> Iterator[Case]:
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        elsewhere = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        stack.enter_context(outside_of_containers(base, "a" * 32, "02:00:00:00:00:0a"))
        (base / "aside").mkdir()
        (base / "disk").mkdir()
        volume = fresh_volume(base / "volume.img") if on_volume else None
        if volume is not None:
            stack.enter_context(mounted(volume, base / "disk"))
        url = cluster.create_database() if cluster else ""
        settings = Settings(
            data_dir=base / "disk" / "var", key_file=base / "keys.json", allow_http=True, database_url=url
        )
        prepare(settings)
        runtime = _runtime_of(settings, sandbox)
        paired = pair(runtime, sandbox, new_organization(runtime))

        def refresh() -> None:
            paired.make_due()
            paired.demand()
            runtime.database.close()

        refresh()
        yield Case(Original(settings, base / "aside", elsewhere, refresh, cluster, volume), paired)
        runtime.database.close()


@contextmanager
def _opened(settings: Settings, paired: Paired) -> Iterator[Paired]:
    prepare(settings)
    runtime = _runtime_of(settings, paired.sandbox)
    yield Paired(runtime, paired.sandbox, paired.connection_id, paired.application_id)
    runtime.database.close()


def _runtime_of(settings: Settings, sandbox: RunningSandbox) -> Runtime:
    built = build_runtime(settings)
    exempt = parse_address(sandbox.url, allow_http=True)
    return Runtime(
        built.settings, built.database, built.vault, OutboundClient(NetworkPolicy(exempt=exempt)), CAPABILITIES
    )
