from __future__ import annotations

from collections.abc import Iterator

import pytest

from portal.sandbox.testing import RunningSandbox


@pytest.fixture
def version() -> str:
    """Which GitLab; tests of others parametrize this."""
    return "19.5.0"


@pytest.fixture
def sandbox(version: str) -> Iterator[RunningSandbox]:
    """A simulated GitLab of that version."""
    with RunningSandbox(with_service_user=True, version=version or "19.5.0") as running:
        yield running
