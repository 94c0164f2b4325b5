"""The portal as people use it: served over HTTP, with a worker, beside a sandbox under another host name."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flask import Flask
from playwright.sync_api import Browser, BrowserContext
from sqlmodel import col, select
from werkzeug.serving import WSGIRequestHandler, make_server

from portal.jobs.models import Job
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.web.sessions import CookieSessions, PortalSession
from tests.browser.watching import POLICY_LISTENER, Watch
from tests.support.people import Actor, Cast

# For what happens at once on an idle machine; tests share a machine.
WAIT_MILLISECONDS = 30_000
VIEWPORT = {"width": 1280, "height": 860}


class QuietHandler(WSGIRequestHandler):
    """Keeps connections open, as real servers do, and prints nothing."""

    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing."""


@contextmanager
def serving(app: Flask, listener: socket.socket) -> Iterator[None]:
    """Serve an application on a bound socket while the block runs."""
    port = listener.getsockname()[1]
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=QuietHandler, fd=listener.fileno())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Site:
    """One running portal and who is in it; `open_context` gives watched browser profiles."""

    url: str
    app: Flask
    runtime: Runtime
    sandbox: RunningSandbox
    cast: Cast
    open_context: Callable[..., BrowserContext]

    def sign_in(self, context: BrowserContext, actor: Actor | None = None) -> BrowserContext:
        """Give a browser profile the session of a signed-in person, without the slow password hash."""
        actor = actor or self.cast.owner
        sessions = self.app.session_interface
        assert isinstance(sessions, CookieSessions)
        session = PortalSession()
        with self.app.test_request_context("/", base_url=self.url):
            sessions.begin(session, actor.user_id, actor.organization_id)
        context.add_cookies([{"name": sessions.cookie_name, "value": session.token, "url": self.url}])
        return context

    def await_jobs(self) -> None:
        """Wait until the worker has done everything that people asked for, so that no page has to be waited for."""
        asked = select(Job.id).where(col(Job.finished_at).is_(None), col(Job.organization_id).is_not(None)).limit(1)
        end = time.monotonic() + WAIT_MILLISECONDS / 1000
        while time.monotonic() < end:
            with self.runtime.database.reading() as session:
                if session.exec(asked).first() is None:
                    return
            time.sleep(0.02)
        raise TimeoutError("a job has not ended")


@contextmanager
def profiles(browser: Browser, watch: Watch, idle: list[BrowserContext]) -> Iterator[Callable[..., BrowserContext]]:
    """Open watched browser profiles; at the end plain ones are emptied for the next test, all others closed.

    Starting a profile costs more than most pages, and every test has a portal under its own address. A test that
    leaves something in a profile for good, such as another clock or a script, opens it with `is_kept=False`.
    """
    opened: list[tuple[BrowserContext, bool]] = []

    def open_context(*, is_kept: bool = True, **details: Any) -> BrowserContext:
        is_kept = is_kept and not details
        if not is_kept or not idle:
            context = browser.new_context(**{"viewport": VIEWPORT, "reduced_motion": "reduce", **details})
            context.set_default_timeout(WAIT_MILLISECONDS)
            context.add_init_script(POLICY_LISTENER)
        else:
            context = idle.pop()
        watch.attach(context)
        opened.append((context, is_kept))
        return context

    yield open_context
    for context, is_kept in opened:
        watch.detach(context)
        if not is_kept:
            context.close()
            continue
        for page in context.pages:
            page.close()
        context.unroute_all()
        context.set_offline(False)
        context.clear_cookies()
        context.clear_permissions()
        idle.append(context)
