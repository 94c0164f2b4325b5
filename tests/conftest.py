"""What the tests of all folders share: a migrated database, a runtime, an application, a sandbox and a small cast."""

from __future__ import annotations

import os
import shutil
from collections import OrderedDict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import httpx2
import pytest
from argon2 import PasswordHasher
from flask import Flask
from hypothesis import HealthCheck
from hypothesis import settings as generated
from playwright.sync_api import Browser, sync_playwright
from werkzeug.routing import Rule

from portal import CAPABILITIES, create_app, redaction
from portal.accounts import passwords
from portal.db import Database
from portal.net import NetworkPolicy, OutboundClient, RequestBudgets, parse_address
from portal.operation.start import bring_up_to_date
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.settings import Settings
from portal.vault import KeyRing, Vault
from tests.support.paired import Paired, pair
from tests.support.people import Cast, make_cast
from tests.support.postgresql import Cluster, running_cluster
from tests.support.quick import keep_builders, keep_environments, keep_parts, share_statements
from tests.support.reuse import Reused
from tests.support.visitor import Visitor

BASE_URL = "http://127.0.0.1:8000"
# Files whose tests start real processes.
LONG = {"test_engine.py", "test_start.py"}
# That this machine stood still for a moment says nothing about what is tested.
generated.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
generated.load_profile("any machine")

MEMORY = Path("/dev/shm")
MEMORY_BYTES = 2 * 1024**3


def pytest_configure() -> None:
    """Keep temporary files in memory if there is room: otherwise every commit waits for the disk."""
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the long tests first: at the end of a run the short ones fill every core.

    Tests with an engine in this process come before those with a browser, whose event loop stays to the end.
    """
    items.sort(key=lambda item: 0 if item.path.name in LONG else 1 if item.get_closest_marker("browser") else 2)


@pytest.fixture(scope="session", autouse=True)
def quick_applications() -> Iterator[None]:
    """Have every application of this process share its templates, compiled routes and compiled statements."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Flask, "create_jinja_environment", keep_environments(Flask.create_jinja_environment))
        patch.setattr(Rule, "_compile_builder", keep_builders(Rule._compile_builder))
        patch.setattr(Rule, "_parse_rule", keep_parts(Rule._parse_rule))
        share_statements(patch)
        # Reading the system's authorities takes longer than most requests, which are over plain HTTP.
        patch.setattr("httpx2._transports.default.create_ssl_context", cache(httpx2.create_ssl_context))
        yield


@pytest.fixture(scope="session", autouse=True)
def real_hasher() -> Iterator[PasswordHasher]:
    """Make hashing test passwords cheap; yields the portal's own hasher, which is slow on purpose."""
    real = passwords._hasher
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield real


@pytest.fixture
def no_known_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clear the secrets that other tests held, so that the process is like a new one."""
    for name, empty in {"_values": OrderedDict(), "_pieces": {}, "_blank_pieces": set()}.items():
        monkeypatch.setattr(redaction, name, empty)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A private PostgreSQL cluster, started when the first test asks for it."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database at the newest schema; tests copy it, which is faster than migrating again."""
    path = tmp_path_factory.mktemp("template") / "gatehouse.db"
    database = Database(f"sqlite:///{path}")
    bring_up_to_date(database)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path


@pytest.fixture(scope="session")
def ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    """One key ring for all tests of a process."""
    return KeyRing.create_file(tmp_path_factory.mktemp("keys") / "keys.json")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The distribution's Chromium, one per process: Playwright cannot be started twice in one."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    """A simulated GitLab for this test alone."""
    with RunningSandbox(with_service_user=True) as running:
        yield running


@pytest.fixture(scope="session")
def migrated_postgresql(cluster: Cluster) -> str:
    """A PostgreSQL database at the newest schema; the server copies it for tests."""
    url = cluster.create_database()
    database = Database(Settings(database_url=url).resolved_database_url)
    bring_up_to_date(database)
    database.close()
    return url


@pytest.fixture(scope="session")
def reused(cluster: Cluster, migrated_postgresql: str) -> Reused:
    """The PostgreSQL database of this process's tests."""
    return Reused(cluster, migrated_postgresql)


@pytest.fixture
def backend() -> str:
    """Which database: `sqlite`, or `postgresql` where a folder's conftest runs its tests on both."""
    return "sqlite"


@pytest.fixture
def settings(tmp_path: Path, backend: str, request: pytest.FixtureRequest) -> Iterator[Settings]:
    """Settings of a portal; a folder's conftest may give others."""
    if backend == "sqlite":
        yield Settings(base_url=BASE_URL, data_dir=tmp_path / "var", allow_http=True)
        return
    reused: Reused = request.getfixturevalue("reused")
    yield Settings(base_url=BASE_URL, data_dir=tmp_path / "var", allow_http=True, database_url=reused.take())
    reused.give_back()


@pytest.fixture
def database(settings: Settings, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A migrated, empty database."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    if not settings.database_url:
        shutil.copy(request.getfixturevalue("migrated_file"), settings.data_dir / "gatehouse.db")
    database = Database(settings.resolved_database_url)
    yield database
    database.close()


@pytest.fixture
def runtime(settings: Settings, database: Database, ring: KeyRing, request: pytest.FixtureRequest) -> Runtime:
    """A runtime that may reach one loopback origin: the test's sandbox, if it has one."""
    exempt = request.getfixturevalue("sandbox").url if "sandbox" in request.fixturenames else None
    policy = NetworkPolicy(
        ports=settings.outbound_ports,
        exempt=parse_address(exempt, allow_http=True) if exempt else None,
        own_origin=settings.base_url,
    )
    return Runtime(
        settings=settings,
        database=database,
        vault=Vault(ring),
        outbound=OutboundClient(policy, budgets=RequestBudgets(database)),
        capabilities=CAPABILITIES,
    )


@pytest.fixture
def app(runtime: Runtime) -> Flask:
    """The whole application."""
    app = create_app(runtime=runtime)
    app.testing = True
    app.config["PROPAGATE_EXCEPTIONS"] = False
    return app


@pytest.fixture
def cast(runtime: Runtime) -> Cast:
    """An owner, an administrator, a team lead, an auditor, and an outsider of another organization."""
    return make_cast(runtime)


@pytest.fixture
def paired(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> Paired:
    """A connection of the cast's organization with a real token pair from the sandbox."""
    return pair(runtime, sandbox, cast.owner.organization_id)


@pytest.fixture
def visitor(app: Flask) -> Visitor:
    """Someone who is not signed in."""
    return Visitor(app)


@pytest.fixture
def owner(app: Flask, cast: Cast) -> Visitor:
    """The owner, signed in."""
    return Visitor(app).sign_in(cast.owner)


@pytest.fixture
def administrator(app: Flask, cast: Cast) -> Visitor:
    """The administrator, signed in."""
    return Visitor(app).sign_in(cast.administrator)


@pytest.fixture
def lead(app: Flask, cast: Cast) -> Visitor:
    """The team lead, signed in."""
    return Visitor(app).sign_in(cast.lead)


@pytest.fixture
def auditor(app: Flask, cast: Cast) -> Visitor:
    """The auditor, signed in."""
    return Visitor(app).sign_in(cast.auditor)


@pytest.fixture
def outsider(app: Flask, cast: Cast) -> Visitor:
    """The owner of another organization, signed in."""
    return Visitor(app).sign_in(cast.outsider)
