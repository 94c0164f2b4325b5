"""The one place where these tests wait for something that another process does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")
STEP_SECONDS = 0.02


def until(look: Callable[[], Found], seconds: float = 30) -> Found:
    """Poll until something true is found and return it.

    Raises:
        AssertionError: it was not found in time.
    """
    end = time.monotonic() + seconds
    while True:
        if found := look():
            return found
        assert time.monotonic() < end, f"still not so after {seconds} s: {look}"
        threading.Event().wait(STEP_SECONDS)
