"""Compare a file with what is stored, and make it so through the same functions as the pages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from sqlalchemy import select
from sqlmodel import Session, col

from portal.accounts.models import GroupGrant, Membership, User
from portal.accounts.principal import require_right_now
from portal.actor import Principal, Right, Role
from portal.configuration.document import ADDRESS, Desired, Document, Named
from portal.connections.instance import Entered, Reach, entered_of, save_instance, understand, would_change
from portal.connections.models import Connection, ConnectionState, GitLabServer, Method, name_key_of
from portal.connections.servers import connections_of
from portal.connections.store import check_name, check_services, create_draft, list_connections, rename, require_plan
from portal.connections.walkthrough import choose_method, read_username, save_service_user, save_services
from portal.errors import InvalidInput
from portal.gitlab.identification import Service
from portal.repositories import services
from portal.repositories.availability import explain
from portal.repositories.enablement import MAX_AT_ONCE, set_enabled
from portal.repositories.grants import grant_group, revoke_group
from portal.repositories.models import Enablement, GitLabGroup, HeldBack, Reason, Repository
from portal.repositories.rules import Rule, list_rules, preview, save_rules, version_of
from portal.runtime import Runtime

NOT_READ = "the list of repositories has not been read yet"
# How many of the repositories that rules would disable are named.
MAX_NAMED = 20


@dataclass(frozen=True)
class Change:
    """One difference. `action` is `create`, `change` or `remove`; `losses` is what rules would disable, by path."""

    connection: str
    what: str
    action: str
    name: str
    before: str = ""
    after: str = ""
    losses: tuple[str, ...] = ()
    gains: int = 0

    @property
    def lines(self) -> list[str]:
        """The change as people read it."""
        sign = {"create": "+", "change": "~", "remove": "-"}[self.action]
        values = f": {self.before or 'nothing'} → {self.after or 'nothing'}" if self.before or self.after else ""
        lines = [f"{sign} {self.connection}: {self.what} {self.name}".rstrip() + values]
        if self.losses or self.gains:
            lines.append(f"    enables {self.gains:,} repositories, disables {len(self.losses):,}")
        lines += [f"    - {path}" for path in self.losses[:MAX_NAMED]]
        more = len(self.losses) - MAX_NAMED
        return [*lines, f"    - and {more:,} more"] if more > 0 else lines


@dataclass(frozen=True)
class Step:
    """Changes that are made together, in one transaction."""

    changes: list[Change]
    make: Callable[[], object] = field(repr=False)


@dataclass
class Plan:
    """What a file would change. `waits` is what cannot be done yet, and why."""

    document: Document
    steps: list[Step] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)

    @property
    def changes(self) -> list[Change]:
        """Everything that would change, losses first."""
        return sorted(
            (change for step in self.steps for change in step.changes),
            key=lambda change: change.action != "remove" and not change.losses,
        )

    @property
    def id(self) -> str:
        """The same for the same changes to the same state."""
        return hashlib.blake2b(repr([step.changes for step in self.steps]).encode(), digest_size=6).hexdigest()

    def apply(self) -> Iterator[Change]:
        """Make the changes in order and yield each one made. If this is interrupted, the next plan has the rest.

        Raises:
            PortalError: something cannot be changed; what was yielded before stays.
        """
        for step in self.steps:
            step.make()
            yield from step.changes


def make_plan(runtime: Runtime, principal: Principal, text: str) -> Plan:
    """Compare a file with what is stored; nothing is changed, and if the file has a problem, there are no steps.

    Raises:
        NotFound: this person may not manage connections.
        NotInPlan: the file has a new connection, which the organization's plan does not include.
    """
    plan = Plan(Document(text))
    if plan.document.problems:
        return plan
    with runtime.database.reading() as session:
        require_right_now(session, principal, Right.MANAGE_CONNECTIONS)
    known = {connection.slug: connection for connection in list_connections(runtime, principal)}
    names: dict[str, str] = {connection.name_key: slug for slug, connection in known.items()}
    for desired in plan.document.connections:
        _Comparison(runtime, principal, plan, desired, known.get(desired.slug), names).compare()
    if plan.document.problems:
        plan.steps, plan.waits = [], []
    return plan


def _shortened(value: str) -> str:
    """Return a certificate as a digest, which is enough to see whether it is another one."""
    return f"SHA-256 {hashlib.sha256(value.strip().encode()).hexdigest()[:16]}" if "\n" in value else value


class _Comparison:
    """One connection of the file beside the stored one."""

    def __init__(
        self,
        runtime: Runtime,
        principal: Principal,
        plan: Plan,
        desired: Desired,
        stored: Connection | None,
        names: dict[str, str],
    ) -> None:
        self.runtime, self.principal, self.plan = runtime, principal, plan
        self.desired, self.stored, self.names = desired, stored, names
        self.slug, self.values = desired.slug, desired.values

    def compare(self) -> None:
        self._compare_itself()
        self._compare_address()
        if "service_user" in self.values:
            self._compare_service_user()
        if "rules" in self.values:
            self._compare_rules()
        with self.runtime.database.reading() as session:
            self._compare_grants(session)
            self._compare_enablements(session)

    def _step(
        self, what: str, action: str, name: str, before: object, after: object, make: Callable[[], object]
    ) -> None:
        self.plan.steps.append(Step([Change(self.slug, what, action, name, str(before), str(after))], make))

    def _refuse(self, error: InvalidInput, key: str) -> None:
        for name, sentence in (error.field_errors or {key: error.sentence}).items():
            shown = {"domain": "url", "display_name": "name", "service_username": "service_user"}.get(name, name)
            self.plan.document.refuse((self.desired.number, shown), sentence)

    def _compare_itself(self) -> None:
        values, stored = self.values, self.stored
        name = values.get("name", stored.display_name if stored else self.slug)
        try:
            with self.runtime.database.reading() as session:
                taken = self.names.setdefault(name_key_of(name), self.slug)
                if taken != self.slug:
                    raise InvalidInput(f"“{name}” is taken. Choose a name that tells the two apart.")
                name = check_name(session, self.principal, name, besides=stored.id if stored else None)
                others = select(col(Connection.id)).where(col(Connection.slug) == self.slug)
                if stored is None and session.execute(others).first():
                    self.plan.document.refuse((self.desired.number, "slug"), "This slug is taken. Choose another one.")
        except InvalidInput as error:
            self._refuse(error, "name")
            return
        method = Method(values.get("method", stored.method if stored else Method.OAUTH))
        services = check_services(values.get("services", stored.services if stored else tuple(Service)))
        hooks = values.get("webhooks", stored.hooks_wanted if stored else False)
        if stored is None:
            require_plan(self.principal)
            make = partial(
                create_draft, self.runtime, self.principal, name, method, services, hooks_wanted=hooks, slug=self.slug
            )
            details = f"{method}, {', '.join(services)}{', webhooks' if hooks else ''}"
            self._step("connection", "create", name, "", details, make)
            return
        here = (self.runtime, self.principal, self.slug)
        if name != stored.display_name:
            self._step("name", "change", "", stored.display_name, name, partial(rename, *here, name))
        if method != stored.method and stored.authorized_at is not None:
            sentence = "A connection in use keeps its method. Change it in its walkthrough after disconnecting it."
            self.plan.document.refuse((self.desired.number, "method"), sentence)
        elif method != stored.method:
            self._step("method", "change", "", stored.method, method, partial(choose_method, *here, method))
        if (set(services), hooks) != (set(stored.services), stored.hooks_wanted):
            before, after = (
                ", ".join([*items, *(["webhooks"] if with_hooks else [])])
                for items, with_hooks in ((stored.services, stored.hooks_wanted), (services, hooks))
            )
            self._step("services", "change", "", before, after, partial(save_services, *here, services, hooks))

    def _compare_address(self) -> None:
        given = {key: self.values[key] for key in ADDRESS if key in self.values}
        if not given:
            return
        entered = entered_of(self.runtime, self.stored) if self.stored else Entered("")
        fields = dict(zip(ADDRESS, ("domain", *ADDRESS[1:]), strict=True))
        wanted = replace(entered, **{fields[key]: value for key, value in given.items()})
        if wanted == entered:
            # What is stored stays, even if the operator's settings would no longer accept it.
            return
        try:
            understood = understand(self.runtime, wanted)
            if self.stored and self.stored.server_id and not would_change(self.runtime, self.stored, wanted):
                return
        except InvalidInput as error:
            self._refuse(error, "url")
            return
        shown = [
            (key, getattr(entered, fields[key]), getattr(wanted, fields[key]))
            for key in ADDRESS
            if getattr(entered, fields[key]).strip() != getattr(wanted, fields[key]).strip()
        ]
        before, after = (
            ", ".join(f"{row[0]} {_shortened(row[side])}" for row in shown if row[side]) for side in (1, 2)
        )
        reach = Reach.ALL if self._is_wanted_by_all(understood.way) else Reach.ONE
        make = partial(save_instance, self.runtime, self.principal, self.slug, wanted, reach)
        self._step("address", "change" if before else "create", "", before, after, make)

    def _is_wanted_by_all(self, way: dict[str, str]) -> bool:
        """Return whether the file names this address for every connection that shares the GitLab now."""
        if self.stored is None or self.stored.server_id is None:
            return True
        file = {item.slug: item.values for item in self.plan.document.connections}
        with self.runtime.database.reading() as session:
            sharing = connections_of(session, session.get_one(GitLabServer, self.stored.server_id))
        keys = [key for key in ADDRESS if key in self.values]
        return bool(way) and all(
            all(file.get(one.slug, {}).get(key) == self.values[key] for key in keys) for one in sharing
        )

    def _compare_service_user(self) -> None:
        try:
            name = read_username(self.values["service_user"])
        except InvalidInput as error:
            self._refuse(error, "service_user")
            return
        before = self.stored.service_username if self.stored else ""
        if name != before:
            make = partial(save_service_user, self.runtime, self.principal, self.slug, name)
            self._step("service user", "change" if before else "create", "", before, name, make)

    def _compare_rules(self) -> None:
        rules: list[Rule] = self.values["rules"]
        stored: list[Rule] = []
        with self.runtime.database.reading() as session:
            if self.stored and self.stored.id:
                stored = list_rules(session, self.stored.id)
        if [rule.key() for rule in rules] == [rule.key() for rule in stored]:
            return
        # A rule that stays keeps its id, so what it enabled stays its own.
        left, kept = list(stored), []
        for rule in rules:
            same = next((one for one in left if one.key() == rule.key()), None)
            if same is not None:
                left.remove(same)
            kept.append(replace(rule, id=same.id if same else None))
        outcome = preview(self.runtime, self.principal, self.slug, kept) if self.stored else None
        before, after = (
            "; ".join(" ".join((rule.action, rule.pattern, rule.conditions)).strip() for rule in some)
            for some in (stored, rules)
        )
        change = Change(
            self.slug,
            "rules",
            "change" if stored and rules else "create" if rules else "remove",
            "",
            before,
            after,
            tuple(item.path for item in outcome.disables) if outcome else (),
            len(outcome.enables) if outcome else 0,
        )
        make = partial(
            save_rules,
            self.runtime,
            self.principal,
            self.slug,
            kept,
            version=version_of(stored),
            promise=outcome.promise if outcome else "enable 0, disable 0",
        )
        self.plan.steps.append(Step([change], make))

    def _compare_grants(self, session: Session) -> None:
        wanted, listed = self.desired.named("grants"), set()
        statement = (
            select(Membership, User)
            .join(User, col(User.id) == col(Membership.user_id))
            .where(col(Membership.organization_id) == self.principal.organization_id)
        )
        members = {user.email: membership for membership, user in session.execute(statement).all()}
        leads = {member.id: email for email, member in members.items() if member.role == Role.TEAM_LEAD}
        own = col(GroupGrant.connection_id) == (self.stored.id if self.stored else 0)
        granted = {
            (grant.membership_id, grant.gitlab_group_id): grant
            for grant in session.execute(select(GroupGrant).where(own).order_by(col(GroupGrant.id))).scalars()
            if grant.membership_id in leads
        }
        theirs = col(GitLabGroup.connection_id) == (self.stored.id if self.stored else 0)
        groups = list(session.execute(select(GitLabGroup).where(theirs)).scalars()) if wanted or granted else []
        by_id = {group.gitlab_group_id: group for group in groups}
        by_path = {group.full_path: group for group in groups}
        for entry in wanted:
            member = members.get(entry.lead)
            if member is None or member.role != Role.TEAM_LEAD:
                role = f"is {Role(member.role).label.lower()}; groups are for team leads" if member else "is no member"
                self.plan.document.refuse((*entry.key, "lead"), f"{entry.lead} {role}.")
                continue
            group = by_id.get(entry.id) if entry.id else by_path.get(entry.path)
            number = group.gitlab_group_id if group else entry.id
            if number is not None and (member.id, number) in listed:
                self.plan.document.refuse(entry.key, "This is in the list twice.")
            if number is not None:
                listed.add((member.id, number))
            if (member.id, number) in granted:
                continue
            if group is None:
                self._unknown(entry, f"grant {entry.name} to {entry.lead}", "group", by_path.get(entry.path))
                continue
            make = partial(grant_group, self.runtime, self.principal, member.id or 0, group.id or 0)
            self._step("grant", "create", f"{group.full_path} to {entry.lead}", "", "", make)
        for key, grant in granted.items() if "grants" in self.values.get("exclusive", []) else ():
            if key not in listed:
                known = by_id.get(grant.gitlab_group_id)
                name = f"{known.full_path if known else f'group {grant.gitlab_group_id}'} from {leads[key[0]]}"
                make = partial(revoke_group, self.runtime, self.principal, key[0], grant.id or 0)
                self._step("grant", "remove", name, "", "", make)

    def _compare_enablements(self, session: Session) -> None:
        if not {"enabled", "disabled"} & self.values.keys():
            return
        statement = (
            select(
                col(Repository.id),
                col(Repository.gitlab_project_id),
                col(Repository.path_with_namespace),
                col(Repository.unavailable_reason),
                col(Repository.missing_since),
                col(Enablement.id),
                col(Enablement.rule_id),
                col(HeldBack.repository_id),
                col(Enablement.services),
            )
            .outerjoin(Enablement, col(Enablement.repository_id) == col(Repository.id))
            .outerjoin(HeldBack, col(HeldBack.repository_id) == col(Repository.id))
            .where(col(Repository.connection_id) == (self.stored.id if self.stored else 0))
            .order_by(col(Repository.gitlab_project_id))
        )
        rows = list(session.execute(statement))
        by_id = {row.gitlab_project_id: row for row in rows}
        by_path = {row.path_with_namespace: row for row in rows}
        is_off = self.stored is not None and self.stored.state == ConnectionState.DISCONNECTED
        listed: set[int] = set()
        enable: list[tuple[int, Change]] = []
        disable: list[tuple[int, Change]] = []
        narrow: list[Step] = []
        for key in ("enabled", "disabled"):
            for entry in self.desired.named(key):
                row = by_id.get(entry.id) if entry.id else by_path.get(entry.path)
                number = row.gitlab_project_id if row else entry.id
                if number is not None and number in listed:
                    self.plan.document.refuse(entry.key, "This repository is in the file twice.")
                if number is not None:
                    listed.add(number)
                if row is None:
                    verb = "enable" if key == "enabled" else "disable"
                    self._unknown(entry, f"{verb} {entry.name}", "repository", by_path.get(entry.path))
                    continue
                path = row.path_with_namespace
                state = "a rule" if row[6] is not None else "a person" if row[5] is not None else ""
                if key == "disabled":
                    if row[7] is None or row[5] is not None:
                        action = "remove" if row[5] is not None else "create"
                        what = "enabled repository" if row[5] is not None else "disabled repository"
                        disable.append((row[0], Change(self.slug, what, action, path)))
                    continue
                reason = row[3] or (Reason.MISSING if row[4] else Reason.DISCONNECTED if is_off else "")
                if state == "a rule":
                    change = Change(self.slug, "enabled repository", "change", path, "by a rule", "by a person")
                    enable.append((row[0], change))
                elif not state and reason:
                    explanation = explain(reason)
                    why = explanation.sentence if explanation else ""
                    self.plan.waits.append(f"{self.slug}: enable {path}: {why}")
                elif not state:
                    enable.append((row[0], Change(self.slug, "enabled repository", "create", path)))
                if entry.services is not None and (state or not reason):
                    narrow += self._compare_services(entry, row[0], path, row[8])
        if "enabled" in self.values.get("exclusive", []):
            disable += [
                (row[0], Change(self.slug, "enabled repository", "remove", row.path_with_namespace))
                for row in rows
                if row[5] is not None and row[6] is None and row.gitlab_project_id not in listed
            ]
        for is_enabled, some in ((False, disable), (True, enable)):
            for start in range(0, len(some), MAX_AT_ONCE):
                batch = some[start : start + MAX_AT_ONCE]
                ids = [repository_id for repository_id, _ in batch]
                make = partial(set_enabled, self.runtime, self.principal, ids, enabled=is_enabled)
                self.plan.steps.append(Step([change for _, change in batch], make))
        self.plan.steps += narrow

    def _compare_services(self, entry: Named, repository_id: int, path: str, stored: list[str] | None) -> list[Step]:
        """Return the step that narrows the services of a repository, if the file says other ones than those stored."""
        assert self.stored is not None
        assert entry.services is not None
        of_connection = self.values.get("services", self.stored.services)
        if not set(entry.services) <= set(of_connection):
            self.plan.document.refuse((*entry.key, "services"), "The connection is not used for all of these.")
            return []
        before, after = (
            ", ".join(service for service in of_connection if chosen is None or service in chosen)
            for chosen in (stored, entry.services)
        )
        if before == after:
            return []
        make = partial(services.save_services, self.runtime, self.principal, repository_id, entry.services)
        return [Step([Change(self.slug, "services of", "change", path, before, after)], make)]

    def _unknown(self, entry: Named, task: str, what: str, same_path: Any) -> None:
        """Report what the catalogue does not have: until it has been read, the file may be right."""
        if self.stored is None or self.stored.last_read_at is None:
            self.plan.waits.append(f"{self.slug}: {task}: {NOT_READ}")
            return
        sentence = f"GitLab's list has no {what} {entry.name}{f' with id {entry.id}' if entry.id else ''}."
        if same_path is not None:
            sentence += " Another one has this path: remove the id, or correct it."
        self.plan.document.refuse(entry.key, sentence)
