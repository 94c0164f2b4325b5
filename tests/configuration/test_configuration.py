"""Configuration as a file: what is exported, what a plan says, and what applying it does, on both databases."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, select
from sqlmodel import Session, col
from typer.testing import CliRunner, Result

from portal import CAPABILITIES
from portal.actor import COMMAND_LINE, Principal
from portal.configuration.export import export
from portal.configuration.plan import make_plan
from portal.connections.instance import Entered, save_instance
from portal.connections.models import Application, Connection, GitLabServer
from portal.db import Database, utc_now
from portal.operation.cli import app
from portal.repositories.enablement import set_enabled
from portal.repositories.grants import grant_group
from portal.repositories.models import Enablement, GitLabGroup, HeldBack, Repository, SelectionRule
from portal.runtime import Runtime
from portal.vault import KeyRing
from tests.audit.conftest import events_of
from tests.repositories.test_grants import add_groups, grants_of
from tests.support.people import Cast, make_cast
from tests.support.walkthrough import principal_of

SECRET = "gloas-0123456789abcdef0123456789abcdef"
Run = Callable[..., Result]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def console(runtime: Runtime, cast: Cast) -> Principal:
    """A portal with one connection that uses everything the file can say, and whose rights the commands use."""
    owner = principal_of(runtime, cast.owner)
    connection_id = add_groups(runtime, cast.owner.organization_id, "gitlab", "data", "database", "web", "web/shop")
    entered = Entered("https://gitlab.example.com", proxy="proxy.example.com:3128", proxy_exceptions="10.0.0.0/8")
    save_instance(runtime, owner, "gitlab", entered)
    with runtime.database.transaction() as session:
        connection = session.get_one(Connection, connection_id)
        connection.last_read_at, connection.service_username = utc_now(), "gatehouse"
        sealed = SECRET.encode()
        application = Application(connection_id=connection_id, client_id="a" * 64, client_secret_sealed=sealed)
        rules = [("exclude", "web/**", ""), ("enable", "data*/**", "private")]
        session.add(application)
        session.add_all(
            SelectionRule(connection_id=connection_id, position=place, action=action, pattern=pattern, visibility=seen)
            for place, (action, pattern, seen) in enumerate(rules, 1)
        )
        groups = {group.full_path: group.id for group in session.execute(select(GitLabGroup)).scalars()}
        ids = {row.path_with_namespace: row.id for row in session.execute(select(Repository)).scalars()}
    grant_group(runtime, owner, cast.lead.membership_id, groups["data"])
    set_enabled(runtime, owner, [ids["data/repo"], ids["web/repo"]], enabled=True)
    set_enabled(runtime, owner, [ids["web/shop/repo"]], enabled=False)
    return replace(owner, acted_by=COMMAND_LINE)


@pytest.fixture
def run(runtime: Runtime, ring: KeyRing, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("GATEHOUSE_KEYS", ring.to_text())
    monkeypatch.setenv("GATEHOUSE_DATA_DIR", str(runtime.settings.data_dir))
    monkeypatch.setenv("GATEHOUSE_DATABASE_URL", runtime.settings.database_url)
    return lambda *arguments, typed="": CliRunner().invoke(app, [str(word) for word in arguments], input=typed)


def rows_of(database: Database) -> dict[str, list[Any]]:
    tables = MetaData()
    tables.reflect(database.engine)
    with Session(database.engine) as session:
        return {
            name: sorted(map(repr, session.execute(table.select()).all()))
            for name, table in tables.tables.items()
            if not name.startswith("sqlite_")
        }


def all_enabled(runtime: Runtime) -> list[str]:
    with runtime.database.reading() as session:
        statement = select(col(Repository.path_with_namespace)).join(
            Enablement, col(Enablement.repository_id) == col(Repository.id)
        )
        return sorted(session.execute(statement).scalars())


def test_export_has_no_secret_and_is_a_plan_without_changes(
    runtime: Runtime, console: Principal, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "gatehouse.toml"
    before = rows_of(runtime.database)

    written, printed, planned = run("export", file), run("export"), run("plan", file)

    text = file.read_text()
    assert (written.exit_code, printed.stdout) == (0, text)
    assert (planned.exit_code, planned.stdout) == (0, "No changes.\n")
    assert rows_of(runtime.database) == before
    assert SECRET not in text
    assert "secret: kept in Gatehouse" in text
    [connection] = tomllib.loads(text)["connection"]
    assert connection["proxy_exceptions"] == "10.0.0.0/8"
    assert [rule["path"] for rule in connection["rules"]] == ["web/**", "data*/**"]
    assert connection["grants"] == [{"lead": "lea@example.com", "id": 100, "path": "data"}]
    assert connection["enabled"] == [{"id": 100, "path": "data/repo"}, {"id": 102, "path": "web/repo"}]
    assert connection["disabled"] == [{"id": 103, "path": "web/shop/repo"}]


def test_services_of_a_repository_are_exported_planned_and_applied(
    runtime: Runtime, console: Principal, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "gatehouse.toml"
    entry = '{ id = 100, path = "data/repo" }'
    narrowed = '{ id = 100, path = "data/repo", services = ["repositories"] }'
    text = export(runtime, console)
    assert entry in text

    file.write_text(text.replace(entry, narrowed))
    planned, applied = run("plan", file), run("apply", file, typed="apply\n")
    assert "~ gitlab: services of data/repo: " in planned.stdout
    assert planned.stdout.splitlines()[0].endswith(" → repositories")
    assert applied.exit_code == 0
    assert narrowed in export(runtime, console)
    assert run("plan", file).stdout == "No changes.\n"
    # What the file does not say stays as it is.
    file.write_text(text)
    assert run("plan", file).stdout == "No changes.\n"
    for wrong, sentence in (
        ("[]", "Write at least one of"),
        ('["nonsense"]', "Write at least one of"),
        ('"x"', "must be a list"),
    ):
        file.write_text(text.replace(entry, narrowed.replace('["repositories"]', wrong)))
        refused = run("plan", file)
        assert refused.exit_code == 1
        assert sentence in refused.output
    file.write_text(
        text.replace(entry, narrowed.replace("repositories", "issues")).replace(', "issues"]\nwebhooks', "]\nwebhooks")
    )
    assert "The connection is not used for all of these." in run("plan", file).output


def test_plan_changes_nothing_and_apply_does_what_it_said_in_the_name_of_the_command_line(
    runtime: Runtime, console: Principal, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "gatehouse.toml"
    text = export(runtime, console)
    text = text.replace('name = "Gitlab"', 'name = "Acme"').replace("webhooks = false", "webhooks = true")
    text = text.replace('path = "web/**" },\n', 'path = "old/**" },\n').replace("gitlab.example.com", "git.example.com")
    text = text.replace('service_user = "gatehouse"', 'service_user = "robot"')
    text = text.replace('{ lead = "lea@example.com", id = 100, path', '{ lead = "lea@example.com", id = 102, path')
    # The id says which repository is meant, whatever its path was.
    text = text.replace('{ id = 102, path = "web/repo" }', '{ id = 101, path = "former/name" }')
    file.write_text(text + 'exclusive = ["grants", "enabled"]\n')
    before = rows_of(runtime.database)

    planned = run("plan", file)
    as_json = json.loads(run("plan", file, "--json").stdout)

    assert planned.exit_code == 2
    assert rows_of(runtime.database) == before
    assert planned.stdout.startswith("- gitlab: ")
    for line in (
        "- gitlab: grant data from lea@example.com",
        "- gitlab: enabled repository web/repo",
        "+ gitlab: enabled repository database/repo",
        "+ gitlab: grant web to lea@example.com",
        "~ gitlab: name: Gitlab → Acme",
        "~ gitlab: address: url https://gitlab.example.com → url https://git.example.com",
        "~ gitlab: service user: gatehouse → robot",
    ):
        assert line in planned.stdout.splitlines()
    assert f"Plan {as_json['id']}: {len(as_json['changes'])} changes." in planned.stdout

    assert run("apply", file, "--plan", "0").exit_code == 1
    refused = run("apply", file, typed="no\n")
    assert (refused.exit_code, rows_of(runtime.database)) == (1, before)

    applied = run("apply", file, "--plan", as_json["id"], typed="apply\n")

    assert (applied.exit_code, applied.stdout.splitlines()[-1]) == (0, f"{len(as_json['changes'])} changes made.")
    assert all_enabled(runtime) == ["data/repo", "database/repo"]
    assert [grant.gitlab_group_id for grant in grants_of(runtime)] == [102]
    new = [event for event in events_of(runtime) if event.actor_id == COMMAND_LINE.id]
    assert {event.action for event in new} >= {
        *("connection.renamed", "connection.instance_changed", "connection.service_user_changed", "rules.saved"),
        *("member.group_granted", "member.group_revoked", "repository.enabled", "repository.disabled"),
    }
    after = rows_of(runtime.database)
    assert run("apply", file, "--yes").stdout == "No changes.\n"
    assert rows_of(runtime.database) == after


def test_interrupted_after_any_change_a_second_apply_ends_the_work(
    runtime: Runtime, console: Principal, cast: Cast
) -> None:
    text = 'version = 1\n[[connection]]\nslug = "second"\nname = "Second"\nservice_user = "robot"\n'
    text += 'url = "https://second.example.com"\nrules = [{ action = "enable", path = "**" }]\n'
    text += '[[connection]]\nslug = "gitlab"\nname = "First"\nexclusive = ["enabled"]\n'
    text += 'enabled = [{ path = "database/repo" }]\n'
    counts = []
    while (plan := make_plan(runtime, console, text)).steps:
        counts.append(len(plan.steps))
        # Only the first step is made: what is left of the iterator is thrown away, as by a kill.
        plan.steps[0].make()

    assert counts == list(range(counts[0], 0, -1))
    assert counts[0] == 7
    assert all_enabled(runtime) == ["database/repo"]
    created = [event for event in events_of(runtime) if event.action == "connection.created"]
    assert [event.object_name for event in created] == ["Second"]


def test_every_error_of_a_file_is_told_with_its_line_and_nothing_is_changed(
    runtime: Runtime, console: Principal, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "gatehouse.toml"
    file.write_text(
        """version = 1
[[connection]]
slug = "gitlab"
colour = "red"
webhooks = "yes"
rules = [
  { action = "enable", path = "a b" },
  { action = "allow", path = "web/**", active_months = 5 },
]
services = ["wiki"]
enabled = [
  { id = -1 },
  "web/repo",
]
exclusive = ["grants"]
[[connection]]
slug = "gitlab"
"""
    )
    before = rows_of(runtime.database)

    answer = run("apply", file, "--yes")

    assert answer.exit_code == 1
    assert sorted(line.partition(": ")[0] for line in answer.stderr.splitlines()) == [
        "line 10, connection 1 services",
        "line 11, connection 1 enabled 2",
        "line 12, connection 1 enabled 1 id",
        "line 15, connection 1 exclusive",
        "line 17, connection 2 slug",
        "line 4, connection 1 colour",
        "line 5, connection 1 webhooks",
        "line 7, connection 1 rules 1 path",
        "line 8, connection 1 rules 2 action",
        "line 8, connection 1 rules 2 active_months",
    ]
    assert rows_of(runtime.database) == before

    file.write_text("version = 1\nname = \n")
    assert "line 2, file: This is not valid TOML" in run("plan", file).stderr
    file.write_text(
        """version = 1
[[connection]]
slug = "gitlab"
url = "ftp://x"
service_user = "a b"
grants = [
  { lead = "no@example.com", path = "data" },
  { lead = "ada@example.com", path = "data" },
  { lead = "lea@example.com", id = 999, path = "data" },
]
enabled = [
  { path = "no/such" },
  { id = 100 },
  { path = "data/repo" },
]
[[connection]]
slug = "other"
name = "GITLAB"
"""
    )
    lines = [line.split(",")[0] for line in run("plan", file).stderr.splitlines()]
    assert sorted(lines) == sorted(f"line {line}" for line in (4, 5, 7, 8, 9, 12, 14, 18))
    assert rows_of(runtime.database) == before


def test_portal_built_from_an_export_waits_only_for_what_cannot_travel(
    runtime: Runtime, console: Principal, migrated_file: Path, tmp_path: Path
) -> None:
    text = export(runtime, console)
    folder = tmp_path / "second"
    folder.mkdir()
    shutil.copy(migrated_file, folder / "gatehouse.db")
    second = replace(runtime, database=Database(f"sqlite:///{folder / 'gatehouse.db'}"), capabilities=CAPABILITIES)
    second.database.session_info.update(runtime.database.session_info)
    owner = replace(principal_of(second, make_cast(second).owner), acted_by=COMMAND_LINE)

    made = list(make_plan(second, owner, text).apply())

    assert [change.what for change in made] == ["connection", "address", "service user", "rules"]
    plan = make_plan(second, owner, text)
    assert plan.steps == []
    assert [wait.rpartition(": ")[0] for wait in plan.waits] == [
        "gitlab: grant data to lea@example.com",
        "gitlab: enable data/repo",
        "gitlab: enable web/repo",
        "gitlab: disable web/shop/repo",
    ]
    [old], [new] = (tomllib.loads(one)["connection"] for one in (text, export(second, owner)))
    assert {key: value for key, value in old.items() if key not in {"grants", "enabled", "disabled"}} == new
    with second.database.reading() as session:
        connection = session.execute(select(Connection)).scalar_one()
        assert (connection.state, connection.slug) == ("Draft", "gitlab")
        assert session.execute(select(Application)).first() is None
        assert session.execute(select(HeldBack)).first() is None
        assert len(session.execute(select(GitLabServer)).all()) == 1
    second.database.close()


@pytest.mark.parametrize("both", [True, False])
def test_connections_that_share_a_gitlab_follow_together_only_if_the_file_says_so(
    runtime: Runtime, console: Principal, cast: Cast, *, both: bool
) -> None:
    add_groups(runtime, cast.owner.organization_id, "second", "data")
    save_instance(runtime, console, "second", Entered("https://gitlab.example.com"))
    old = export(runtime, console)
    text = old.replace("gitlab.example.com", "git.example.com", -1 if both else 1)

    assert len(list(make_plan(runtime, console, text).apply())) == (2 if both else 1)

    assert make_plan(runtime, console, text).steps == []
    assert export(runtime, console) == text
    with runtime.database.reading() as session:
        assert len(session.execute(select(GitLabServer)).all()) == (1 if both else 2)


def test_commands_need_someone_who_may_manage_connections(runtime: Runtime, run: Run) -> None:
    assert run("export").stderr == "The portal is not set up yet: open the setup link first.\n"

    make_cast(runtime)

    assert run("export", "--as", "lea@example.com").stderr == "lea@example.com may not manage connections here.\n"
    assert run("export", "--as", "Ada@example.com").exit_code == 0
