"""Generated requests for repositories by people who may not see all of them, with ids and paths of the others."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import urlencode

from flask import Flask
from sqlmodel import col, select

from portal.accounts.models import GroupGrant
from portal.actor import Role
from portal.connections import limits
from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.models import BulkItem, Enablement, GitLabGroup, Repository, RepositoryRequest
from portal.repositories.selection import ActivityFilter, RoleFilter, StateFilter, VisibilityFilter
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.connected import connect
from tests.support.people import Cast, add_actor
from tests.support.visitor import Visitor

SORTS = ("", "activity", "-activity", "role", "-role", "enabled", "-enabled", "-path", "nonsense")
TAGS = re.compile(r"<[^>]+>")


@dataclass
class Found:
    """What the answers showed.

    Attributes:
        foreign: each request whose answer names a repository that its sender may not see.
        failed: each request that was answered with 5xx.
        own: how often answers named a repository that its sender may see.
        statuses: how many answers had each.
    """

    foreign: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    own: int = 0
    statuses: Counter[int] = field(default_factory=Counter)


class ForeignRequests:
    """Two leads of different groups, an auditor who may change nothing, and an owner of another organization."""

    def __init__(self, app: Flask, runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> None:
        self._runtime = runtime
        connection_id = connect(runtime, sandbox, cast.owner)
        read_catalogue(runtime, connection_id, "job", lambda *_: None)
        other = add_actor(runtime, 1, "Lou Lead", Role.TEAM_LEAD)
        granted = {"data": cast.lead, "web": other}
        with runtime.database.transaction() as session:
            for path, actor in granted.items():
                group = session.exec(select(GitLabGroup).where(GitLabGroup.full_path == path)).one()
                names = {"connection_id": connection_id, "granted_by_user_id": cast.owner.user_id}
                membership = {"membership_id": actor.membership_id, "gitlab_group_id": group.gitlab_group_id}
                session.add(GroupGrant(**names, **membership))
            rows = list(session.exec(select(Repository)))
            self._groups = list(session.exec(select(GitLabGroup.full_path)))
            for number, row in enumerate(rows):
                if number % 3 == 0 and not row.unavailable_reason:
                    by = {"connection_id": connection_id, "enabled_by_user_id": cast.owner.user_id}
                    session.add(Enablement(repository_id=row.id or 0, **by))
                elif number % 3 == 1:
                    asked = {"user_id": cast.auditor.user_id, "reason": f"Needed for {row.name}"}
                    session.add(RepositoryRequest(repository_id=row.id or 0, connection_id=connection_id, **asked))
        self._ids = {row.path_with_namespace: row.id or 0 for row in rows}
        self._names = sorted({part for path in self._ids for part in path.split("/")})
        # Longest first: a path may be part of another one.
        self._paths = sorted(self._ids, key=len, reverse=True)
        self._people = [
            (Visitor(app).sign_in(actor), actor, prefix)
            for actor, prefix in ((cast.lead, "data/"), (other, "web/"), (cast.auditor, ""), (cast.outsider, "-"))
        ]

    def ask(self, number: int, seed: int) -> Found:
        """Send so many requests."""
        usual = dict(limits.PER_MINUTE)
        limits.PER_MINUTE.update(dict.fromkeys(usual, 1_000_000))
        try:
            return self._ask(number, random.Random(seed))
        finally:
            limits.PER_MINUTE.update(usual)

    def _ask(self, number: int, dice: random.Random) -> Found:
        found = Found()
        for _ in range(number):
            visitor, actor, prefix = dice.choice(self._people)
            method, path, form = self._request(dice)
            answer = visitor.get(path) if method == "GET" else visitor.post(path, form)
            found.statuses[answer.status_code] += 1
            if answer.status_code >= 500:
                found.failed.append(f"{actor.email} {method} {path} {form}")
            asked = unescape(f"{path} {urlencode(form)} {form}".replace("%2F", "/"))
            text = unescape(TAGS.sub("", answer.text))
            for name in self._paths:
                if name in asked or name not in text:
                    continue
                if prefix and not name.startswith(prefix):
                    found.foreign.append(f"{actor.email} {method} {path} {form}: {name}")
                else:
                    found.own += 1
                text = text.replace(name, "")
        return found

    def changed(self) -> dict[str, set[str]]:
        """Return the paths whose enablement each of these people has changed, and the paths that jobs may change."""
        changed: dict[str, set[str]] = {}
        names = {number: path for path, number in self._ids.items()}
        by_user = {actor.user_id: actor.email for _, actor, _ in self._people}
        with self._runtime.database.reading() as session:
            for row in session.exec(select(Enablement).where(col(Enablement.enabled_by_user_id).in_(by_user))):
                changed.setdefault(by_user[row.enabled_by_user_id or 0], set()).add(names[row.repository_id])
            items = set(session.exec(select(BulkItem.repository_id)))
        changed["jobs"] = {names[number] for number in items}
        return changed

    def _request(self, dice: random.Random) -> tuple[str, str, dict[str, str]]:
        path = dice.choice(self._paths)
        number, view = self._ids[path], self._view(dice)
        address = urlencode(view)
        wrong = dice.choice([number, dice.randrange(1, 200), 2**40])
        pages = (
            *("/connections/", "/connections/gitlab", "/connections/gitlab/activity", "/connections/gitlab/webhooks"),
            *("/connections/gitlab/webhooks/deliveries", f"/connections/gitlab/webhooks/{wrong}", "/jobs", "/members"),
            *("/connections/gitlab/catalogue", "/connections/gitlab/rules", "/connections/gitlab/unseen", "/audit"),
            *("/repositories/review", "/repositories/review?all=1"),
            *("/repositories/requests", "/connections/gitlab/health", f"/repositories/{number}/request"),
            *(f"/repositories/{number}", f"/repositories/{wrong}", f"/repositories/change?do=enable&{address}"),
        )
        which = dice.choice([path, str(number), path.rpartition("/")[0], f"https://gitlab.example.com/{path}"])
        kind = dice.randrange(13)
        if kind < 4:
            return "GET", f"/repositories/?{address}", {}
        if kind == 4:
            return "GET", f"/repositories/groups?{urlencode({'connection': 'gitlab', 'group': view['group']})}", {}
        if kind == 5:
            return "GET", f"/repositories/missing?{urlencode({'which': which, 'connection': 'gitlab'})}", {}
        if kind == 6:
            return "POST", "/repositories/export", {**view, "format": dice.choice(["csv", "json"])}
        if kind == 7:
            return "POST", f"/repositories/{dice.choice(['enable', 'disable'])}", {"repository_id": str(number)}
        if kind == 8:
            do = dice.choice(["approve", "decline", "withdraw"])
            answer = {"do": do, "answer": "So"} if do != "withdraw" else {"do": do}
            return "POST", f"/repositories/requests/{dice.randrange(1, 60)}", answer
        if kind == 9:
            return "POST", f"/repositories/{number}", {"services": "repositories"}
        if kind == 10:
            if dice.random() < 0.5:
                return "POST", f"/repositories/review/again/{number}", {"do": "enable"}
            return "POST", "/repositories/review", dice.choice([{"keep": str(number)}, {"disable": str(number)}])
        return "GET", dice.choice(pages), {}

    def _view(self, dice: random.Random) -> dict[str, str]:
        path = dice.choice(self._paths)

        def perhaps(*choices: str) -> str:
            return dice.choice(choices) if dice.random() < 0.25 else ""

        view = {
            "connection": dice.choice(["gitlab", "", "gitlab"]),
            "q": perhaps(*self._names),
            "group": perhaps(*self._groups),
            "state": perhaps(*(str(one) for one in StateFilter)),
            "visibility": perhaps(*(str(one) for one in VisibilityFilter)),
            "activity": perhaps(*(str(one) for one in ActivityFilter)),
            "role": perhaps(*(str(one) for one in RoleFilter)),
            "sort": perhaps(*SORTS),
        }
        if dice.random() < 0.3:
            view[dice.choice(["after", "before"])] = f"{self._ids[path]}:{path}"
        return view
