"""What every folder's tests share: a migrated database, a runtime, an application, a sandbox and a small cast."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.templating import Environment
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from playwright.sync_api import Browser, sync_playwright

from portal import create_app
from portal.accounts import passwords
from portal.db import Database
from portal.net import Door, NetworkPolicy, parse_address
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.settings import Settings
from portal.start import bring_up_to_date
from portal.vault import KeyRing, Vault
from tests.support.paired import Paired, pair
from tests.support.people import Cast, make_cast
from tests.support.postgresql import Cluster, running_cluster
from tests.support.visitor import Visitor

BASE_URL = "http://127.0.0.1:8000"
# Files whose tests start real processes.
LONG = {"test_engine.py", "test_start.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the long tests first: at the end of a run the short ones fill every core.

    Those with an engine in this process come before those with a browser, whose event loop stays to the end.
    """
    items.sort(key=lambda item: 0 if item.path.name in LONG else 1 if item.get_closest_marker("browser") else 2)


class KeptTemplates(BytecodeCache):
    """Templates stay compiled from one application to the next."""

    def __init__(self) -> None:
        self._codes: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Take what was compiled before; a template that changed has another checksum and is refused."""
        if code := self._codes.get(bucket.key):
            bucket.bytecode_from_string(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep it."""
        self._codes[bucket.key] = bucket.bytecode_to_string()


_templates = KeptTemplates()


class QuickEnvironment(Environment):
    """Each test has an application of its own; compiling its templates anew would take longer than most tests."""

    def __init__(self, app: Flask, **options: Any) -> None:
        super().__init__(app, **{"bytecode_cache": _templates, **options})


@pytest.fixture(scope="session", autouse=True)
def quick_templates() -> Iterator[None]:
    """Have every application of this process share its compiled templates."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Flask, "jinja_environment", QuickEnvironment)
        yield


@pytest.fixture(scope="session", autouse=True)
def real_hasher() -> Iterator[PasswordHasher]:
    """Let passwords of tests cost little; yields the portal's own hasher, which is slow on purpose."""
    real = passwords._hasher
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield real


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
    """A simulated GitLab of its own for the test."""
    with RunningSandbox(with_service_user=True) as running:
        yield running


@pytest.fixture(scope="session")
def migrated_postgresql(cluster: Cluster) -> str:
    """A PostgreSQL database at the newest schema; tests have it copied by the server."""
    url = cluster.create_database()
    database = Database(Settings(database_url=url).resolved_database_url)
    bring_up_to_date(database)
    database.close()
    return url


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
    cluster: Cluster = request.getfixturevalue("cluster")
    url = cluster.create_database(template=request.getfixturevalue("migrated_postgresql"))
    yield Settings(base_url=BASE_URL, data_dir=tmp_path / "var", allow_http=True, database_url=url)
    cluster.drop_database(url)


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
    """A runtime whose door lets one loopback origin through: the test's sandbox, when it has one."""
    exempt = request.getfixturevalue("sandbox").url if "sandbox" in request.fixturenames else None
    policy = NetworkPolicy(
        ports=settings.outbound_ports,
        exempt=parse_address(exempt, allow_http=True) if exempt else None,
        own_origin=settings.base_url,
    )
    return Runtime(settings=settings, database=database, vault=Vault(ring), door=Door(policy))


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
    """A connection of the cast's organization with a real pair of the sandbox."""
    return pair(runtime, sandbox, cast.owner.organization_id)


@pytest.fixture
def visitor(app: Flask) -> Visitor:
    """Somebody who is not signed in."""
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
