"""A GitLab that signs deliveries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from portal.sandbox.options import SandboxOptions
from portal.sandbox.testing import RunningSandbox


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    """A simulated GitLab 19 for this test alone."""
    with RunningSandbox(SandboxOptions(version="19.0.0", with_service_user=True)) as running:
        yield running
