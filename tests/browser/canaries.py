"""Where a secret must not appear: the logs at DEBUG, any column but a sealed one, any page, the argument lists."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import inspect, text

from portal.logs import configure_logs
from portal.redaction import registered_values
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox

MIN_LENGTH = 12
WSGI = Callable[..., Iterable[bytes]]


class Canaries:
    """Watches one running portal; every secret it meets on the way is a canary."""

    def __init__(self, runtime: Runtime, sandbox: RunningSandbox) -> None:
        self._runtime = runtime
        self._sandbox = sandbox
        self._before = set(registered_values())
        self.log = io.StringIO()
        self.bodies: list[bytes] = []

    def held(self) -> set[str]:
        """Return every secret the portal has held since the start: tokens, states, verifiers, cookies, passwords."""
        return {value for value in set(registered_values()) - self._before if len(value) >= MIN_LENGTH}

    def lasting(self) -> set[str]:
        """Return those that give access to GitLab: no page shows them, not even to people who may manage everything."""
        world = self._sandbox.world
        pairs = {half for token in world.oauth.tokens() for half in (token.access_token, token.refresh_token) if half}
        return pairs | {token.token for token in world.personal_access_tokens.all()}

    def findings(self) -> list[str]:
        """Return where one was found, without the secret itself."""
        held, lasting = self.held() | self.lasting(), self.lasting()
        found = [f"log: {line[:60]}" for line in self.log.getvalue().splitlines() if _holds(line, held)]
        found += [f"page: {body[:60]!r}" for body in self.bodies if _holds(body.decode("utf-8", "replace"), lasting)]
        found += [f"column: {place}" for place, value in self._cells() if _holds(value, held)]
        found += [f"argv of {path}" for path, value in _argument_lists() if _holds(value, held)]
        return found

    def watching(self, application: WSGI) -> WSGI:
        """Return the application with its answers' bodies kept."""

        def watched(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            # As a whole, because a file's response is not a list and has to be closed.
            answer = application(environ, start_response)
            try:
                body = b"".join(answer)
            finally:
                if close := getattr(answer, "close", None):
                    close()
            if not environ["PATH_INFO"].startswith("/static/"):
                self.bodies.append(body)
            return [body]

        return watched

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Capture the logs at DEBUG while the block runs, through the portal's own pipeline."""
        configure_logs("DEBUG")
        (handler,) = logging.getLogger().handlers
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(self.log)
        try:
            yield
        finally:
            configure_logs("ERROR")

    def _cells(self) -> Iterator[tuple[str, str]]:
        engine = self._runtime.database.engine
        with engine.connect() as connection:
            for table in inspect(engine).get_table_names():
                for row in connection.execute(text(f'SELECT * FROM "{table}"')).mappings():
                    for column, value in row.items():
                        yield f"{table}.{column}", value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _holds(content: str, secrets: set[str]) -> bool:
    return any(secret in content for secret in secrets)


def _argument_lists() -> Iterator[tuple[str, str]]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.parts[2], path.read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
