"""A sandbox in a thread, for tests.

with RunningSandbox(project_count=60) as sandbox:
    token = sandbox.token("root")
    sandbox.faults.add("/api/v4/projects", status=502, html=True, times=1)
    ... requests to sandbox.url ...
    assert sandbox.requests.count("/api/v4/projects") == 2
"""

from __future__ import annotations

import ssl
from dataclasses import replace
from datetime import date
from types import TracebackType
from typing import Any, Self

from portal.sandbox.faults import Faults
from portal.sandbox.options import SandboxOptions
from portal.sandbox.people import User
from portal.sandbox.requestlog import RequestLog
from portal.sandbox.server import SandboxServer
from portal.sandbox.world import World


class RunningSandbox:
    """A served sandbox; keyword arguments are those of `SandboxOptions`.

    It listens on a port that the system chooses, whatever the options say; `port` sets one.

    Starting takes milliseconds, so one per test is fine; `reset_faults` is for tests that share one.
    """

    def __init__(
        self,
        options: SandboxOptions | None = None,
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        **details: Any,
    ) -> None:
        self._server = SandboxServer(replace(options or SandboxOptions(**details), port=port), tls=tls)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop: the port closes and open connections end."""
        self._server.stop()

    @property
    def url(self) -> str:
        """Where it answers, as `http://localhost:PORT` plus relative root."""
        return self._server.url

    @property
    def api(self) -> str:
        """Where its REST API answers."""
        return f"{self.url}/api/v4"

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.port

    @property
    def world(self) -> World:
        """Everything in it; change it freely."""
        return self._server.world

    @property
    def faults(self) -> Faults:
        """Its faults."""
        return self._server.faults

    @property
    def requests(self) -> RequestLog:
        """What was asked of it."""
        return self._server.requests

    def token(
        self, username: str = "root", *scopes: str, expires_at: date | None = None, impersonation: bool = False
    ) -> str:
        """Issue a personal access token (scope `api` unless named) and return its text."""
        user = self._user(username)
        return self.world.create_personal_token(
            user, scopes=scopes or ("api",), expires_at=expires_at, impersonation=impersonation
        )

    def access_token(self, username: str = "root", *scopes: str) -> str:
        """Issue an OAuth access token (scope `api` unless named) of its own application; return its text."""
        store = self.world.oauth
        application, _ = store.create_application("Test", "http://127.0.0.1/callback", scopes or ("api",))
        return store.create_token(application.id, self._user(username).id, scopes or ("api",)).access_token

    def service_user(self, username: str = "gatehouse", access_level: int = 40, **details: Any) -> User:
        """Create a user as the walkthrough describes: with a role on every group that suggests one."""
        user = self.world.create_user(name="Gatehouse service user", username=username, **details)
        for group in self.world.top_level_groups():
            if group.suggested_access_level:
                self.world.add_member(user, group, min(access_level, group.suggested_access_level))
        return user

    def _user(self, username: str) -> User:
        user = self.world.user_by_username(username)
        if user is None:
            raise LookupError(f"no user {username}")
        return user

    def reset_faults(self) -> None:
        """Remove faults, clear requests, let the clock follow the system's."""
        self.faults.clear()
        self.requests.clear()
        self.world.clock.reset()
