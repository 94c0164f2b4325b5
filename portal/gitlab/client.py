"""GitLab's REST API: one method per endpoint, each with the page of GitLab's documentation it follows.

OAuth tokens are sent as `Authorization: Bearer`, which they need. Access tokens that a person made are sent as
`PRIVATE-TOKEN`: GitLab takes them as bearer tokens only since 12.2.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from datetime import time as time_of_day
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

from portal.foreign import Scopes
from portal.gitlab import oauth
from portal.gitlab.answers import (
    API,
    TOKEN_HEADER,
    GitLabNotFound,
    GitLabRateLimited,
    GitLabUnavailable,
    Group,
    InsufficientPermission,
    MalformedAnswer,
    Metadata,
    NotGitLab,
    Page,
    Project,
    TokenInfo,
    TokenSelf,
    Unauthorized,
    UnexpectedStatus,
    User,
    failure_of,
    read_answer,
    read_page,
    request_id_of,
)
from portal.net import Answer, HostSession, OutboundError, RedirectRefused
from portal.net.retry import backoff_seconds, retry_idempotent
from portal.vault import Secret

PER_PAGE = 100
PAGE_SECONDS = 30.0
# Pages in a row without a new row. If a page is requested again in smaller ones, some rows are old.
MAX_REPEATED = 8
TRIES = 4
SELF_PATH = "/personal_access_tokens/self"
# A rotation that is cut off may have spent the token.
ROTATE_SECONDS = 60.0
# A request of a page waits no longer than this for GitLab's limit; longer waits are the job's business.
MAX_WAIT_SECONDS = 60.0
# Why GitLab permanently refuses a token.
OVER = {"expired", "revoked"}
RENEWALS = 2
_MOVED = re.compile(r"/api/v4/projects/([1-9]\d{0,18})$")
T = TypeVar("T")
Row = TypeVar("Row", Project, Group)
Query = Mapping[str, str | int]


class TokenSource(Protocol):
    """Where a client gets its token if that may change while it works."""

    @property
    def is_access_token(self) -> bool:
        """Whether a person made the token that was returned last; if not, GitLab issued it over OAuth."""

    def token(self) -> Secret:
        """Return the token to send."""

    def renew(self, refused: Secret, *, is_certain: bool) -> Secret | None:
        """Return another token than the refused one; None if there is none.

        `is_certain`: GitLab said that the token has ended; otherwise something in front of it may have answered.
        """


class GitLabClient:
    """Asks one GitLab as one user. May be used from several threads."""

    def __init__(
        self,
        http: HostSession,
        token: Secret | TokenSource | None,
        *,
        sleep: Callable[[float], object] = time.sleep,
        tries: int = TRIES,
    ) -> None:
        self._http = http
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

    def projects_page(
        self,
        *,
        id_after: int | None = None,
        id_before: int | None = None,
        per_page: int = PER_PAGE,
        min_access_level: int | None = None,
        simple: bool = False,
        tries: int | None = None,
    ) -> Page[Project]:
        """Return up to `per_page` projects the user is a member of, by ascending id (api/projects).

        Before 12.6 GitLab ignores both bounds: whoever sends them checks whether the rows are within.
        """
        query = _projects_query(min_access_level=min_access_level, simple=simple)
        bounds = {"id_after": id_after, "id_before": id_before}
        told = {name: bound for name, bound in bounds.items() if bound is not None}
        return self._list("/projects", Project, {**query, **told}, per_page, tries)

    def project_pages(self, *, min_access_level: int | None = None, simple: bool = False) -> Iterator[Page[Project]]:
        """Yield every project the user is a member of, by offset, which every version supports (api/projects)."""
        query = _projects_query(min_access_level=min_access_level, simple=simple)
        return self._offset_pages("/projects", Project, query)

    def updated_pages(
        self, after: datetime, *, min_access_level: int | None = None, simple: bool = False
    ) -> Iterator[Page[Project]]:
        """Yield the user's projects that were updated since, the latest first (api/projects, 15.10).

        What is updated during the read moves to the front, so it shifts others to a later page, and none to an
        earlier one.
        """
        query = _projects_query(min_access_level=min_access_level, simple=simple)
        changes = {"order_by": "updated_at", "sort": "desc", "updated_after": after.isoformat()}
        return self._offset_pages("/projects", Project, {**query, **changes})

    def latest_update(self) -> datetime | None:
        """Return GitLab's time of the latest update of any of the user's projects; None if it does not say."""
        latest = {"order_by": "updated_at", "sort": "desc"}
        page = self._list("/projects", Project, {**_projects_query(), **latest}, 1)
        return max((item.updated_at for item in page.items if item.updated_at), default=None)

    def newest_project(self) -> tuple[int, int | None]:
        """Return the highest id among the user's projects, 0 if none can be seen, and how many there are.

        GitLab stops counting above 10,000 (api/rest, "Pagination response headers"): None.
        """
        page = self._list("/projects", Project, {**_projects_query(simple=True), "sort": "desc"}, 1)
        return max(page.ids, default=0), page.total

    def project(self, named: int | str) -> Project:
        """Return one project by id or path (api/projects), also by a path it had before it was moved.

        Raises:
            GitLabNotFound: there is none, or it is hidden from the user.
        """
        try:
            return self._get(f"/projects/{quote(str(named), safe='')}", Project)
        except RedirectRefused as error:
            # GitLab redirects an old path to the project's id. Only that id is used, so no address is followed.
            moved = _MOVED.search(error.target)
            if moved is None:
                raise
            return self._get(f"/projects/{moved[1]}", Project)

    def group(self, path: str) -> Group:
        """Return one group by its full path (api/groups).

        Raises:
            GitLabNotFound: there is none, or it is hidden from the user.
        """
        return self._get(f"/groups/{quote(path, safe='')}", Group)

    def group_pages(self) -> Iterator[Page[Group]]:
        """Yield every group the user is a member of (api/groups); `all_available` is off, also for administrators."""
        query = {"all_available": "false"}
        try:
            yield from self._offset_pages("/groups", Group, {**query, "order_by": "id"})
        except UnexpectedStatus as error:
            if error.status != 400:
                raise
            # GitLab has that order since about 11.0; before, it is not a valid value.
            yield from self._offset_pages("/groups", Group, query)

    def page(self, path: str, shape: type[T], query: Query, per_page: int) -> Page[T]:
        """Return one page of a list; `portal.gitlab.history` knows the lists."""
        return self._list(path, shape, query, per_page)

    def one(self, path: str, shape: type[T]) -> T:
        """Return one object.

        Raises:
            GitLabNotFound: there is none, or it is hidden from the user.
        """
        return self._get(path, shape)

    def _offset_pages(self, path: str, shape: type[Row], query: Query) -> Iterator[Page[Row]]:
        """Yield a list up to an empty page or GitLab's own count, however few rows of each page arrive."""
        number, size = 1, PER_PAGE
        ids: set[int] = set()
        unnamed = repeated = 0
        while repeated < MAX_REPEATED:
            page = self._list(path, shape, {**query, "page": number}, size)
            yield page
            repeated = repeated + 1 if ids.issuperset(page.ids) else 0
            ids.update(page.ids)
            unnamed += page.unnamed
            if page.count == 0 or (page.is_short and page.total == len(ids) + unnamed):
                return
            if page.is_short:
                # GitLab gives smaller pages, or something cuts them: continue behind what arrived, with pages of that
                # size. If it came in another order, what is missing may be among it: that page is asked for again.
                end = (number - 1) * size + (page.count if page.is_ascending else 0)
                number, size = end // page.count + 1, page.count
            else:
                number += 1
        raise MalformedAnswer(status=200)  # Whatever page is requested, the same rows come.

    def _list(self, path: str, shape: type[T], query: Query, per_page: int, tries: int | None = None) -> Page[T]:
        def read() -> Page[T]:
            answer = self._fetch(API + path, {**query, "per_page": per_page}, PAGE_SECONDS, tries)
            always_told = () if "simple" in query else getattr(shape, "always_told", ())
            return read_page(answer, shape, per_page=per_page, always_told=always_told)

        def wait(error: Exception, attempt: int) -> float | None:
            # A page of something in front of GitLab, or half a page: the next answer may be GitLab's again.
            is_odd = isinstance(error, MalformedAnswer) or (isinstance(error, NotGitLab) and error.status == 200)
            return backoff_seconds(attempt) if is_odd else None

        return retry_idempotent(read, wait, self._sleep, tries or self._tries)

    def _get(self, path: str, shape: type[T]) -> T:
        return read_answer(self._fetch(API + path, {}), shape)

    def _fetch(
        self, path: str, query: Query, seconds: float = PAGE_SECONDS, tries: int | None = None, **request: Any
    ) -> Answer:
        token = self._token if isinstance(self._token, Secret) or self._token is None else self._token.token()
        answer = self._send(path, query, seconds, token, tries, **request)
        # Another process's refresh ends tokens in use: once more with the current one, and only once (S43). GitLab may
        # not know its newest token yet; then the source checks it until GitLab does.
        for _ in range(RENEWALS):
            if answer.status != 401 or token is None or isinstance(self._token, Secret) or self._token is None:
                break
            is_certain = getattr(failure_of(answer), "reason", "") in OVER
            renewed = self._token.renew(token, is_certain=is_certain)
            if renewed is None:
                break
            is_same, token = renewed == token, renewed
            answer = self._send(path, query, seconds, token, tries, **request)
            if is_same:
                break
        return answer

    def _send(
        self,
        path: str,
        query: Query,
        seconds: float,
        token: Secret | None,
        tries: int | None,
        method: str = "GET",
        json: Any = None,
    ) -> Answer:
        source, headers = self._token, {}
        if token is not None:
            is_from_a_person = source is not None and not isinstance(source, Secret) and source.is_access_token
            name, scheme = (TOKEN_HEADER, "") if is_from_a_person else ("Authorization", "Bearer ")
            headers = {name: scheme + token.reveal()}

        def call() -> Answer:
            answer = self._http.fetch(method, path, query=query, headers=headers, json=json, deadline_seconds=seconds)
            if answer.status == 429 or answer.status >= 500:
                raise failure_of(answer)
            return answer

        def wait(error: Exception, attempt: int) -> float | None:
            # GitLab may have done what was asked although its answer was lost; a 429 comes before it does anything.
            is_safe = method != "POST" or isinstance(error, GitLabRateLimited)
            return self._wait_for(error, attempt) if is_safe else None

        return retry_idempotent(call, wait, self._sleep, tries or self._tries)

    def _wait_for(self, error: Exception, attempt: int) -> float | None:
        if isinstance(error, GitLabRateLimited):
            seconds = backoff_seconds(attempt, error.retry_after_seconds)
            return seconds if seconds <= MAX_WAIT_SECONDS else None
        # Only a pooled connection that had gone stale, and GitLab's own short failures, are worth a second try.
        passing = isinstance(error, GitLabUnavailable) or (
            isinstance(error, OutboundError) and error.code == "answer_broken"
        )
        return backoff_seconds(attempt) if passing else None


def _projects_query(*, min_access_level: int | None = None, simple: bool = False) -> dict[str, str | int]:
    query: dict[str, str | int] = {"membership": "true", "order_by": "id", "sort": "asc"}
    if min_access_level is not None:
        query["min_access_level"] = min_access_level
    return {**query, "simple": "true"} if simple else query


# An access token that a person made, and what it does with itself (api/personal_access_tokens).


def probe_access_token(
    http: HostSession, token: Secret, user_id: int, seconds: float = oauth.PROBE_SECONDS
) -> oauth.TokenVerdict:
    """Ask GitLab once, without retrying, whether an access token works.

    A fine-grained token may lack the permission to read itself: GitLab says so only to a token that works.

    Raises:
        GitLabError, OutboundError: no verdict.
    """
    answer = _send(http, "GET", SELF_PATH, token, seconds)
    try:
        found = read_answer(answer, TokenSelf).user_id
    except Unauthorized as error:
        known = {"revoked": oauth.TokenVerdict.REVOKED, "expired": oauth.TokenVerdict.EXPIRED}
        return known.get(error.reason, oauth.TokenVerdict.UNCLEAR)
    except InsufficientPermission:
        return oauth.TokenVerdict.ALIVE
    except (GitLabNotFound, UnexpectedStatus):
        return oauth.probe_token(http, token, user_id, seconds)  # Before 15.5.
    if user_id and found != user_id:
        raise MalformedAnswer(status=answer.status, request_id=request_id_of(answer))
    return oauth.TokenVerdict.ALIVE


def describe_access_token(http: HostSession, token: Secret) -> TokenInfo:
    """Return the owner and the scopes of an access token (15.5).

    Raises:
        GitLabError, OutboundError: no answer.
    """
    found = read_answer(_send(http, "GET", SELF_PATH, token, oauth.INFO_SECONDS), TokenSelf)
    return TokenInfo(found.user_id or 0, found.scopes or Scopes())


def rotate_access_token(http: HostSession, token: Secret, until: date) -> oauth.TokenAnswer:
    """Exchange an access token for its successor; GitLab revokes it at once (16.10).

    Never repeat it: if the first request was processed, the second makes GitLab revoke every token that came from this
    one (api/personal_access_tokens, "Automatic reuse detection").

    Raises:
        GitLabError, OutboundError: the token may be spent all the same.
    """
    body = {"expires_at": until.isoformat()}
    answer = _send(http, "POST", f"{SELF_PATH}/rotate", token, ROTATE_SECONDS, json=body, takes_any_encoding=True)
    if not 200 <= answer.status < 300:
        raise failure_of(answer)
    # The old token is dead, and this answer comes only once: nothing but the new token has to be readable.
    try:
        found = json.loads(oauth.decoded(answer.content))
    except (ValueError, RecursionError):
        found = None
    successor = oauth.token_in(found, "token") if isinstance(found, dict) else None
    if successor is None or successor == token:
        raise MalformedAnswer(status=answer.status, request_id=request_id_of(answer))
    scopes, ends_on = found.get("scopes"), str(found.get("expires_at"))
    is_list = isinstance(scopes, list) and all(isinstance(scope, str) for scope in scopes)
    try:
        ends_at = datetime.combine(date.fromisoformat(ends_on[:10]), time_of_day(), UTC)
    except ValueError:
        ends_at = None
    return oauth.TokenAnswer(successor, None, Scopes(scopes) if is_list else None, None, ends_at=ends_at)


def revoke_access_token(http: HostSession, token: Secret) -> None:
    """Have an access token revoke itself (15.0); one that GitLab no longer accepts is left as it is.

    Raises:
        GitLabError, OutboundError: it is not known to be revoked.
    """
    answer = _send(http, "DELETE", SELF_PATH, token, oauth.TOKEN_SECONDS)
    if answer.status not in {200, 202, 204, 401}:
        raise failure_of(answer)


def _send(http: HostSession, method: str, path: str, token: Secret, seconds: float, **details: Any) -> Answer:
    return http.fetch(
        method, API + path, headers={TOKEN_HEADER: token.reveal()}, deadline_seconds=seconds, is_held=False, **details
    )
