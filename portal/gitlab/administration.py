"""Calls with a token that is used once: create applications, users and group memberships, revoke the token itself.

https://docs.gitlab.com/api/applications/, /api/user_applications/, /api/users/, /api/group_members/ and
/api/personal_access_tokens/. Nothing is sent twice: a change whose answer is lost may have been made, so the caller
looks before it tries again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from portal.gitlab.answers import (
    API,
    Application,
    GitLabError,
    GitLabNotFound,
    GitLabUnavailable,
    Group,
    MalformedAnswer,
    Member,
    Metadata,
    NotGitLab,
    User,
    failure_of,
    read_answer,
    read_page,
    request_id_of,
)
from portal.net import Answer, HostSession, OutboundError
from portal.net.json_reader import JSONRefused, read_json
from portal.vault import Secret

SECONDS = 30.0
PER_PAGE = 100
MAX_PAGES = 50
INSTANCE_APPLICATIONS = "/applications"
OWN_APPLICATIONS = "/user/applications"


@dataclass(frozen=True)
class Call:
    """One request, as people read it; the status is 0 if no answer came, or if `verdict` says what the answer meant."""

    method: str
    path: str
    status: int
    seconds: float
    verdict: str = ""


def may_have_acted(error: GitLabError | OutboundError) -> bool:
    """Return whether GitLab may have done what was asked although this came back."""
    if isinstance(error, OutboundError):
        return error.may_have_been_processed
    return isinstance(error, (GitLabUnavailable, MalformedAnswer, NotGitLab))


@dataclass
class OneTimeClient:
    """Acts as the owner of a personal access token, and remembers which calls it made."""

    http: HostSession
    token: Secret
    calls: list[Call] = field(default_factory=list)

    def current_user(self) -> User:
        """Return whose token it is."""
        return read_answer(self._call("GET", "/user"), User)

    def metadata(self) -> Metadata:
        """Return version and edition."""
        try:
            return read_answer(self._call("GET", "/metadata"), Metadata)
        except GitLabNotFound:
            return read_answer(self._call("GET", "/version"), Metadata)

    def applications(self, path: str) -> Iterator[Application]:
        """Yield the applications of the instance, or the caller's own; their Secrets are not among what GitLab says."""
        seen: set[int] = set()
        for number in range(1, MAX_PAGES + 1):
            query = {"page": number, "per_page": PER_PAGE}
            page = read_page(self._call("GET", path, query=query), Application, per_page=PER_PAGE)
            # Versions without pagination here send the same list again.
            fresh = [item for item in page.items if item.id not in seen]
            yield from fresh
            seen.update(page.ids)
            if not fresh or page.is_short:
                return

    def create_application(self, path: str, values: dict[str, Any]) -> tuple[Application, Secret]:
        """Create one; this answer is the only one with its Secret.

        Raises:
            MalformedAnswer: it was created, but the Secret cannot be read.
        """
        return self._with_secret(self._call("POST", path, values))

    def renew_secret(self, application_id: int) -> tuple[Application, Secret]:
        """Give an instance-wide application a new Secret; the old one ends at once.

        Raises:
            GitLabNotFound: this version cannot, or there is no such application.
        """
        path = f"{INSTANCE_APPLICATIONS}/{application_id}/renew-secret"
        return self._with_secret(self._call("POST", path, shown=f"{INSTANCE_APPLICATIONS}/:id/renew-secret"))

    def create_user(self, values: dict[str, Any]) -> User:
        """Create a user."""
        return read_answer(self._call("POST", "/users", values), User, ok=(200, 201))

    def find_user(self, username: str) -> User | None:
        """Return the user of that name."""
        page = read_page(self._call("GET", "/users", query={"username": username}), User, per_page=PER_PAGE)
        return next((user for user in page.items if user.username.lower() == username.lower()), None)

    def top_level_groups(self) -> tuple[list[Group], bool]:
        """Return the first hundred groups without a parent that the caller sees, and whether there are more."""
        query = {"top_level_only": "true", "all_available": "true", "per_page": PER_PAGE}
        page = read_page(self._call("GET", "/groups", query=query), Group, per_page=PER_PAGE)
        # Older versions do not know `top_level_only`.
        return [group for group in page.items if group.parent_id is None], not page.is_short

    def group(self, full_path: str) -> Group:
        """Return a group by its full path."""
        path, query = f"/groups/{quote(full_path, safe='')}", {"with_projects": "false"}
        return read_answer(self._call("GET", path, query=query, shown="/groups/:id"), Group)

    def add_member(self, group_id: int, user_id: int, access_level: int) -> Member:
        """Give a user a role in a group."""
        values = {"user_id": user_id, "access_level": access_level}
        answer = self._call("POST", f"/groups/{group_id}/members", values, shown="/groups/:id/members")
        return read_answer(answer, Member, ok=(200, 201))

    def member(self, group_id: int, user_id: int) -> Member | None:
        """Return a user's role in a group, inherited ones included (12.4); None if there is none."""
        for part in ("members/all", "members"):
            path, shown = f"/groups/{group_id}/{part}/{user_id}", f"/groups/:id/{part}/:user_id"
            try:
                return read_answer(self._call("GET", path, shown=shown), Member)
            except GitLabNotFound:
                continue
        return None

    def revoke_self(self) -> None:
        """Revoke the token (15.0).

        Raises:
            GitLabNotFound: this version cannot.
        """
        answer = self._call("DELETE", "/personal_access_tokens/self")
        if answer.status != 204:
            raise failure_of(answer)

    def _call(
        self, method: str, path: str, values: dict[str, Any] | None = None, *, query: Any = None, shown: str = ""
    ) -> Answer:
        started, status = time.monotonic(), 0
        # Every version takes a personal token in this header; as `Authorization` only since 12.2.
        headers = {"PRIVATE-TOKEN": self.token.reveal()}
        try:
            answer = self.http.fetch(
                method, API + path, query=query, headers=headers, json=values, deadline_seconds=SECONDS
            )
            status = answer.status
        finally:
            self.calls.append(Call(method, shown or path, status, time.monotonic() - started))
        if status not in {200, 201, 204}:
            raise failure_of(answer)
        return answer

    def _with_secret(self, answer: Answer) -> tuple[Application, Secret]:
        application = read_answer(answer, Application, ok=(200, 201))
        try:
            body = read_json(answer.content, answer.headers.get("content-type", ""), dict[str, Any])
        except JSONRefused:
            body = {}
        text = body.get("secret")
        if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable() or " " in text:
            raise MalformedAnswer(status=answer.status, request_id=request_id_of(answer))
        return application, Secret(text)
