"""Reads of lists that are cut, doubled, reversed or wrong in a field: what is lost, marked as gone or not named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.table import Table
from sqlmodel import delete, select

from bench.figures import console
from bench.portal_setup import authorized_connection, fresh_runtime
from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.models import CatalogueRun, GitLabGroup, Repository
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.odd_lists import GROUP_FIELDS, GROUPS, PROJECT_FIELDS, PROJECTS, odd_orders, wrong_fields

# Ours, or only requested where it matters.
NOT_COMPARED = {"id", "digest", "access_level"}
ROWS_AT_ONCE = 7


@dataclass
class Count:
    """The outcome of one kind of case; all but the first two should be 0."""

    reads: int = 0
    named: int = 0
    lost: int = 0
    marked: int = 0
    changed: int = 0
    silent: int = 0


class Reader:
    """A connection, and what is known after one good read."""

    def __init__(self, runtime: Runtime, sandbox: RunningSandbox) -> None:
        self.runtime, self.sandbox = runtime, sandbox
        self.connection_id = authorized_connection(runtime, sandbox.url, sandbox.token("gatehouse"))
        self.read()
        self.repositories, self.groups = self.stored()

    def read(self) -> CatalogueRun:
        return read_catalogue(self.runtime, self.connection_id, "bench", lambda *_: None)

    def stored(self) -> tuple[dict[int, dict[str, Any]], dict[int, tuple[str, str]]]:
        with self.runtime.database.reading() as session:
            rows = {
                row.gitlab_project_id: row.model_dump(exclude=NOT_COMPARED) for row in session.exec(select(Repository))
            }
            groups = {row.gitlab_group_id: (row.name, row.full_path) for row in session.exec(select(GitLabGroup))}
        return rows, groups

    def forget(self) -> None:
        with self.runtime.database.transaction() as session:
            session.exec(delete(Repository))
            session.exec(delete(GitLabGroup))

    def judge(self, count: Count, path: str, field: str = "", **fault: Any) -> None:
        """Read once with a fault, and count what changed."""
        self.sandbox.faults.clear()
        self.sandbox.faults.add(path, **fault)
        run = self.read()
        rows, groups = self.stored()
        is_named = any(item["list"] == path.rpartition("/")[2] and item["field"] == field for item in run.defects)
        count.reads += 1
        count.named += is_named
        count.silent += bool(field) and not is_named
        count.lost += len(self.repositories.keys() - rows.keys()) + len(self.groups.keys() - groups.keys())
        count.marked += sum(row["missing_since"] is not None for row in rows.values())
        count.changed += sum(row != self.repositories.get(number) for number, row in rows.items())
        count.changed += sum(group != self.groups.get(number) for number, group in groups.items())


def run(projects: int) -> None:
    """Try every combination, and print the outcome."""
    table = Table(title=f"Odd lists of {projects:,} projects and their groups", title_justify="left")
    for heading in ("", "reads", "defects named", "lost", "marked as gone", "changed", "not named"):
        table.add_column(heading, justify="right" if heading else "left")
    with (
        RunningSandbox(project_count=projects, with_service_user=True) as sandbox,
        fresh_runtime(sandbox.url) as runtime,
    ):
        reader = Reader(runtime, sandbox)
        for name, count in (("cut, doubled, in another order", _orders(reader)), *_fields(reader)):
            table.add_row(name, *(f"{value:,}" for value in vars(count).values()))
    console.print(table)


def _orders(reader: Reader) -> Count:
    count = Count()
    for path in (PROJECTS, GROUPS):
        for fault in odd_orders(sizes=(3, 7, 20, 50, 99)):
            reader.forget()
            reader.judge(count, path, **fault)
    reader.forget()
    reader.sandbox.faults.clear()
    reader.read()
    return count


def _fields(reader: Reader) -> list[tuple[str, Count]]:
    counts = {name: Count() for name in ("one row's field", "a field of some rows", "a field of every row")}
    for path, fields, ids in (
        (PROJECTS, PROJECT_FIELDS, sorted(reader.repositories)),
        (GROUPS, GROUP_FIELDS, sorted(reader.groups)),
    ):
        for place, (field, value) in enumerate(wrong_fields(fields)):
            some = [ids[(place + step * len(ids) // ROWS_AT_ONCE) % len(ids)] for step in range(ROWS_AT_ONCE)]
            for count, rows in zip(counts.values(), (some[:1], some, []), strict=True):
                reader.judge(count, path, field, set_members={field: value}, only_rows=tuple(rows))
    return list(counts.items())
