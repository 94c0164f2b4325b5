"""Environments of projects: where GitLab deploys to (docs.gitlab.com/ci/environments)."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from portal.sandbox.histories import Deployment
from portal.sandbox.people import FIRST_COLLEAGUE_ID
from portal.sandbox.projects import Project

if TYPE_CHECKING:
    from portal.sandbox.world import World

TIERS = ("production", "staging", "testing", "development", "other")
# lib: app/models/environment.rb, `guess_tier`.
BY_NAME = {"production": "production", "staging": "staging", "testing": "testing", "review": "development"}
# One project in so many deploys; the others have no environments.
EVERY = 3
PER_PROJECT = 1000
HOUR = 3600
BRANCHES = ("group-rules", "metrics", "old-auth", "new-start-page")


@dataclass
class Environment:
    """One environment; times are seconds since 1970."""

    id: int
    name: str
    tier: str
    created: int
    updated: int
    external_url: str | None = None
    state: str = "available"
    auto_stop: int | None = None
    last: Deployment | None = None
    # What was deployed: a branch or a tag.
    ref: str = ""


class EnvironmentStore:
    """The environments of one sandbox; those of a project are made when they are first asked for, always the same."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._lock = threading.Lock()
        self._rows: dict[int, dict[int, Environment]] = {}
        self._last_id: dict[int, int] = {}

    def of(self, project: Project) -> dict[int, Environment]:
        """Return the environments of a project by id."""
        with self._lock:
            if project.id not in self._rows:
                self._rows[project.id] = {}
                if project.id % EVERY == 1 and not project.empty and not project.archived:
                    self._draw(project)
            return self._rows[project.id]

    def create(self, project: Project, name: str, external_url: str | None, tier: str = "") -> Environment:
        """Add one; GitLab works out the tier from the name."""
        self.of(project)
        with self._lock:
            return self._add(project, name, external_url, tier)

    def _add(self, project: Project, name: str, external_url: str | None, tier: str = "") -> Environment:
        number = self._last_id[project.id] = self._last_id.get(project.id, 0) + 1
        now = int(self._world.now().timestamp())
        tier = tier or BY_NAME.get(name.partition("/")[0], "other")
        made = Environment(project.id * PER_PROJECT + number, name, tier, now, now, external_url)
        self._rows[project.id][made.id] = made
        return made

    def _draw(self, project: Project) -> None:
        draw = random.Random(f"{self._world.options.seed}/{project.id}/environments")  # noqa: S311 - no secrets
        now = int(self._world.now().timestamp())
        minor = draw.randint(3, 40)
        names = ["production", "staging", *(f"review/{name}" for name in draw.sample(BRANCHES, 3))]
        for number, name in enumerate(names):
            host = ".".join(reversed(name.split("/")))
            one = self._add(project, name, f"https://{project.path}.{host}.example.com")
            is_review = number > 1
            hours = (150, 2, 1, 30, 500)[number]
            at = now - hours * HOUR - draw.randint(0, HOUR)
            one.created, one.updated = at - 400 * HOUR, at
            one.ref = name.partition("/")[2] if is_review else f"v4.{minor + number}.0"
            status = "failed" if number == 2 and draw.random() < 0.4 else "success"
            user_id, sha = FIRST_COLLEAGUE_ID + draw.randrange(6), f"{draw.getrandbits(160):040x}"
            one.last = Deployment(one.id * 10, number + 1, at, user_id, sha, name, status)
            if number == 3:
                one.auto_stop = now + 48 * HOUR
            if number == 4:
                one.state = "stopped"
