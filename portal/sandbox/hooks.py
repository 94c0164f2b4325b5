"""Project hooks as GitLab stores them; the sandbox does not deliver them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass
class Hook:
    """One hook; `flags` are the events, `token` and the header values are never shown again."""

    id: int
    project_id: int
    url: str
    created_at: datetime
    token: str = ""
    signing_token: str = ""
    enable_ssl_verification: bool = True
    flags: dict[str, bool] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


class Hooks:
    """All hooks of all projects."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_project: dict[int, dict[int, Hook]] = {}
        self._last_id = 0

    def of_project(self, project_id: int) -> list[Hook]:
        """Return the hooks of one project, oldest first."""
        with self._lock:
            return list(self._by_project.get(project_id, {}).values())

    def find(self, project_id: int, hook_id: int) -> Hook | None:
        """Return one hook of one project."""
        return self._by_project.get(project_id, {}).get(hook_id)

    def add(self, project_id: int, url: str, created_at: datetime) -> Hook:
        """Store a new hook."""
        with self._lock:
            self._last_id += 1
            hook = Hook(self._last_id, project_id, url, created_at)
            self._by_project.setdefault(project_id, {})[hook.id] = hook
            return hook

    def remove(self, project_id: int, hook_id: int) -> bool:
        """Delete one hook; False if there is none."""
        with self._lock:
            return self._by_project.get(project_id, {}).pop(hook_id, None) is not None

    def forget_project(self, project_id: int) -> None:
        """Drop the hooks of a deleted project."""
        with self._lock:
            self._by_project.pop(project_id, None)
