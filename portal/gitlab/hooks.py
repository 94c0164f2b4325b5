"""GitLab's webhooks: project hooks, group hooks (Premium) and system hooks (administrators), by version.

https://docs.gitlab.com/api/project_webhooks/, /api/group_webhooks/ and /api/system_hooks/. GitLab has no upsert,
accepts any number of equal hooks, never returns a secret, and forgets the secrets of a hook whose URL changes: whoever
creates looks first, and whoever changes sends everything again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

import msgspec

from portal.foreign import ShortText, Title, WebAddress, Words
from portal.gitlab.answers import (
    API,
    Id,
    Moment,
    UnexpectedStatus,
    failure_of,
    read_answer,
    read_page,
)
from portal.gitlab.client import PER_PAGE, GitLabClient
from portal.gitlab.identification import Version
from portal.net import Answer
from portal.redaction import register
from portal.vault import Secret

NAMES = Version(17, 1)
TESTS = Version(16, 11)
LOG = Version(17, 3)
RESEND = Version(17, 4)
SIGNATURES = Version(19, 0)
# GitLab answers 400 if more rows of a log are requested at once.
LOG_PER_PAGE = 20
# More pages than any project's limit of hooks.
MAX_PAGES = 50
# A test waits until the receiver has answered GitLab, which gives it ten seconds.
TEST_SECONDS = 30.0
# Every kind of event, by GitLab's field. What is not wanted is switched off by name: `push_events` is on by default.
EVENTS = (
    *("push_events", "tag_push_events", "merge_requests_events", "issues_events", "confidential_issues_events"),
    *("note_events", "confidential_note_events", "job_events", "pipeline_events", "wiki_page_events"),
    *("deployment_events", "feature_flag_events", "releases_events", "emoji_events", "milestone_events"),
    *("vulnerability_events", "resource_access_token_events"),
)
GROUP_EVENTS = ("subgroup_events", "member_events", "project_events")
SYSTEM_EVENTS = ("push_events", "tag_push_events", "merge_requests_events", "repository_update_events")


class Level(StrEnum):
    """What a hook belongs to; the value is GitLab's word."""

    PROJECT = "project"
    GROUP = "group"
    SYSTEM = "system"

    @property
    def events(self) -> tuple[str, ...]:
        """The fields with which its events are switched on and off."""
        more = {Level.PROJECT: EVENTS, Level.GROUP: EVENTS + GROUP_EVENTS, Level.SYSTEM: SYSTEM_EVENTS}
        return more[self]


@dataclass(frozen=True)
class Owner:
    """The project or group that hooks belong to; the whole instance has no id."""

    level: Level
    id: int | None = None

    @property
    def path(self) -> str:
        """Where its hooks are in the API."""
        return "/hooks" if self.level == Level.SYSTEM else f"/{self.level}s/{self.id}/hooks"


class Refusal(StrEnum):
    """Why GitLab does not accept a hook."""

    URL = "url"
    LIMIT = "limit"
    OTHER = "other"


class HookRefused(UnexpectedStatus):
    """GitLab's validation does not accept a hook; of a URL it only says that it is invalid, whatever the reason is."""

    code = "hook_refused"

    def __init__(self, *, status: int = 422, words: str = "", request_id: str = "") -> None:
        told = words.lower()
        known = {
            Refusal.URL: ("invalid url", "url is blocked", "is blocked: "),
            Refusal.LIMIT: ("maximum number",),
        }
        found = (reason for reason, parts in known.items() if any(part in told for part in parts))
        self.reason = next(found, Refusal.OTHER)
        super().__init__(status=status, words=words, request_id=request_id, case=str(self.reason))


class TestFailed(UnexpectedStatus):
    """GitLab could not send a test; its words say why: no commit, Silent Mode, or what its request met."""

    __test__ = False  # For pytest, which collects classes by name.
    code = "hook_test_failed"

    def __init__(self, *, status: int = 422, words: str = "", request_id: str = "") -> None:
        told = words.lower()
        cases = {"silent mode": "silent_mode", "at least one": "no_data", "rate limit": "too_many"}
        case = next((case for part, case in cases.items() if part in told), "")
        super().__init__(status=status, words=words, request_id=request_id, **({"case": case} if case else {}))


class Hook(msgspec.Struct, frozen=True):
    """One of `GET …/hooks`. None: this version does not have the field, or this kind of hook does not."""

    always_told: ClassVar[tuple[str, ...]] = ("url",)

    id: Id
    url: WebAddress | None = None
    name: Title | None = None
    description: Title | None = None
    created_at: Moment | None = None
    enable_ssl_verification: bool | None = None
    push_events_branch_filter: Title | None = None
    # `executable`, `temporarily_disabled` or `disabled` (since 15.0).
    alert_status: ShortText | None = None
    disabled_until: Moment | None = None
    token_present: bool | None = None
    signing_token_present: bool | None = None
    push_events: bool | None = None
    tag_push_events: bool | None = None
    merge_requests_events: bool | None = None
    repository_update_events: bool | None = None
    issues_events: bool | None = None
    confidential_issues_events: bool | None = None
    note_events: bool | None = None
    confidential_note_events: bool | None = None
    job_events: bool | None = None
    pipeline_events: bool | None = None
    wiki_page_events: bool | None = None
    deployment_events: bool | None = None
    feature_flag_events: bool | None = None
    releases_events: bool | None = None
    emoji_events: bool | None = None
    milestone_events: bool | None = None
    vulnerability_events: bool | None = None
    resource_access_token_events: bool | None = None
    subgroup_events: bool | None = None
    member_events: bool | None = None
    project_events: bool | None = None

    def switched(self, names: tuple[str, ...]) -> dict[str, bool]:
        """Return which of these events are on, as far as GitLab says."""
        told = {name: getattr(self, name) for name in names}
        return {name: is_on for name, is_on in told.items() if is_on is not None}


@dataclass(frozen=True)
class Hooks:
    """The hooks of one owner; if the list is not whole, what is missing from it may be there all the same."""

    found: list[Hook]
    is_whole: bool


class SentHeaders(msgspec.Struct, frozen=True):
    """The headers of a logged delivery that say which one it is."""

    key: ShortText = msgspec.field(default=ShortText(), name="Idempotency-Key")


class LoggedDelivery(msgspec.Struct, frozen=True):
    """One of `GET …/hooks/:id/events` (17.3): a delivery as GitLab saw it; kept for seven days."""

    always_told: ClassVar[tuple[str, ...]] = ()

    id: Id
    url: WebAddress | None = None
    trigger: ShortText = ShortText()
    request_headers: SentHeaders | None = None
    response_body: Words = Words()
    execution_duration: float | None = None
    # A number as text, or `internal error` if GitLab could not send it.
    response_status: ShortText = ShortText()

    @property
    def key(self) -> str:
        """Its `Idempotency-Key`; empty before 17.4."""
        return self.request_headers.key if self.request_headers else ""


@dataclass(frozen=True)
class Wanted:
    """Everything a hook should have; all of it is sent with every change."""

    url: str
    events: frozenset[str]
    token: Secret | None
    signing_token: Secret | None = None
    name: str = ""
    description: str = ""

    def body(self, level: Level) -> dict[str, Any]:
        """Return it as GitLab reads it; versions ignore what they do not know."""
        told: dict[str, Any] = {
            "url": self.url,
            "name": self.name,
            "description": self.description,
            "enable_ssl_verification": True,
            "token": self.token.reveal() if self.token else "",
            **{name: name in self.events for name in level.events},
        }
        if self.signing_token is not None:
            told["signing_token"] = self.signing_token.reveal()
        if level != Level.SYSTEM:
            told["push_events_branch_filter"] = ""
        for name in ("token", "signing_token"):
            register(told.get(name, ""))
        return told


class HookClient(GitLabClient):
    """Reads and changes the hooks of one GitLab as one user."""

    def hooks(self, owner: Owner) -> Hooks:
        """Return the hooks of an owner.

        Raises:
            ForbiddenByRole: the user's role is too low. GitLabNotFound: the owner is gone or hidden, or this GitLab has
                no group hooks.
        """
        found: dict[int, Hook] = {}
        seen: set[int] = set()
        is_whole = True
        for number in range(1, MAX_PAGES + 1):
            query = {"page": number, "per_page": PER_PAGE}
            page = read_page(self._fetch(API + owner.path, query), Hook, per_page=PER_PAGE)
            is_new = not seen.issuperset(page.ids)
            found |= {hook.id: hook for hook in page.items}
            seen.update(page.ids)
            is_whole = is_whole and not page.unnamed and not any(defect.is_left_out for defect in page.defects)
            if page.is_short and (page.total is None or len(seen) >= page.total):
                return Hooks(list(found.values()), is_whole)
            if not is_new:
                break
        return Hooks(list(found.values()), is_whole=False)

    def create_hook(self, owner: Owner, wanted: Wanted) -> Hook:
        """Create a hook; look for an equal one first.

        Raises:
            HookRefused: GitLab does not accept it.
        """
        return self._change("POST", owner.path, wanted.body(owner.level))

    def update_hook(self, owner: Owner, hook_id: int, wanted: Wanted) -> Hook:
        """Give a hook everything it should have.

        Raises:
            HookRefused: GitLab does not accept it. GitLabNotFound: it is gone.
        """
        return self._change("PUT", f"{owner.path}/{hook_id}", wanted.body(owner.level))

    def delete_hook(self, owner: Owner, hook_id: int) -> bool:
        """Remove a hook; return whether there was one. GitLab may remove one with a long log a moment later."""
        answer = self._fetch(f"{API}{owner.path}/{hook_id}", {}, method="DELETE")
        if answer.status == 404:
            return False
        if answer.status not in {200, 202, 204}:
            raise failure_of(answer)
        return True

    def test_hook(self, owner: Owner, hook_id: int, trigger: str = "push_events") -> None:
        """Have GitLab's web server send a delivery now (16.11; of system hooks always, with a made-up body).

        Raises:
            TestFailed: it could not, or the receiver did not accept it. GitLabRateLimited: five tests a minute are
                allowed. GitLabNotFound: this version cannot, or the hook is gone.
        """
        path = f"{API}{owner.path}/{hook_id}" + ("" if owner.level == Level.SYSTEM else f"/test/{trigger}")
        answer = self._fetch(path, {}, TEST_SECONDS, 1, method="POST", json={})
        if answer.status in {400, 422}:
            raise _typed(TestFailed, answer)
        if answer.status not in {200, 201}:
            raise failure_of(answer)

    def hook_log(self, owner: Owner, hook_id: int, *, page: int = 1, status: str = "") -> list[LoggedDelivery]:
        """Return deliveries of the last seven days as GitLab saw them, the newest first (17.3).

        Args:
            owner: of the hook.
            hook_id: GitLab's.
            page: of twenty rows each.
            status: a number, or `successful`, `client_failure` or `server_failure`.

        Raises:
            GitLabNotFound: this version has no log, or the hook is gone.
        """
        query: dict[str, str | int] = {"page": page, "per_page": LOG_PER_PAGE, **({"status": status} if status else {})}
        answer = self._fetch(f"{API}{owner.path}/{hook_id}/events", query)
        return read_page(answer, LoggedDelivery, per_page=LOG_PER_PAGE).items

    def resend(self, owner: Owner, hook_id: int, delivery_id: int) -> str:
        """Have GitLab send a delivery again (17.4); return the status that the receiver answered with.

        Raises:
            TestFailed: it cannot; the hook's URL may have changed since. GitLabRateLimited: five a minute are allowed.
        """
        path = f"{API}{owner.path}/{hook_id}/events/{delivery_id}/resend"
        answer = self._fetch(path, {}, TEST_SECONDS, 1, method="POST", json={})
        if answer.status in {400, 422}:
            raise _typed(TestFailed, answer)
        return str(read_answer(answer, _Resent, ok=(200, 201)).response_status)

    def _change(self, method: str, path: str, body: dict[str, Any]) -> Hook:
        answer = self._fetch(API + path, {}, method=method, json=body)
        # Before 11.0 a hook that GitLab does not accept is "not found".
        if answer.status in {400, 422} or (answer.status == 404 and b"url is blocked" in answer.content.lower()):
            raise _typed(HookRefused, answer)
        return read_answer(answer, Hook, ok=(200, 201))


class _Resent(msgspec.Struct, frozen=True):
    response_status: int


def _typed(kind: type[HookRefused | TestFailed], answer: Answer) -> HookRefused | TestFailed:
    told = failure_of(answer)
    return kind(status=answer.status, words=told.words, request_id=told.request_id)
