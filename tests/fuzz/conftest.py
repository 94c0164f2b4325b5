from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.vault import KeyRing
from tests.fuzz.world import FuzzWorld
from tests.web_server.served import Served, serving


@pytest.fixture(scope="module")
def fuzz_world(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path, ring: KeyRing) -> Iterator[FuzzWorld]:
    world = FuzzWorld(tmp_path_factory.mktemp("fuzz") / "var", migrated_file, ring)
    yield world
    world.close()


@pytest.fixture(scope="module")
def fuzz_server(tmp_path_factory: pytest.TempPathFactory, fuzz_world: FuzzWorld) -> Iterator[Served]:
    """A separate web server with the same people and objects."""
    with serving(tmp_path_factory.mktemp("served"), fuzz_world.beginning) as served:
        yield served
