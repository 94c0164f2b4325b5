"""A running gallery, and a Chromium to view it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from werkzeug.serving import make_server

from tests.ui.gallery import create_gallery

WATCH_POLICY = """
window.blocked = [];
document.addEventListener("securitypolicyviolation", (event) => window.blocked.push(event.violatedDirective));
"""


@pytest.fixture(scope="session")
def gallery() -> Iterator[str]:
    """The address of the gallery, served from a thread."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, create_gallery(), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def profile(chromium: Browser) -> Iterator[BrowserContext]:
    """One browser profile without motion for all tests: starting one costs more than most of them."""
    profile = chromium.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    profile.add_init_script(WATCH_POLICY)
    profile.set_default_timeout(10_000)
    yield profile
    profile.close()


@pytest.fixture
def context(profile: BrowserContext) -> Iterator[BrowserContext]:
    """The profile, reset to a new state; its tabs are closed at the end."""
    yield profile
    for page in profile.pages:
        page.close()
    profile.clear_cookies()
    profile.clear_permissions()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A tab; by the end nothing may have been blocked and no script may have failed."""
    problems: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    blocked = [] if page.is_closed() else page.evaluate("window.blocked")
    assert (problems, blocked) == ([], [])
