"""These tests run on both databases: they cover the writes that the two do differently."""

from __future__ import annotations

import pytest

from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.people import Cast
from tests.support.walkthrough import Prepared, prepare


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def backend(request: pytest.FixtureRequest) -> str:
    """SQLite and PostgreSQL in turn."""
    return str(request.param)


@pytest.fixture
def prepared(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> Prepared:
    """A connection whose next step is the popup; its GitLab has not been asked anything yet."""
    prepared = prepare(runtime, sandbox, cast.owner)
    sandbox.requests.clear()
    return prepared
