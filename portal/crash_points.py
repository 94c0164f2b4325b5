"""Named places where a test can kill the process, to prove that nothing is lost at any moment.

`GATEHOUSE_CRASH_AT=<point>:<n>` aborts the process at the n-th pass of a point, as `kill -9` would; unset, a point
costs one comparison.
"""

from __future__ import annotations

import os
import threading

VARIABLE = "GATEHOUSE_CRASH_AT"
EXIT_CODE = 86

# Every point there is; a test goes through all of them.
POINTS = (
    "refresh:before_intent",
    "refresh:intent_written",
    "refresh:before_request",
    "refresh:answer_received",
    "refresh:answer_spooled",
    "refresh:stored",
    "refresh:verdict_received",
    "authorize:claimed",
    "authorize:exchanged",
    "authorize:held",
    "authorize:judged",
    "authorize:stored",
    "rotate:before_batch",
    "rotate:sealed_again",
    "rotate:batch_stored",
    "rotate:key_added",
    "disconnect:retired",
    "disconnect:before_revoke",
    "disconnect:spent",
    "disconnect:revoked",
    "disconnect:erased",
    "disconnect:batch_erased",
    "bulk:item_changed",
    "bulk:batch_stored",
    "sync:before_fetch",
    "sync:fetched",
    "sync:conflict_noted",
    "sync:merged",
    "sync:pushed",
    "sync:proposed",
)
_chosen, _, _count = os.environ.get(VARIABLE, "").rpartition(":")
_passes = 0
_lock = threading.Lock()


def crash_point(name: str) -> None:
    """Die here, without any clean-up, when this is the chosen point and pass."""
    if not _chosen or name != _chosen:
        return
    global _passes
    with _lock:
        _passes += 1
        if _passes == int(_count):
            os._exit(EXIT_CODE)
