"""What hangs on the capability objects is complete, and a new capability is one package and one line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from sqlalchemy import delete, func, select, text
from sqlmodel import SQLModel

from portal import CAPABILITIES, NAMES
from portal.db import Database
from tests.support.schemas import fill

ROOT = Path(__file__).parent.parent
OBJECT = """from portal.capability import Capability, PeriodicJob


def tick(context):
    pass


CAPABILITY = Capability(
    name="novelty",
    views="portal.novelty.views",
    jobs=(PeriodicJob("novelty.tick", tick, "Tick", 60),),
    actions={"novelty.done": "did {object}"},
)
"""
VIEWS = """from portal.web.access import public


def register(app, runtime):
    app.add_url_rule("/novelty", "novelty", public(lambda: "here"))
"""
PROGRAM = """from portal import build_runtime, create_app
from portal.settings import Settings
from portal.vault import KeyRing

settings = Settings(data_dir="{folder}")
KeyRing.create_file(settings.resolved_key_file)
runtime = build_runtime(settings)
page = create_app(runtime=runtime).test_client().get("/novelty", base_url=settings.base_url)
print(page.text, "novelty.tick" in runtime.capabilities.jobs, runtime.capabilities.actions["novelty.done"])
"""


def test_every_table_belongs_to_one_capability() -> None:
    owners = Counter(table.__tablename__ for capability in CAPABILITIES.all for table in capability.tables)

    assert owners == dict.fromkeys(SQLModel.metadata.tables, 1)


def test_every_table_of_a_connection_is_emptied_by_some_capability(database: Database) -> None:
    of_connection = set()
    for table in SQLModel.metadata.sorted_tables:
        parents = {key.column.table.name for key in table.foreign_keys}
        if "connection_id" in table.columns or parents & of_connection:
            of_connection.add(table.name)
    fill(database)

    with database.transaction() as session:
        for capability in CAPABILITIES.all[::-1]:
            for large in capability.erases_in_batches:
                session.execute(delete(large).where(text("connection_id = 1")))
            if capability.erases:
                capability.erases(session, 1)
        counts = {
            table.name: session.execute(select(func.count()).select_from(table)).scalar_one()
            for table in SQLModel.metadata.sorted_tables
        }

        assert session.execute(text("SELECT connection_id, state FROM site")).all() == [(None, "local")]

    # The files of a site are the organization's own: it is only detached.
    assert {name for name, count in counts.items() if count == 0} == of_connection - {"site", "site_conflict"}


def test_capability_is_named_as_its_package() -> None:
    assert tuple(capability.name for capability in CAPABILITIES.all) == NAMES


def test_new_capability_is_one_package_and_one_line(tmp_path: Path) -> None:
    tree, folder = tmp_path / "tree", tmp_path / "var"
    folder.mkdir(mode=0o700)
    shutil.copytree(ROOT / "portal", tree / "portal", ignore=shutil.ignore_patterns("sandbox", "__pycache__"))
    for name in ("templates", "static"):
        (tree / name).symlink_to(ROOT / name)
    package = tree / "portal" / "novelty"
    package.mkdir()
    for name, content in {"__init__.py": "", "capability.py": OBJECT, "views.py": VIEWS}.items():
        (package / name).write_text(content)
    top = tree / "portal" / "__init__.py"
    top.write_text(top.read_text().replace('    "health",\n', '    "health",\n    "novelty",\n'))

    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(folder=folder)], cwd=tree, capture_output=True, text=True, check=False
    )

    assert (ran.stdout, ran.returncode) == ("here True did {object}\n", 0), ran.stderr
