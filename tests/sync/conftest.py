"""A GitLab with real repositories."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from portal.runtime import Runtime
from portal.sandbox.options import SandboxOptions
from portal.sandbox.testing import RunningSandbox
from tests.support.people import Cast
from tests.sync.synced import Synced, synced


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    """A simulated GitLab for this test alone."""
    with RunningSandbox(SandboxOptions(with_service_user=True, project_count=40)) as running:
        yield running


@pytest.fixture
def site(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> Synced:
    """A site that is in step with a repository."""
    return synced(runtime, sandbox, cast)
