"""On both databases; the key ring is a file, shared with the children that die at a point."""

from __future__ import annotations

import pytest

from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.settings import Settings
from portal.vault import KeyRing
from tests.disconnection.world import World, make_world
from tests.support.people import Cast


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def backend(request: pytest.FixtureRequest) -> str:
    """SQLite and PostgreSQL in turn."""
    return str(request.param)


@pytest.fixture
def ring(settings: Settings) -> KeyRing:
    """The ring of this portal's own key file."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return KeyRing.create_file(settings.resolved_key_file)


@pytest.fixture
def world(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> World:
    """A connection in full use: a real pair, repositories, enablements, a granted group, an attempt, a run."""
    return make_world(runtime, sandbox, cast)
