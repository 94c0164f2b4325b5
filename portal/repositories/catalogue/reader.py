"""Download GitLab's list of projects in parallel lanes into one bounded queue.

`GET /projects?membership=true&order_by=id&sort=asc` with `id_after` and `id_before`. A range of ids is finished once a
page of it is empty, or has as many rows as GitLab counts in it: a short page alone proves nothing (docs/gitlab.md,
"Lists"). Lists say only which role a user has in a project's own namespace, so if a page leaves the role open, the same
ids are requested again with `min_access_level`.

GitLab may answer 500 whenever one certain project is in the list (gitlab-org/gitlab#262629). The range is then halved
until the failing ids are known, and everything else has been read.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from portal.foreign import ShortText
from portal.gitlab.answers import Defect, GitLabUnavailable, MalformedAnswer, Page, Project
from portal.gitlab.client import GitLabClient
from portal.repositories.availability import REPORTER
from portal.repositories.catalogue.findings import FAILS
from portal.repositories.catalogue.ranges import IdRange, RangePool

PER_PAGE = 100
QUEUE_PAGES = 16
# On SQLite, requests wait for the transaction that writes them: each asks the budget.
PAGES_AT_ONCE = 5
MAINTAINER = 40
# For one read: an endless list must not be read forever.
MAX_PAGES = 50_000
# How many projects may make GitLab fail; if there are more, something else is wrong.
MAX_FAILING = 20
# Usually no project has a higher id.
OPEN_END = 2**31
# How far beyond a page GitLab is asked to count, in widths of the page: everything first, then less after each answer
# that does not help, and more again after one that does.
REACHES = (OPEN_END, 50, 16, 5)


@dataclass(frozen=True)
class CataloguePage:
    """Up to 100 projects with the role that is known to be held: 40, 20, or what the list said; None if not known.

    `covered` are the ids (above, up to and including) of which nothing is left to read once this page is stored.
    """

    page: Page[Project]
    access_levels: dict[int, int | None]
    covered: tuple[int, int] | None = None


class _BoundsIgnored(Exception):
    """GitLab returns rows beyond the requested ids, as it does before 12.6."""


class CatalogueReader:
    """One complete read; iterate it once, over the pages that have come.

    A failure of any page ends it with that page's error.

    Attributes:
        is_contradicted: whether GitLab counted rows that did not arrive, or sent rows that cannot be read at all.
    """

    def __init__(
        self,
        client: GitLabClient,
        *,
        lanes: int,
        wants_maintainer: bool,
        ranges: list[IdRange],
        filters_by_role: bool = True,
        counts_all: bool = True,
    ) -> None:
        self._client = client
        self._lanes = lanes
        levels = (MAINTAINER, REPORTER) if wants_maintainer else (REPORTER,)
        self._levels = levels if filters_by_role else ()
        self._pool = RangePool(*ranges)
        self._pages: queue.Queue[CataloguePage | None] = queue.Queue(maxsize=QUEUE_PAGES)
        self._failures: list[Exception] = []
        self._ended = threading.Event()
        self._asked = self._failing = 0
        self._highest = max(one.last for one in ranges)
        self._counting = threading.Lock()
        # Which of `REACHES` is next; beyond the last, GitLab is no longer asked to count.
        self._reach = dict.fromkeys(self._levels, 0 if counts_all else 1)
        self._held_by_all: dict[int, list[tuple[int, int]]] = {level: [] for level in self._levels}
        self.is_contradicted = False

    def __iter__(self) -> Iterator[list[CataloguePage]]:
        threads = [threading.Thread(target=self._run_lane, daemon=True) for _ in range(self._lanes)]
        for thread in threads:
            thread.start()
        try:
            left = len(threads)
            while left:
                found = [self._pages.get()]
                # What has come since is written with it: a transaction for each page would take longer than the page.
                with suppress(queue.Empty):
                    while len(found) < PAGES_AT_ONCE:
                        found.append(self._pages.get_nowait())
                left -= found.count(None)
                if (pages := [page for page in found if page is not None]) and not self._failures:
                    yield pages
        finally:
            self._ended.set()
            self._pool.stop()
        if any(isinstance(error, _BoundsIgnored) for error in self._failures):
            yield from ([page] for page in self._by_offset())
        elif self._failures:
            raise self._failures[0]

    def _run_lane(self) -> None:
        try:
            for page, covered in self._walk(self._pool):
                if page.contradicts_itself:
                    self.is_contradicted = True
                if page.ids or page.defects or covered:
                    self._put(CataloguePage(page, self._roles(page.items), covered))
        except Exception as error:
            self._failures.append(error)
            self._pool.stop()
        finally:
            self._put(None)

    def _walk(
        self, pool: RangePool, *, min_access_level: int | None = None
    ) -> Iterator[tuple[Page[Project], tuple[int, int] | None]]:
        """Yield the pages of every range that the pool gives this lane, and which ids each of them covers."""
        while (taken := pool.take()) is not None:
            size = PER_PAGE
            while not (now := pool.now(taken)).is_read and not self._ended.is_set():
                self._asked += 1
                if self._asked > MAX_PAGES:
                    raise MalformedAnswer(status=200)
                before = None if now.is_open else now.last + 1
                try:
                    page = self._ask(now.cursor, before, size, min_access_level)
                except GitLabUnavailable as error:
                    if error.status != 500 or not self._is_answering():
                        raise
                    end = max(now.last, now.cursor + OPEN_END) if now.is_open else now.last
                    pool.advance(taken, end)
                    yield from self._read_around(now.cursor, end, min_access_level, error)
                    continue
                if page.ids and (min(page.ids) <= now.cursor or (before and max(page.ids) >= before)):
                    raise _BoundsIgnored
                if page.is_last or not page.ids:
                    yield page, (now.cursor, OPEN_END if now.is_open else now.last)
                    break
                if page.is_short and not page.is_ascending:
                    yield page, None
                    size = page.count  # What is missing may be among what came: a full page of that size is complete.
                else:
                    yield page, (now.cursor, max(page.ids))
                    pool.advance(taken, max(page.ids))
            pool.finish(taken)

    def _ask(
        self, after: int, before: int | None, size: int, min_access_level: int | None, tries: int | None = None
    ) -> Page[Project]:
        return self._client.projects_page(
            id_after=after,
            id_before=before,
            per_page=size,
            min_access_level=min_access_level,
            simple=min_access_level is not None,
            tries=tries,
        )

    def _is_answering(self) -> bool:
        """Return whether GitLab answers the same request for ids that it has not returned yet."""
        try:
            self._ask(OPEN_END, None, 1, None)
        except GitLabUnavailable:
            return False
        return True

    def _read_around(
        self, after: int, last: int, min_access_level: int | None, error: GitLabUnavailable
    ) -> Iterator[tuple[Page[Project], tuple[int, int]]]:
        """Yield the pages of a range that GitLab cannot return as a whole, and a defect for each id that makes it fail.

        Raises:
            GitLabUnavailable: GitLab is unreachable after all, or fails for too many ids.
        """
        parts = [(after, last)]
        while parts and not self._ended.is_set():
            after, last = parts.pop()
            try:
                page = self._ask(after, last + 1, PER_PAGE, min_access_level, tries=1)
            except GitLabUnavailable:
                if last - after > 1:
                    middle = (after + last) // 2
                    parts += [(middle, last), (after, middle)]
                    continue
                self._failing += 1
                if self._failing > MAX_FAILING or not self._is_answering():
                    raise error from None
                page = Page(
                    items=[], ids=[last], defects=[Defect(ShortText(str(last)), FAILS, is_left_out=True)], total=1
                )
            end = last
            if not page.is_last and page.ids and max(page.ids) < last:
                end = max(page.ids)
                parts.append((end, last))
            yield page, (after, end)

    def _roles(self, projects: list[Project]) -> dict[int, int | None]:
        told = {project.id: project.access_level for project in projects}
        is_sure = bool(self._levels)
        for level in self._levels:
            if all((held or 0) >= level for held in told.values()):
                continue
            if self._is_held_by_all(level, min(told), max(told)):
                told = {number: max(held or 0, level) for number, held in told.items()}
            else:
                pool = RangePool(IdRange(min(told) - 1, max(told)))
                for page, _ in self._walk(pool, min_access_level=level):
                    is_sure = is_sure and not page.contradicts_itself
                    told.update({number: max(told[number] or 0, level) for number in page.ids if number in told})
        return {number: known_role(held, is_sure=is_sure) for number, held in told.items()}

    def _is_held_by_all(self, level: int, first: int, last: int) -> bool:
        """Return whether GitLab counts as many projects with this role as without a filter, as far as it counts.

        One answer is for many pages: on most GitLabs the service user has one role in all its groups. Where that is not
        so, a few questions show it, and then the ids are listed.
        """
        with self._counting:
            reach = self._reach[level]
            if any(above < first and last <= up_to for above, up_to in self._held_by_all[level]):
                return True
        end = min(self._highest, last + (last - first) * REACHES[reach]) if reach < len(REACHES) else last
        if end <= last:
            return False
        try:
            counts = [self._ask(first - 1, end + 1, 1, wanted, tries=1).total for wanted in (level, None)]
        except GitLabUnavailable:
            counts = [None]
        with self._counting:
            is_held = counts[0] is not None and counts[0] == counts[1]
            if self._reach[level] == reach:  # Otherwise another lane has found out at the same moment.
                self._reach[level] = max(reach - 1, 1) if is_held else reach + 1
            if is_held:
                self._held_by_all[level].append((first - 1, end))
            return is_held

    def _by_offset(self) -> Iterator[CataloguePage]:
        """Read everything page by page; those with a role first, because ids cannot express that."""
        held: dict[int, int] = {}
        is_sure = bool(self._levels)
        for level in self._levels:
            ids: set[int] = set()
            for page in self._client.project_pages(min_access_level=level, simple=True):
                ids.update(page.ids)
                counted = page.total
            is_sure = is_sure and (counted is None or len(ids) >= counted)
            held.update(dict.fromkeys(ids, level))
        for page in self._client.project_pages():
            roles = {item.id: max(item.access_level or 0, held.get(item.id, 0)) or None for item in page.items}
            yield CataloguePage(page, {number: known_role(role, is_sure=is_sure) for number, role in roles.items()})

    def _put(self, page: CataloguePage | None) -> None:
        while not self._ended.is_set():
            try:
                self._pages.put(page, timeout=0.5)
            except queue.Full:
                continue
            return


def known_role(held: int | None, *, is_sure: bool) -> int | None:
    """Return a role; one below Reporter counts only if GitLab was asked who has more, and answered for everyone."""
    if is_sure:
        return held or 0
    return held if held is not None and held >= REPORTER else None
