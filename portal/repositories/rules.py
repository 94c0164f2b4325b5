"""Rules that enable repositories: an ordered list, in which the first rule that matches a repository decides.

What a person enabled or disabled stays as they set it. Rules are applied when they are saved and after every read of
the catalogue. A read never makes them disable much at once: that waits until someone looks at it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, select
from sqlmodel import Session, col

from portal import audit
from portal.actor import SYSTEM, Actor, Principal
from portal.connections.models import Connection, end_attention, need_attention
from portal.connections.store import get_connection_for_admin
from portal.db import insert_into, utc_now
from portal.errors import Card, Conflict, InvalidInput
from portal.foreign import clean
from portal.jobs import enqueue
from portal.repositories.catalogue.findings import MANY_LOST, SHARE_LOST, SOME_LOST
from portal.repositories.models import Enablement, HeldBack, Repository, RepositoryState, SelectionRule, keep_counts
from portal.runtime import Runtime

APPLY_RULES = "repositories.apply_rules"
MAX_RULES = 50
MAX_PATTERN = 500
# At most this many `**`: each may try every level of a path.
MAX_JUMPS = 3
# GitLab nests 20 groups (docs.gitlab.com/user/group/subgroups); a longer path matches no rule.
MAX_LEVELS = 30
BATCH = 500
WAITING = "rules_would_disable"
MONTHS = (0, 1, 3, 6, 12, 24)
VISIBILITIES = ("", "private", "internal", "public")
ARCHIVED = ("", "no", "yes")
DAYS_OF_MONTH = 30.44
_SEGMENT = re.compile(r"[\w.*-]+", re.ASCII)


class Action(StrEnum):
    """What a rule does with what it matches."""

    ENABLE = "enable"
    EXCLUDE = "exclude"


@dataclass(frozen=True)
class Rule:
    """One rule as it is stored, or as someone is writing it; `id` is None for a new one."""

    action: str = Action.ENABLE
    pattern: str = ""
    visibility: str = ""
    active_months: int = 0
    archived: str = ""
    id: int | None = None

    @property
    def conditions(self) -> str:
        """What is asked for besides the path, as the end of a sentence."""
        months = "month" if self.active_months == 1 else f"{self.active_months} months"
        parts = [
            self.visibility,
            f"active in the last {months}" if self.active_months else "",
            {"no": "not archived", "yes": "archived"}.get(self.archived, ""),
        ]
        return ", ".join(part for part in parts if part)

    @property
    def problem(self) -> str:
        """What is wrong with it, in one sentence; empty if nothing is."""
        segments = self.pattern.split("/")
        if not self.pattern:
            return "Enter a path, such as platform/**."
        if len(self.pattern) > MAX_PATTERN:
            return f"A path has at most {MAX_PATTERN} characters."
        if not all(_SEGMENT.fullmatch(segment) for segment in segments):
            return "A path has letters, digits, dots, dashes and underscores, with single slashes between them."
        if any("**" in segment and segment != "**" for segment in segments):
            return "Write ** between slashes: data/** or **/archive/**."
        if segments.count("**") > MAX_JUMPS:
            return f"Use ** at most {MAX_JUMPS} times."
        return ""

    def key(self) -> tuple[Any, ...]:
        """What distinguishes two rules, whatever their ids."""
        return self.action, self.pattern, self.visibility, self.active_months, self.archived


@dataclass(frozen=True)
class Item:
    """What rules look at in a repository, and what holds for it now."""

    id: int
    path: str
    visibility: str
    archived: bool
    last_activity_at: datetime | None
    is_available: bool
    is_missing: bool
    is_enabled: bool
    rule_id: int | None
    is_held_back: bool


@dataclass(frozen=True)
class ItemChange:
    """One repository that would be enabled or disabled, and why."""

    repository_id: int
    path: str
    is_enabled: bool
    why: str
    rule_id: int | None = None


@dataclass
class Outcome:
    """What a list of rules does to a connection's repositories.

    Attributes:
        decided: how many repositories each rule decides.
        takers: of a rule that decides nothing, which rule decides most of its matches, and how many it matches.
        changes: losses first.
        handed_over: enabled by another rule than before; no one notices.
        kept: how many stay as a person set them, against the rules.
        unavailable: how many a rule would enable, if they could be.
    """

    total: int = 0
    decided: list[int] = field(default_factory=list)
    takers: dict[int, tuple[int | None, int]] = field(default_factory=dict)
    changes: list[ItemChange] = field(default_factory=list)
    handed_over: list[tuple[int, int]] = field(default_factory=list)
    kept: int = 0
    unavailable: int = 0

    @property
    def left(self) -> int:
        """How many no rule decides."""
        return self.total - sum(self.decided)

    @property
    def enables(self) -> list[ItemChange]:
        """What would be enabled."""
        return [change for change in self.changes if change.is_enabled]

    @property
    def disables(self) -> list[ItemChange]:
        """What would be disabled."""
        return [change for change in self.changes if not change.is_enabled]

    @property
    def promise(self) -> str:
        """What the button says, and what is compared when it is pressed."""
        return f"enable {len(self.enables)}, disable {len(self.disables)}"


def list_rules(session: Session, connection_id: int) -> list[Rule]:
    """Return the stored rules of a connection, in order."""
    statement = select(SelectionRule).where(col(SelectionRule.connection_id) == connection_id)
    return [
        Rule(row.action, row.pattern, row.visibility, row.active_months, row.archived, row.id)
        for row in session.execute(statement.order_by(col(SelectionRule.position))).scalars()
    ]


def version_of(rules: Sequence[Rule]) -> str:
    """Return a digest of stored rules: whoever edits them sends it back."""
    text = repr([(rule.id, *rule.key()) for rule in rules])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def preview(runtime: Runtime, principal: Principal, slug: str, rules: Sequence[Rule]) -> Outcome:
    """Say what rules would change. Those that have a problem match nothing.

    Raises:
        NotFound: no such connection here.
    """
    with runtime.database.reading() as session:
        connection = get_connection_for_admin(session, principal, slug)
        return judge(rules, _items(session, connection.id or 0))


def save_rules(
    runtime: Runtime, principal: Principal, slug: str, rules: Sequence[Rule], *, version: str, promise: str
) -> Outcome:
    """Store the rules if they do what the person was shown, and start to apply them.

    Raises:
        InvalidInput: a rule has a problem.
        Conflict: someone else changed the rules, or their effect has changed since.
    """
    if any(rule.problem for rule in rules):
        raise InvalidInput("A rule is not complete yet.")
    if len(rules) > MAX_RULES:
        raise InvalidInput(f"A connection has at most {MAX_RULES} rules.")
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        session.get(Connection, connection.id, with_for_update=True, populate_existing=True)
        assert connection.id is not None
        stored = list_rules(session, connection.id)
        if version_of(stored) != version:
            raise Conflict(
                "Someone else has changed the rules since. Your version is still here; save again to replace theirs."
            )
        outcome = judge(rules, _items(session, connection.id))
        if outcome.promise != promise:
            raise Conflict("The effect has changed since you looked. Check it again, then save.")
        known = {rule.id for rule in stored}
        kept = {rule.id for rule in rules} & known
        for row in session.execute(
            select(SelectionRule).where(col(SelectionRule.connection_id) == connection.id)
        ).scalars():
            if row.id not in kept:
                session.delete(row)
        for position, rule in enumerate(rules, 1):
            row = session.get(SelectionRule, rule.id) if rule.id in kept else None
            if row is None:
                row = SelectionRule(connection_id=connection.id, position=0, action="", pattern="")
                session.add(row)
            row.position, row.action, row.pattern = position, rule.action, rule.pattern
            row.visibility, row.active_months, row.archived = rule.visibility, rule.active_months, rule.archived
        audit.record(
            session,
            principal.actor,
            "rules.saved",
            connection.target,
            rules=[" ".join((rule.action, rule.pattern, rule.conditions)).strip() for rule in rules],
            enables=len(outcome.enables),
            disables=len(outcome.disables),
        )
        end_attention(connection, {WAITING})
        _enqueue(session, connection, principal.actor, len(outcome.disables))
        return outcome


def _enqueue(session: Session, connection: Connection, actor: Actor, confirmed: int) -> None:
    enqueue(
        session,
        APPLY_RULES,
        {"connection_id": connection.id, "confirmed": confirmed},
        organization_id=connection.organization_id,
        title=f"Apply the rules of {connection.display_name}",
        # Not joined with one that is under way: that may have read the rules already.
        subject=f"connection:{connection.id}",
        lane=f"connection:{connection.id}",
        actor=actor,
    )


@dataclass(frozen=True)
class Applied:
    """What one application changed; `waiting` is what it would disable, and did not."""

    enabled: int = 0
    disabled: int = 0
    waiting: int = 0


def apply_rules(
    runtime: Runtime,
    connection_id: int,
    *,
    confirmed: int = 0,
    actor: Actor = SYSTEM,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Applied:
    """Bring enablements in line with the stored rules; running it again changes nothing.

    `confirmed` is how many losses a person has seen and wanted: if there are more, and many, they wait for a person.
    """
    with runtime.database.reading() as session:
        rules = list_rules(session, connection_id)
        theirs = (col(Enablement.connection_id) == connection_id, col(Enablement.rule_id).is_not(None))
        if not rules and session.execute(select(col(Enablement.id)).where(*theirs).limit(1)).first() is None:
            return Applied()
        items = _items(session, connection_id)
    outcome = judge(rules, items)
    losses, gains = outcome.disables, outcome.enables
    from_rules = sum(item.is_enabled and item.rule_id is not None for item in items)
    lost = len(losses)
    is_large = lost >= MANY_LOST or (lost >= SOME_LOST and lost >= SHARE_LOST * from_rules)
    if lost > confirmed and is_large:
        losses = []
    done, total = 0, len(losses) + len(gains)
    for batch in _batches(losses):
        ids = [change.repository_id for change in batch]
        with runtime.database.transaction() as session, keep_counts(session, col(Repository.id).in_(ids)):
            own = (col(Enablement.repository_id).in_(ids), col(Enablement.rule_id).is_not(None))
            session.execute(delete(Enablement).where(*own))
        done += len(batch)
        progress(done, total)
    for batch in _batches(gains):
        ids = [change.repository_id for change in batch]
        with runtime.database.transaction() as session, keep_counts(session, col(Repository.id).in_(ids)):
            # A person may have disabled one since.
            held = set(
                session.execute(
                    select(col(HeldBack.repository_id)).where(col(HeldBack.repository_id).in_(ids))
                ).scalars()
            )
            there = set(session.execute(select(col(Repository.id)).where(col(Repository.id).in_(ids))).scalars())
            values = [
                {
                    "repository_id": change.repository_id,
                    "connection_id": connection_id,
                    "state": RepositoryState.ENABLED,
                    "enabled_at": utc_now(),
                    "rule_id": change.rule_id,
                }
                for change in batch
                if change.repository_id in there - held
            ]
            if values:
                session.execute(insert_into(session, Enablement).values(values).on_conflict_do_nothing())
        done += len(batch)
        progress(done, total)
    with runtime.database.transaction() as session:
        for repository_id, rule_id in outcome.handed_over:
            row = session.execute(select(Enablement).where(col(Enablement.repository_id) == repository_id)).scalar()
            if row is not None and row.rule_id is not None:
                row.rule_id = rule_id
        connection = session.get(Connection, connection_id)
        if connection is None:
            return Applied()
        waiting = lost - len(losses)
        if waiting:
            need_attention(session, connection_id, Card(WAITING, {"count": f"{waiting:,}"}))
        else:
            end_attention(connection, {WAITING})
        if losses or gains:
            audit.record(
                session,
                actor,
                "rules.applied",
                connection.target,
                enabled=len(gains),
                disabled=len(losses),
                waiting=waiting,
            )
    return Applied(len(gains), len(losses), waiting)


def _batches(changes: list[ItemChange]) -> Iterable[list[ItemChange]]:
    return (changes[start : start + BATCH] for start in range(0, len(changes), BATCH))


def _items(session: Session, connection_id: int, repository_id: int | None = None) -> list[Item]:
    statement = (
        select(
            col(Repository.id),
            col(Repository.path_with_namespace),
            col(Repository.visibility),
            col(Repository.archived),
            col(Repository.last_activity_at),
            col(Repository.unavailable_reason) == "",
            col(Repository.missing_since).is_not(None),
            col(Enablement.id).is_not(None),
            col(Enablement.rule_id),
            col(HeldBack.repository_id).is_not(None),
        )
        .outerjoin(Enablement, col(Enablement.repository_id) == col(Repository.id))
        .outerjoin(HeldBack, col(HeldBack.repository_id) == col(Repository.id))
        .where(col(Repository.connection_id) == connection_id)
        .order_by(col(Repository.path_with_namespace), col(Repository.id))
    )
    if repository_id is not None:
        statement = statement.where(col(Repository.id) == repository_id)
    return [Item(*row) for row in session.execute(statement)]


def judge(rules: Sequence[Rule], items: Sequence[Item], now: datetime | None = None) -> Outcome:
    """Say which rule decides each repository, and what that changes."""
    now = now or utc_now()
    mismatches = [_mismatch_of(rule, now) for rule in rules]
    number_of = {rule.id: number for number, rule in enumerate(rules) if rule.id is not None}
    outcome = Outcome(total=len(items), decided=[0] * len(rules))
    deciders: list[int | None] = []
    losses, gains = [], []
    for item in items:
        by = next((number for number, mismatch in enumerate(mismatches) if not mismatch(item)), None)
        deciders.append(by)
        if by is not None:
            outcome.decided[by] += 1
        wants = by is not None and rules[by].action == Action.ENABLE
        is_of_rule = item.is_enabled and item.rule_id is not None
        if wants and item.is_held_back:
            outcome.kept += 1
            wants = False
        elif by is not None and not wants and item.is_enabled and not is_of_rule:
            outcome.kept += 1
        if wants and not item.is_enabled:
            if item.is_available and not item.is_missing:
                gains.append(ItemChange(item.id, item.path, True, f"rule {(by or 0) + 1}", rules[by or 0].id))
            else:
                outcome.unavailable += 1
        elif wants and is_of_rule and (rule_id := rules[by or 0].id) is not None and rule_id != item.rule_id:
            outcome.handed_over.append((item.id, rule_id))
        elif is_of_rule and not wants and not item.is_missing:
            losses.append(ItemChange(item.id, item.path, False, _why_lost(item, by, number_of, mismatches)))
    outcome.changes = losses + gains
    for number, decided in enumerate(outcome.decided):
        if not decided and not rules[number].problem:
            takers = [by for item, by in zip(items, deciders, strict=True) if not mismatches[number](item)]
            first = max(set(takers), key=takers.count) if takers else None
            outcome.takers[number] = first, len(takers)
    return outcome


def _why_lost(item: Item, by: int | None, number_of: dict[int, int], mismatches: list[Callable[[Item], str]]) -> str:
    if item.is_held_back:
        return "a person disabled it"
    if by is not None:
        return f"rule {by + 1} excludes it"
    former = number_of.get(item.rule_id or 0)
    if former is None:
        return "its rule was removed"
    return f"rule {former + 1} no longer matches: {mismatches[former](item)}"


def _mismatch_of(rule: Rule, now: datetime) -> Callable[[Item], str]:
    """Return a function that says why a repository does not match; empty if it does."""
    if rule.problem:
        return lambda item: "the rule is not complete"
    matches = compile_pattern(rule.pattern)
    since = now - timedelta(days=rule.active_months * DAYS_OF_MONTH) if rule.active_months else None

    def mismatch(item: Item) -> str:
        if not matches(item.path):
            return "its path does not match"
        if rule.visibility and item.visibility != rule.visibility:
            return f"it is {item.visibility or 'of unknown visibility'}"
        if rule.archived and item.archived != (rule.archived == "yes"):
            return "archived" if item.archived else "not archived"
        if since is not None and (item.last_activity_at is None or item.last_activity_at < since):
            at = item.last_activity_at
            return f"no activity since {at.year}" if at and at.year < now.year else "no activity for a long time"
        return ""

    return mismatch


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Return a test for paths: `*` is any part of one level, `**` any number of levels. Case does not count.

    The time is bounded whatever the path is: inside a level each star takes as little as it can and keeps to it.
    """
    segments = pattern.strip("/").split("/")
    text = ""
    for number, segment in enumerate(segments):
        is_last = number == len(segments) - 1
        if segment == "**":
            text += "(?:[^/]+/)*[^/]+" if is_last else "(?:[^/]+/)*"
            continue
        first, *rest = (re.escape(part) for part in segment.split("*"))
        text += first
        if rest:
            text += "".join(f"(?>[^/]*?{part})" for part in rest[:-1]) + f"[^/]*{rest[-1]}"
        text += "" if is_last else "/"
    found = re.compile(text, re.IGNORECASE).fullmatch
    return lambda path: path.count("/") < MAX_LEVELS and found(path) is not None


def rule_for(session: Session, repository: Repository) -> tuple[int, Rule] | None:
    """Return the number of the rule that decides a repository, and the rule; None if none does."""
    found = list_rules(session, repository.connection_id)
    items = _items(session, repository.connection_id, repository.id) if found else []
    decided = judge(found, items).decided
    return (
        next(((number, rule) for number, rule in enumerate(found, 1) if decided[number - 1]), None) if items else None
    )


def clean_pattern(typed: str) -> str:
    """Return a pattern as it is stored: without spaces or slashes around it."""
    return clean(typed.strip()[: MAX_PATTERN + 1], MAX_PATTERN + 1).strip("/")


def rule_numbers(session: Session, connection_id: int) -> dict[int, int]:
    """Return the place in the order of each rule, by its id."""
    return {rule.id: number for number, rule in enumerate(list_rules(session, connection_id), 1) if rule.id is not None}
