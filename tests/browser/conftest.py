"""Chromium against the whole portal: real HTTP, a real worker, a sandbox in place of GitLab."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, Page, expect

from portal import CAPABILITIES
from portal.db import utc_now
from portal.jobs.models import JobSchedule
from portal.jobs.testing import running_worker
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.settings import Settings
from tests.browser.canaries import Canaries
from tests.browser.site import WAIT_MILLISECONDS, Site, profiles, serving
from tests.browser.watching import Watch
from tests.support.people import Cast

expect.set_options(timeout=WAIT_MILLISECONDS)


@pytest.fixture(autouse=True)
def watch() -> Iterator[Watch]:
    """Fail the test at its end if a browser did something forbidden."""
    watch = Watch()
    yield watch
    assert watch.findings() == []


@pytest.fixture(scope="session")
def idle_profiles(chromium: Browser) -> Iterator[list[BrowserContext]]:
    """The browser profiles that no test is using."""
    idle: list[BrowserContext] = []
    yield idle
    for context in idle:
        context.close()


@pytest.fixture
def open_context(
    chromium: Browser, watch: Watch, idle_profiles: list[BrowserContext]
) -> Iterator[Callable[..., BrowserContext]]:
    """Open an empty browser profile; keyword arguments are Playwright's."""
    with profiles(chromium, watch, idle_profiles) as open_context:
        yield open_context


@pytest.fixture
def sandbox_options() -> dict[str, Any]:
    """How the test's sandbox is set up; tests that need another one parametrize this."""
    return {"with_service_user": True}


@pytest.fixture
def sandbox(sandbox_options: dict[str, Any]) -> Iterator[RunningSandbox]:
    """A simulated GitLab for this test alone."""
    with RunningSandbox(**sandbox_options) as running:
        yield running


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """The socket the portal will answer on; bound first, because the base URL holds its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def settings(listener: socket.socket, sandbox: RunningSandbox, tmp_path: Path) -> Settings:
    """Settings as `--demo` makes them."""
    return Settings(
        base_url=f"http://127.0.0.1:{listener.getsockname()[1]}",
        data_dir=tmp_path / "var",
        allow_http=True,
        sandbox_origin=sandbox.url,
    )


@pytest.fixture
def site(
    listener: socket.socket,
    app: Flask,
    runtime: Runtime,
    sandbox: RunningSandbox,
    cast: Cast,
    open_context: Callable[..., BrowserContext],
) -> Iterator[Site]:
    """The running portal, with the cast in it and a worker; at the end no secret may have left the vault."""
    # No periodic job is due: one of the worker's own checks would judge what a test is still setting up.
    with runtime.database.transaction() as session:
        session.add_all(JobSchedule(name=job.name, enqueued_at=utc_now()) for job in CAPABILITIES.periodic_jobs)
    canaries = Canaries(runtime, sandbox)
    app.wsgi_app = canaries.watching(app.wsgi_app)  # type: ignore[method-assign]
    with canaries.listening(), serving(app, listener), running_worker(runtime):
        yield Site(runtime.settings.base_url, app, runtime, sandbox, cast, open_context)
    assert canaries.findings() == []


@pytest.fixture
def context(site: Site) -> BrowserContext:
    """A browser profile in which the owner is signed in."""
    return site.sign_in(site.open_context())


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """One of the owner's tabs."""
    return context.new_page()
