from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web_server.served import Served, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path) -> Iterator[Served]:
    """One server for the tests of a file that do not change it."""
    with serving(tmp_path_factory.mktemp("served"), migrated_file) as served:
        yield served


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path) -> Iterator[Served]:
    """A server whose deadlines pass within the test."""
    folder = tmp_path_factory.mktemp("impatient")
    with serving(folder, migrated_file, config="tests.web_server.short_deadlines", log_level="DEBUG") as served:
        yield served
