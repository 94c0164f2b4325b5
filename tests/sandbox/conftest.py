"""The cast of the sandbox's tests: its administrator in a browser, and one registered application."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.browser import Person
from tests.sandbox.consent import CALLBACK, Registered


@pytest.fixture
def old_sandbox() -> Iterator[RunningSandbox]:
    """A GitLab from before hashed secrets, `read_api` and prefixes."""
    with RunningSandbox(version="11.11.8") as running:
        yield running


@pytest.fixture
def rooted_sandbox() -> Iterator[RunningSandbox]:
    """A GitLab that lives below `/gitlab`."""
    with RunningSandbox(relative_root="/gitlab") as running:
        yield running


@pytest.fixture
def root(sandbox: RunningSandbox) -> Iterator[Person]:
    """The administrator, signed in."""
    with Person(sandbox.url) as person:
        assert person.sign_in("root").status_code == 302
        yield person


@pytest.fixture
def registered(sandbox: RunningSandbox) -> Registered:
    """A confidential application no one has authorized yet."""
    scopes = ("api", "read_user", "openid", "email")
    application, secret = sandbox.world.oauth.create_application("Portal", CALLBACK, scopes)
    return Registered(application, secret, sandbox.url)
