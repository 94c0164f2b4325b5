from __future__ import annotations

import pytest

from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared, authorize, prepare


@pytest.fixture
def prepared(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> Prepared:
    """A draft whose credentials GitLab accepted."""
    return prepare(runtime, sandbox, cast.owner)


@pytest.fixture
def live(sandbox: RunningSandbox, owner: Visitor, prepared: Prepared) -> Prepared:
    """A connection in use."""
    authorize(owner, sandbox, prepared.slug)
    return prepared
