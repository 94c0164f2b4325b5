"""Download GitLab's list of projects in parallel lanes into one bounded queue.

`GET /projects?membership=true&order_by=id&sort=asc` with `id_after` and `id_before` (gitlab-contract §7.2, §7.3).
Lists tell only the role in a project's own namespace (trap T11), so where a page leaves the role open, the same ids
are asked for once more with `min_access_level`.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from portal.gitlab.client import GitLabClient
from portal.gitlab.payloads import Project
from portal.repositories.catalogue.ranges import IdRange, RangePool

PER_PAGE = 100
QUEUE_PAGES = 16
MAINTAINER = 40
REPORTER = 20


@dataclass(frozen=True)
class CataloguePage:
    """Up to 100 projects with the role that is known to be held: 40, 20, or what the list told."""

    projects: list[Project]
    access_levels: dict[int, int | None]


class CatalogueReader:
    """One complete read; iterate it once. A failure of any page ends it with that page's error."""

    def __init__(self, client: GitLabClient, *, lanes: int, wants_maintainer: bool) -> None:
        self._client = client
        self._lanes = lanes
        self._levels = (REPORTER, MAINTAINER) if wants_maintainer else (REPORTER,)
        self._pages: queue.Queue[CataloguePage | None] = queue.Queue(maxsize=QUEUE_PAGES)
        self._failures: list[Exception] = []
        self._ended = threading.Event()

    def __iter__(self) -> Iterator[CataloguePage]:
        pool = RangePool(self._client.highest_project_id())
        threads = [threading.Thread(target=self._run_lane, args=(pool,), daemon=True) for _ in range(self._lanes)]
        for thread in threads:
            thread.start()
        try:
            yield from self._consume(len(threads))
        finally:
            self._ended.set()
            pool.stop()
        if self._failures:
            raise self._failures[0]

    def _consume(self, lanes: int) -> Iterator[CataloguePage]:
        while lanes:
            page = self._pages.get()
            if page is None:
                lanes -= 1
            elif not self._failures:
                yield page

    def _run_lane(self, pool: RangePool) -> None:
        try:
            while (taken := pool.take()) is not None:
                self._read_range(pool, taken)
                pool.finish(taken)
        except Exception as error:
            self._failures.append(error)
            pool.stop()
        finally:
            self._put(None)

    def _read_range(self, pool: RangePool, taken: IdRange) -> None:
        while True:
            after, last = pool.bounds(taken)
            if after >= last or self._ended.is_set():
                return
            page = self._client.projects_page(id_after=after, id_before=last + 1, per_page=PER_PAGE)
            if page.items:
                self._put(CataloguePage(page.items, self._roles(page.items)))
                pool.advance(taken, max(project.id for project in page.items))
            if len(page.items) < PER_PAGE:
                return

    def _roles(self, projects: list[Project]) -> dict[int, int | None]:
        told = {project.id: project.access_level for project in projects}
        for level in self._levels:
            if any((held or 0) < level for held in told.values()):
                for project_id in self._holding(level, projects):
                    told[project_id] = max(told[project_id] or 0, level)
        # GitLab answered for every one of them, so who is not in the answer holds less than Reporter.
        return {project_id: held or 0 for project_id, held in told.items()}

    def _holding(self, level: int, projects: list[Project]) -> Iterator[int]:
        known = {project.id for project in projects}
        page = self._client.projects_page(
            id_after=min(known) - 1, id_before=max(known) + 1, per_page=PER_PAGE, min_access_level=level, simple=True
        )
        return (project.id for project in page.items if project.id in known)

    def _put(self, page: CataloguePage | None) -> None:
        while not self._ended.is_set():
            try:
                self._pages.put(page, timeout=0.5)
            except queue.Full:
                continue
            return
