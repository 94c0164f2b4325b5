"""GitLab's REST API: one method per endpoint, each with the page of GitLab's documentation it follows.

Every credential is sent as `Authorization: Bearer`, which OAuth tokens need and PATs take (gitlab-contract §4.1).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeVar

from portal.gitlab.answers import failure_of, read_answer
from portal.gitlab.errors import GitLabNotFound, GitLabRateLimited, GitLabUnavailable, MalformedAnswer
from portal.gitlab.payloads import Group, Metadata, Page, Project, TokenInfo, User
from portal.net import Answer, Line, OutboundError
from portal.net.retry import backoff_seconds, retry_idempotent
from portal.vault import Secret

API = "/api/v4"
PER_PAGE = 100
PAGE_SECONDS = 30.0
MAX_PAGES = 5000
TRIES = 4
# A request of a page waits no longer than this for GitLab's limit; longer waits are the job's business.
MAX_WAIT_SECONDS = 60.0
# Why GitLab refuses a token for good (§5.1).
OVER = {"expired", "revoked"}
RENEWALS = 2
T = TypeVar("T")
Query = Mapping[str, str | int]


class TokenSource(Protocol):
    """Where a client takes its token from, when that may change while it works."""

    def token(self) -> Secret:
        """Return the token to send."""

    def renew(self, refused: Secret, *, is_certain: bool) -> Secret | None:
        """Return another token than the refused one; None when there is none.

        `is_certain`: GitLab said that the token is over; otherwise something in front of it may have answered.
        """


class GitLabClient:
    """Asks one GitLab as one user. May be used from several threads."""

    def __init__(
        self,
        line: Line,
        token: Secret | TokenSource | None,
        *,
        sleep: Callable[[float], object] = time.sleep,
        tries: int = TRIES,
    ) -> None:
        self._line = line
        self._token = token
        self._sleep = sleep
        self._tries = tries

    def current_user(self) -> User:
        """Return who the token acts as (api/users; scopes read_user, read_api or api)."""
        return self._get("/user", User)

    def metadata(self) -> Metadata:
        """Return version and edition (api/metadata, 15.2; api/version before)."""
        try:
            return self._get("/metadata", Metadata)
        except GitLabNotFound:
            return self._get("/version", Metadata)

    def token_info(self) -> TokenInfo:
        """Return the scopes and the user id of an OAuth token (api/oauth2); needs no scope."""
        return read_answer(self._fetch("/oauth/token/info", {}), TokenInfo)

    def projects_page(
        self,
        *,
        id_after: int = 0,
        id_before: int | None = None,
        per_page: int = PER_PAGE,
        min_access_level: int | None = None,
        simple: bool = False,
    ) -> Page[Project]:
        """Return up to `per_page` projects the user is a member of, by ascending id (api/projects).

        Keyset by id: the next page begins after the highest id of this one, whatever the `Link` header says.
        """
        query: dict[str, str | int] = {"order_by": "id", "sort": "asc", "per_page": per_page, "id_after": id_after}
        if id_before is not None:
            query["id_before"] = id_before
        if min_access_level is not None:
            query["min_access_level"] = min_access_level
        if simple:
            query["simple"] = "true"
        page = self._list("/projects", Project, {"membership": "true", **query})
        _require_ascending(page.items, id_after)
        return page

    def highest_project_id(self) -> int:
        """Return the highest id among the user's projects; 0 when there is none."""
        query: Query = {"membership": "true", "order_by": "id", "sort": "desc", "per_page": 1, "simple": "true"}
        page = self._list("/projects", Project, query)
        return page.items[0].id if page.items else 0

    def count_projects(self) -> int | None:
        """Return how many projects the user is a member of; None above 10,000, where GitLab stops counting (§7.3)."""
        return self._list("/projects", Project, {"membership": "true", "per_page": 1, "simple": "true"}).total

    def group_pages(self) -> Iterator[Page[Group]]:
        """Yield every group the user is a member of (api/groups); `all_available` is off, also for administrators."""
        page_number: int | None = 1
        for _ in range(MAX_PAGES):
            query: Query = {"all_available": "false", "order_by": "id", "per_page": PER_PAGE, "page": page_number or 1}
            page = self._list("/groups", Group, query)
            yield page
            if page.next_page is None or page.next_page <= (page_number or 1):
                return
            page_number = page.next_page

    def _list(self, path: str, item: type[T], query: Query) -> Page[T]:
        answer = self._fetch(API + path, query, PAGE_SECONDS)
        items = read_answer(answer, list[item])  # type: ignore[valid-type]
        return Page(items, _header_number(answer, "x-total"), _header_number(answer, "x-next-page"))

    def _get(self, path: str, shape: type[T]) -> T:
        return read_answer(self._fetch(API + path, {}), shape)

    def _fetch(self, path: str, query: Query, seconds: float = PAGE_SECONDS) -> Answer:
        token = self._token if isinstance(self._token, Secret) or self._token is None else self._token.token()
        answer = self._send(path, query, seconds, token)
        # Somebody else's refresh kills tokens in use: once more with the present one, and only once (S43). GitLab may
        # not know a token yet that it gave for that; then the source looks at it until it does.
        for _ in range(RENEWALS):
            if answer.status != 401 or token is None or isinstance(self._token, Secret) or self._token is None:
                break
            is_certain = getattr(failure_of(answer), "reason", "") in OVER
            renewed = self._token.renew(token, is_certain=is_certain)
            if renewed is None:
                break
            is_same, token = renewed == token, renewed
            answer = self._send(path, query, seconds, token)
            if is_same:
                break
        return answer

    def _send(self, path: str, query: Query, seconds: float, token: Secret | None) -> Answer:
        headers = {"Authorization": f"Bearer {token.reveal()}"} if token else {}

        def call() -> Answer:
            answer = self._line.fetch("GET", path, query=query, headers=headers, deadline_seconds=seconds)
            if answer.status == 429 or answer.status >= 500:
                raise failure_of(answer)
            return answer

        return retry_idempotent(call, _wait_for, self._sleep, self._tries)


def _wait_for(error: Exception, attempt: int) -> float | None:
    if isinstance(error, GitLabRateLimited):
        seconds = backoff_seconds(attempt, error.retry_after_seconds)
        return seconds if seconds <= MAX_WAIT_SECONDS else None
    # Only a pooled connection that had gone stale, and GitLab's own short failures, are worth a second try.
    passing = isinstance(error, GitLabUnavailable) or (
        isinstance(error, OutboundError) and error.code == "answer_broken"
    )
    return backoff_seconds(attempt) if passing else None


def _require_ascending(projects: list[Project], id_after: int) -> None:
    ids = [project.id for project in projects]
    # A list that does not advance would be read for ever.
    if ids and (ids != sorted(set(ids)) or ids[0] <= id_after):
        raise MalformedAnswer(status=200)


def _header_number(answer: Answer, name: str) -> int | None:
    text = answer.headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
