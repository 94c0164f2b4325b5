"""What the portal writes to its log, as its operator would read it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from portal.logs import configure_logs


class Lines:
    """The lines written so far."""

    def __init__(self) -> None:
        self.buffer = io.StringIO()

    @property
    def text(self) -> str:
        """Everything, as written."""
        return self.buffer.getvalue()

    @property
    def events(self) -> list[dict[str, Any]]:
        """Each line, read as the JSON it must be."""
        return [json.loads(line) for line in self.text.splitlines()]

    def named(self, event: str) -> list[dict[str, Any]]:
        """The lines of one event."""
        return [line for line in self.events if line["event"] == event]


@contextmanager
def catching_lines(level: str = "DEBUG") -> Iterator[Lines]:
    """Send the process's log to memory while the block runs."""
    root = logging.getLogger()
    old, old_level = root.handlers, root.level
    configure_logs(level)
    lines = Lines()
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(lines.buffer)
    try:
        yield lines
    finally:
        root.handlers, root.level = old, old_level
