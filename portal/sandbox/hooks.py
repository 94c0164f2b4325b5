"""Webhooks of projects, groups and the instance, as GitLab stores them, each with the log of its deliveries."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Level = Literal["project", "group", "system"]

# What the instance's hooks are stored under; ids of projects and groups begin at 1.
INSTANCE = 0
LOG_ROWS = 500


@dataclass
class LoggedDelivery:
    """One delivery as GitLab's log shows it; `status` is `internal error` if no answer came."""

    id: int
    at: datetime
    url: str
    trigger: str
    key: str
    request_headers: dict[str, str]
    request_data: dict[str, Any]
    status: str
    response_headers: dict[str, str] = field(default_factory=dict)
    response_body: str = ""
    duration: float = 0.0


@dataclass
class Hook:
    """One hook; `flags` are the events, `token` and the values of headers are never shown again.

    Attributes:
        failures: deliveries in a row that failed, as GitLab counts them to switch hooks off.
        disabled_until: when it is tried again.
    """

    id: int
    owner_id: int
    url: str
    created_at: datetime
    level: Level = "project"
    token: str = ""
    signing_token: str = ""
    enable_ssl_verification: bool = True
    flags: dict[str, bool] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    failures: int = 0
    disabled_until: datetime | None = None
    log: deque[LoggedDelivery] = field(default_factory=lambda: deque(maxlen=LOG_ROWS))

    @property
    def project_id(self) -> int:
        """The project whose hook it is."""
        return self.owner_id


class Hooks:
    """All hooks; ids are unique across levels, as at GitLab."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_owner: dict[tuple[Level, int], dict[int, Hook]] = {}
        self._last_id = 0

    def of_project(self, project_id: int) -> list[Hook]:
        """Return the hooks of one project, oldest first."""
        return self.of(project_id, "project")

    def of(self, owner_id: int, level: Level) -> list[Hook]:
        """Return the hooks of one project or group, or of the instance, oldest first."""
        with self._lock:
            return list(self._by_owner.get((level, owner_id), {}).values())

    def find(self, owner_id: int, hook_id: int, level: Level = "project") -> Hook | None:
        """Return one hook of one owner."""
        return self._by_owner.get((level, owner_id), {}).get(hook_id)

    def add(self, owner_id: int, url: str, created_at: datetime, level: Level = "project") -> Hook:
        """Store a new hook."""
        with self._lock:
            self._last_id += 1
            hook = Hook(self._last_id, owner_id, url, created_at, level)
            self._by_owner.setdefault((level, owner_id), {})[hook.id] = hook
            return hook

    def remove(self, owner_id: int, hook_id: int, level: Level = "project") -> bool:
        """Delete one hook with its log; False if there is none."""
        with self._lock:
            return self._by_owner.get((level, owner_id), {}).pop(hook_id, None) is not None

    def forget_project(self, project_id: int) -> None:
        """Drop the hooks of a deleted project."""
        with self._lock:
            self._by_owner.pop(("project", project_id), None)

    @property
    def is_empty(self) -> bool:
        """Whether there is none at all."""
        return not any(self._by_owner.values())

    def all(self) -> list[Hook]:
        """Return every hook in order of id."""
        with self._lock:
            hooks = [hook for owned in self._by_owner.values() for hook in owned.values()]
        return sorted(hooks, key=lambda hook: hook.id)
