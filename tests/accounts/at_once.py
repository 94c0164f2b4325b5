"""Several people do something at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Answer = TypeVar("Answer")


def at_once(*actions: Callable[[], Answer]) -> list[Answer]:
    """Run every action in a thread of its own, all from one starting line, and return what they return."""
    line = threading.Barrier(len(actions))

    def start(action: Callable[[], Answer]) -> Answer:
        line.wait()
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(start, actions))
