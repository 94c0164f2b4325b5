"""Why a repository is not in the list: the reasons in order, from what is stored and from GitLab's own answers.

GitLab answers 404 for "no right" and for "not there" alike (docs.gitlab.com/api/rest), so an answer says only what is
known, and from where. A team lead learns nothing about repositories outside their own groups: not even GitLab is asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlmodel import Session, col, func, select

from portal.accounts.models import GroupGrant
from portal.actor import Principal, Role
from portal.connections.limits import LOOKUPS, count_try
from portal.connections.models import Connection, ConnectionState
from portal.connections.store import open_host_session
from portal.credentials import AccessSource, AccessUnavailable
from portal.db import read_id
from portal.errors import InvalidInput, NotFound
from portal.foreign import Path
from portal.gitlab import links
from portal.gitlab.answers import GitLabError, GitLabNotFound, Project
from portal.gitlab.client import GitLabClient
from portal.net import AddressRefused, OutboundError, parse_address
from portal.repositories import rules
from portal.repositories.availability import EXPLANATIONS, REPORTER, role_name
from portal.repositories.catalogue.findings import FAILS
from portal.repositories.catalogue.rows import repository_row
from portal.repositories.catalogue.run import latest_run
from portal.repositories.models import Enablement, GitLabGroup, Reason, Repository, visible_to
from portal.repositories.selection import as_searched, escape_like, latest_read
from portal.runtime import Runtime
from portal.web.times import day

MAX_TYPED = 2000
_SSH = re.compile(r"^(?:ssh://)?[\w.-]+@(?P<host>[\w.-]+)(?::\d+/|[:/])(?P<path>.+)$")
_API = re.compile(r"^api/v4/projects/([^/]+)")
# A project has at least one namespace above it (docs.gitlab.com/user/reserved_names).
_PATH = re.compile(r"^(?!-)(?!\.{1,2}/)[\w.-]+(/(?!-)(?!\.{1,2}(/|$))[\w.-]+)+$", re.ASCII)


class Verdict(StrEnum):
    """How one question was answered; the value is the class of its line."""

    PASSED = "pass"
    STOPPED = "stop"
    OPEN = "next"


@dataclass(frozen=True)
class Question:
    """One reason that was looked into, worded as what should hold."""

    statement: str
    verdict: Verdict
    note: str = ""


QUESTIONS = {
    "address": "The address belongs to this GitLab",
    "connection": "The connection works",
    "shown": "GitLab shows it to {user}",
    "member": "{user} is a member",
    "role": "Its role is Reporter or higher",
    "usable": "It is not archived, empty or SHA-256",
    "listed": "It is in the list",
    "rules": "The rules allow it",
}


@dataclass
class Answer:
    """What is known about one repository.

    Attributes:
        title: the cause, in one sentence.
        is_here: the repository is in the list and can be used, so nothing is wrong.
        ask: who can do something, followed by `task`; empty if no one needs to.
        message: a text for that person, to copy.
        link: label and address of the page where it is done, in GitLab.
        shown_as: the path under which the list has it; empty if it does not.
        may_read: reading GitLab again would help.
        calls: how many requests were sent to GitLab.
    """

    title: str = ""
    explanation: str = ""
    is_here: bool = False
    ask: str = ""
    task: str = ""
    message: str = ""
    link: tuple[str, str] | None = None
    shown_as: str = ""
    may_read: bool = False
    calls: int = 0
    questions: list[Question] = field(default_factory=list)


@dataclass(frozen=True)
class Reference:
    """What someone typed: an id or a path, and the host if it was an address."""

    project_id: int | None = None
    path: str = ""
    address: str = ""

    @property
    def name(self) -> str:
        """How a sentence calls it."""
        return self.path or f"the project with the ID {self.project_id}"


def find_missing(runtime: Runtime, principal: Principal, connection: Connection, typed: str) -> Answer:
    """Say why a repository is not in the list of a connection, or that it is.

    Raises:
        InvalidInput: that names no repository.
        RateLimited: the organization asked too often in the last minute.
    """
    reference = read_reference(typed, connection)
    with runtime.database.transaction() as session:
        count_try(session, principal, LOOKUPS)
        row = _stored(session, principal, connection, reference)
        granted = _granted_paths(session, principal, connection)
        search = _Search(runtime, principal, connection, reference, row, granted)
        if row is not None:
            search.is_enabled = (
                session.exec(select(Enablement).where(Enablement.repository_id == row.id)).first() is not None
            )
        run = latest_run(session, connection.id or 0)
        search.defects = run.defects if run else []
        job = latest_read(session, connection)
        search.is_reading = job is not None and not job.is_finished
    search.walk()
    return search.answer


def read_reference(typed: str, connection: Connection) -> Reference:
    """Read a path, a project's id, the address of any of its pages, or what `git clone` takes.

    Raises:
        InvalidInput: it names no project.
    """
    text = as_searched(typed[:MAX_TYPED])
    if project_id := read_id(text):
        return Reference(project_id=project_id)
    address, path = "", text
    if ssh := _SSH.match(text):
        # The port and even the host of git over SSH may be others than those of the pages: only the path counts.
        path = ssh["path"]
    elif "://" in text:
        parts = urlsplit(text)
        address, path = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", parts.path
        own = next((base for base in (connection.external_url, connection.api_url) if _same_host(base, address)), "")
        if own:
            address = own
            path = path.removeprefix(urlsplit(own).path)
    if api := _API.match(path.strip("/")):
        inner = read_reference(unquote(api[1]), connection)
        return Reference(inner.project_id, inner.path, address)
    path = unquote(path).partition("/-/")[0].strip("/").removesuffix(".git")
    if not _PATH.match(path):
        sentence = (
            "Enter a project's path with its group, such as web/points, the address of one of its pages, or its ID."
        )
        raise InvalidInput(field_errors={"which": sentence})
    return Reference(path=Path(path), address=address)


def _same_host(one: str, other: str) -> bool:
    try:
        return parse_address(one, allow_http=True).host == parse_address(other, allow_http=True).host
    except AddressRefused:
        return False


def _stored(session: Session, principal: Principal, connection: Connection, reference: Reference) -> Repository | None:
    """Return what the last reads know of it, if this person may see it. GitLab's paths differ by more than case."""
    statement = (
        select(Repository)
        .join(Connection, col(Connection.id) == col(Repository.connection_id))
        .where(visible_to(principal), Repository.connection_id == connection.id)
    )
    if reference.project_id is not None:
        return session.exec(statement.where(Repository.gitlab_project_id == reference.project_id)).first()
    path = reference.path.lower()
    begins_so = col(Repository.search_text).like(escape_like(path) + " %", escape="\\")
    same = func.lower(Repository.path_with_namespace) == path
    # A re-created project may have the path of one that is gone.
    return session.exec(statement.where(begins_so, same).order_by(col(Repository.missing_since).is_not(None))).first()


def _granted_paths(session: Session, principal: Principal, connection: Connection) -> list[str] | None:
    """Return the paths of the groups that a team lead works in; None for everyone else."""
    if principal.role != Role.TEAM_LEAD:
        return None
    joined = (col(GroupGrant.gitlab_group_id) == col(GitLabGroup.gitlab_group_id)) & (
        col(GroupGrant.connection_id) == col(GitLabGroup.connection_id)
    )
    statement = select(GitLabGroup.full_path).join(GroupGrant, joined)
    mine = (GroupGrant.membership_id == principal.membership_id, GitLabGroup.connection_id == connection.id)
    return list(session.exec(statement.where(*mine)))


@dataclass
class _Search:
    """One walk through the questions; it stops at the first that is answered with no."""

    runtime: Runtime
    principal: Principal
    connection: Connection
    reference: Reference
    row: Repository | None
    granted: list[str] | None
    is_enabled: bool = False
    is_reading: bool = False
    defects: list[dict[str, Any]] = field(default_factory=list)
    answer: Answer = field(default_factory=Answer)
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def user(self) -> str:
        return f"@{self.connection.service_username}" if self.connection.service_username else "the service user"

    def walk(self) -> None:
        """Ask question after question, and word the first that stops it."""
        stopped = self._find_stop()
        reached = True
        for key, statement in QUESTIONS.items():
            if key == "address" and not self.reference.address:
                continue
            verdict = Verdict.STOPPED if key == stopped else Verdict.PASSED if reached else Verdict.OPEN
            reached = reached and key != stopped
            self.answer.questions.append(Question(statement.format(user=self.user), verdict, self.notes.get(key, "")))

    def _find_stop(self) -> str:
        answer, connection, reference = self.answer, self.connection, self.reference
        if reference.address and reference.address not in {connection.external_url, connection.api_url}:
            host = urlsplit(reference.address).netloc
            answer.title = f"{host} is not the GitLab of this connection"
            answer.explanation = f"{connection.display_name} reads {urlsplit(connection.external_url).netloc}."
            answer.ask, answer.task = "Choose the connection of that GitLab", "if there is one, or connect it first."
            self.notes["address"] = f"No: this is {urlsplit(connection.external_url).netloc}"
            return "address"
        self.notes["address"] = urlsplit(connection.external_url).netloc
        if self.granted is not None and self.row is None and not self._is_granted(reference.path):
            answer.title = "It is not in your groups"
            answer.explanation = (
                f"You see what is in {', '.join(self.granted) or 'no group yet'}. "
                "Gatehouse doesn't tell you what is in others."
            )
            answer.ask, answer.task = "Ask an administrator of Gatehouse", "to give you access to its group."
            answer.message = f"Could you give me access to the group of {reference.name} in Gatehouse?"
            self.notes["listed"] = "only your groups are searched"
            return "listed"
        if connection.state == ConnectionState.DISCONNECTED:
            answer.title = f"{connection.display_name} is disconnected"
            answer.explanation = EXPLANATIONS[Reason.DISCONNECTED].sentence
            answer.ask, answer.task = "An administrator of Gatehouse", "can connect it again on its page."
            self.notes["connection"] = "No: disconnected"
            return "connection"
        try:
            with open_host_session(self.runtime, connection) as http:
                client = GitLabClient(
                    http, AccessSource(self.runtime, connection.id or 0, "search for a repository"), tries=1
                )
                return self._ask_gitlab(client)
        except (AccessUnavailable, GitLabError, OutboundError) as error:
            card = error.card if isinstance(error, AccessUnavailable) else error.card()
            answer.title, answer.explanation = "GitLab could not be asked", card.sentence
            answer.ask, answer.task = (
                "An administrator of Gatehouse",
                "can find the cause on the connection's Health page.",
            )
            self.notes["connection"] = f"No: {card.code}"
            return "connection"

    def _is_granted(self, path: str) -> bool:
        lower = path.lower()
        return any(lower.startswith(f"{group.lower()}/") for group in self.granted or ())

    def _ask_gitlab(self, client: GitLabClient) -> str:
        answer, row = self.answer, self.row
        # Its id is its identity: a path leads to whatever is there now.
        known_id = row.gitlab_project_id if row is not None else self.reference.project_id
        self.notes["connection"] = "GitLab answers"
        answer.calls += 1
        try:
            project = client.project(known_id if known_id is not None else self.reference.path)
        except GitLabNotFound:
            return self._explain_hidden(client)
        path = project.path_with_namespace
        if self.granted is not None and not self._is_granted(path):
            answer.title = "It is no longer in your groups"
            answer.explanation = "It moved in GitLab. Gatehouse doesn't tell you where."
            answer.ask, answer.task = (
                "Ask an administrator of Gatehouse",
                "to give you access to the group it is in now.",
            )
            return "shown"
        if row is None:  # Known under another path, or not at all.
            with self.runtime.database.reading() as session:
                self.row = _stored(session, self.principal, self.connection, Reference(project_id=project.id))
        is_moved = self.reference.path and path.lower() != self.reference.path.lower()
        self.notes["shown"] = f"now at {path}, ID {project.id}" if is_moved else f"as {path}, ID {project.id}"
        level = self._find_role(client, project)
        if level is None:
            answer.title = f"{self.user} is not a member of {path}"
            answer.explanation = (
                "GitLab shows it because it is public or internal. Gatehouse lists only what the service "
                "user is a member of."
            )
            self._ask_for_membership(path)
            self.notes["member"] = "No: it is missing from GitLab's list of the user's own projects"
            return "member"
        self.notes["member"] = "it is in GitLab's list of the user's own projects"
        self.notes["role"] = role_name(level)
        if level < REPORTER:
            answer.title = f"The role of {self.user} in {path} is too low"
            answer.explanation = f"It is {role_name(level)}. " + EXPLANATIONS[Reason.ROLE_TOO_LOW].sentence
            self._ask_for_membership(path)
            return "role"
        values = repository_row(self.connection.id or 0, project, level, set()).values
        if values["unavailable_reason"]:
            explanation = EXPLANATIONS[Reason(values["unavailable_reason"])]
            answer.title = f"{path} can't be enabled: {explanation.label[0].lower()}{explanation.label[1:]}"
            answer.explanation = explanation.sentence
            answer.ask, answer.task = f"Ask a maintainer of {path}.", explanation.remedy
            answer.link = ("The project in GitLab", f"{self.connection.external_url}/{path}")
            answer.shown_as = self.row.path_with_namespace if self.row and self.row.missing_since is None else ""
            self.notes["usable"] = f"No: {explanation.label}"
            return "usable"
        return self._compare_with_list(project)

    def _find_role(self, client: GitLabClient, project: Project) -> int | None:
        """Return the role as the catalogue would find it; None without membership."""
        self.answer.calls += 1
        only = partial(client.projects_page, id_after=project.id - 1, id_before=project.id + 1, per_page=1)
        if project.id not in only().ids:
            # Before 12.6 GitLab ignores both bounds; then the project's own words have to do.
            return project.access_level
        if project.access_level is not None:
            return project.access_level
        # Invited groups count, and are not in the project's own words.
        self.answer.calls += 1
        is_reporter = project.id in only(min_access_level=REPORTER).ids
        return REPORTER if is_reporter else 0

    def _ask_for_membership(self, path: str) -> None:
        base = self.connection.external_url
        page = links.project_members(base, path)
        self.answer.ask, self.answer.task = f"Ask a maintainer of {path}", f"to add {self.user} as Reporter."
        self.answer.message = (
            f"Could you add {self.user} to {path} as Reporter? Gatehouse can't read the project otherwise. {page}"
        )
        self.answer.link = (f"Members of {path}", page)

    def _compare_with_list(self, project: Project) -> str:
        answer, row, path = self.answer, self.row, project.path_with_namespace
        if row is not None and row.missing_since is None:
            answer.shown_as = row.path_with_namespace
            if row.unavailable_reason:
                answer.title = f"{path} is fine in GitLab now, but still marked in the list"
                label = EXPLANATIONS[Reason(row.unavailable_reason)].label
                answer.explanation = f"The last read found: {label.lower()}. The next one will pick up the change."
                answer.may_read = True
                self.notes["listed"] = f"as {row.path_with_namespace}, {label.lower()}"
                return "listed"
            answer.is_here = True
            answer.title = f"{row.path_with_namespace} is in the list" + (", and enabled" if self.is_enabled else "")
            answer.explanation = "Nothing is wrong with it." if self.is_enabled else "It can be enabled."
            if path != row.path_with_namespace:
                answer.explanation += f" In GitLab it is called {path} now; the next read will pick that up."
            self.notes["listed"] = f"as {row.path_with_namespace}"
            return self._find_rule(row)
        if self.is_reading:
            answer.title = "GitLab is being read right now"
            answer.explanation = f"{path} appears in the list when its turn comes."
            self.notes["listed"] = "not yet"
            return "listed"
        bad = next(
            (item for item in self.defects if str(project.id) in item.get("rows", ()) and item.get("left_out")), None
        )
        if bad:
            answer.title = f"GitLab's list has an entry for {path} that can't be read"
            what = "GitLab answers with an error" if bad["field"] == FAILS else f"its field {bad['field']} is not valid"
            answer.explanation = f"In the list of all projects {what}, so the last read left it out."
            answer.ask, answer.task = (
                "Ask the GitLab administrator",
                f"to look at the project with the ID {project.id}.",
            )
            self.notes["listed"] = "No: left out of the last read"
            return "listed"
        answer.title = f"{path} has not been read yet"
        at = self.connection.last_read_at
        answer.explanation = (
            f"The last complete read ended on {day(at)}." if at else "There has been no complete read yet."
        )
        if row is not None:
            answer.explanation += " It was gone then, and has come back."
        answer.may_read = True
        self.notes["listed"] = "No: nothing stands in its way"
        return "listed"

    def _find_rule(self, row: Repository) -> str:
        with self.runtime.database.reading() as session:
            decided = rules.rule_for(session, row)
        if decided is None:
            return ""
        number, rule = decided
        self.notes["rules"] = f"rule {number} {'enables' if rule.action == rules.Action.ENABLE else 'excludes'} it"
        if rule.action == rules.Action.ENABLE or self.is_enabled:
            return ""
        answer = self.answer
        answer.is_here = False
        answer.explanation = f"Rule {number} excludes it ({rule.pattern}), so only a person can enable it."
        return "rules"

    def _explain_hidden(self, client: GitLabClient) -> str:
        answer, row = self.answer, self.row
        self.notes["shown"] = "No: GitLab answers 404, for “no right” and “not there” alike"
        path = row.path_with_namespace if row is not None else self.reference.path
        if not path:
            answer.title = f"GitLab shows {self.user} no project with the ID {self.reference.project_id}"
            answer.explanation = (
                "There is none, or the user is not a member of it: GitLab gives the same answer in both cases."
            )
            answer.ask, answer.task = "Enter its path", "to find out more."
            return "shown"
        group = path.rpartition("/")[0]
        answer.calls += 1
        try:
            client.group(group)
            sees_group = True
        except GitLabNotFound:
            sees_group = False
        if row is not None:
            since = row.missing_since
            answer.title = f"GitLab no longer shows {path} to {self.user}"
            answer.explanation = (
                (f"It was in the list until {day(since)}. " if since else "It is in the list from the last read. ")
                + "Since then it has been deleted, or the user has lost its membership: "
                "GitLab gives the same answer in both cases."
            )
        elif sees_group:
            answer.title = f"GitLab shows {self.user} the group {group}, but no such project in it"
            answer.explanation = (
                "There is none, or only its own members can see it: GitLab gives the same answer in both cases."
            )
        else:
            answer.title = f"GitLab shows {self.user} neither {path} nor anything above it"
            answer.explanation = f"The user is not a member of {group}, or there is no such group or project."
        base = self.connection.external_url
        page = links.group_members(base, group)
        answer.ask, answer.task = (
            f"Ask an owner of {group}",
            f"whether it exists and, if so, to add {self.user} as Reporter.",
        )
        answer.message = (
            f"Does {path} still exist? If so, could you add {self.user} to {group} as Reporter? Gatehouse can't read "
            f"the project otherwise. {page}"
        )
        answer.link = (f"Members of {group}", page)
        return "shown"


def choose_connection(
    session: Session, principal: Principal, slug: str, typed: str
) -> tuple[list[Connection], Connection | None]:
    """Return the connections to choose from, and the one that is meant: by its slug, by the address, or the only one.

    Raises:
        NotFound: there is none with that slug here.
    """
    mine = (Connection.organization_id == principal.organization_id, col(Connection.authorized_at).is_not(None))
    found = list(session.exec(select(Connection).where(*mine).order_by(Connection.display_name)))
    if slug:
        chosen = next((item for item in found if item.slug == slug), None)
        if chosen is None:
            raise NotFound
        return found, chosen
    if len(found) == 1:
        return found, found[0]
    if "://" in typed:
        parts = urlsplit(as_searched(typed[:MAX_TYPED]))
        base = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        same = [item for item in found if _same_host(item.external_url, base) or _same_host(item.api_url, base)]
        return found, same[0] if len(same) == 1 else None
    return found, None
