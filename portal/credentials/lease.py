"""Which process holds a credential's lease, and whether that lease has ended.

A lease ends by a clock, and clocks jump. On one machine the boot id and the clock that counts from the boot decide,
and a holder whose process is gone no longer holds anything. Between machines the database's clock decides.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from portal.credentials.models import Credential
from portal.credentials.times import RefreshTimes

_GONE_STATES = frozenset({"Z", "X", "x"})
_held_here: set[str] = set()
_lock = threading.Lock()


def take(credential: Credential, owner: str, now: datetime, times: RefreshTimes) -> None:
    """Lease a credential to a thread of this process; `now` is by the database's clock."""
    credential.lease_owner, credential.lease_until = owner, now + timedelta(seconds=times.lease)
    credential.lease_holder = {
        "boot": _boot_id(),
        "processes": _namespace("pid"),
        "clock": _namespace("time"),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "until": _since_boot() + times.lease,
    }
    with _lock:
        _held_here.add(owner)


def give_back(credential: Credential) -> None:
    """Release a credential's lease."""
    credential.lease_owner, credential.lease_until, credential.lease_holder = "", None, None


def forget(owner: str) -> None:
    """Record that a thread of this process is done with a lease, whether or not it could give it back."""
    with _lock:
        _held_here.discard(owner)


def is_free(credential: Credential, now: datetime, times: RefreshTimes) -> bool:
    """Return whether the lease is free at a time of the database's clock."""
    until, holder = credential.lease_until, credential.lease_holder or {}
    if until is None:
        return True
    if not holder.get("boot") or (holder["boot"], holder["clock"]) != (_boot_id(), _namespace("time")):
        # A lease that ends later than any could dates from before the clock was set back.
        return until <= now or until > now + timedelta(seconds=times.lease * 2)
    return bool(holder["until"] <= _since_boot()) or _is_gone(credential.lease_owner, holder)


def _is_gone(owner: str, holder: dict[str, Any]) -> bool:
    """Return whether the process that took a lease has ended; one in another container cannot be seen."""
    if holder["processes"] != _namespace("pid"):
        return False
    pid = int(holder["pid"])
    if pid == os.getpid() and holder["started"] == _started(pid):
        with _lock:
            return owner not in _held_here
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # Of another user: its files may be hidden.
    started = _started(pid)
    return started != "" and started != holder["started"]


def _started(pid: int) -> str:
    """Return when a process began, in ticks since boot: its id may belong to another process by now."""
    with suppress(OSError, IndexError):
        # The name in parentheses may hold anything.
        state, *fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return "ended" if state in _GONE_STATES else fields[18]
    return ""


def _since_boot() -> float:
    # Unlike the monotonic clock it keeps running while the machine sleeps, as GitLab's does.
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@cache
def _boot_id() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


@cache
def _namespace(kind: str) -> str:
    with suppress(OSError):
        return os.readlink(f"/proc/self/ns/{kind}")
    return ""
