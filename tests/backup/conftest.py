"""A portal on either database with people, a connection and its own key file; and a place to restore to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from portal import CAPABILITIES
from portal.db import Database
from portal.net import NetworkPolicy, OutboundClient, parse_address
from portal.operation.start import prepare
from portal.runtime import Runtime
from portal.settings import Settings
from portal.vault import KeyRing, Vault
from portal.vault.keyring import KEYS_VARIABLE


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def backend(request: pytest.FixtureRequest) -> str:
    """SQLite and PostgreSQL in turn."""
    return str(request.param)


@pytest.fixture
def key_file(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its own key file: these tests change it."""
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    KeyRing.create_file(settings.resolved_key_file)
    return settings.resolved_key_file


@pytest.fixture
def runtime(settings: Settings, database: Database, key_file: Path, request: pytest.FixtureRequest) -> Runtime:
    """A portal that was started once."""
    prepare(settings)
    exempt = request.getfixturevalue("sandbox").url if "sandbox" in request.fixturenames else ""
    return runtime_of(settings, database, exempt)


def runtime_of(settings: Settings, database: Database, exempt: str = "") -> Runtime:
    """Return the runtime of a process with these settings; it may reach one sandbox."""
    path = settings.resolved_key_file
    policy = NetworkPolicy(exempt=parse_address(exempt, allow_http=True) if exempt else None)
    return Runtime(settings, database, Vault(KeyRing.from_file(path), path), OutboundClient(policy), CAPABILITIES)


@pytest.fixture
def elsewhere(settings: Settings, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Settings]:
    """Settings of another machine with the same key ring and nothing in its database yet."""
    there = settings.model_copy(update={"data_dir": tmp_path / "there", "key_file": settings.resolved_key_file})
    if not settings.database_url:
        yield there
        return
    cluster = request.getfixturevalue("cluster")
    url = cluster.create_database()
    yield there.model_copy(update={"database_url": url})
    cluster.drop_database(url)
