"""Take deliveries in: verify, store, answer. Nothing is parsed and GitLab is not asked before the answer (S66)."""

from __future__ import annotations

import hashlib
import re
import threading
import zlib
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import bindparam, update
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import load_only
from sqlmodel import Session, col, select

from portal.db import insert_into, utc_now
from portal.foreign import ShortText
from portal.gitlab.hooks import Level
from portal.runtime import Runtime
from portal.webhooks.counts import Counted, add_counts, hour_of
from portal.webhooks.keys import COLUMNS
from portal.webhooks.models import Delivery, Hook, HookStatus, Mode, Outcome, Verdict
from portal.webhooks.verify import refusal_of, verify_delivery

MAX_KEY = 100
# The row of a busy hook is not written with every delivery.
NOTED_EVERY = timedelta(seconds=1)
COALESCED_BODY = zlib.compress(b'{"event_name": "coalesced"}')
LOOKED_AT = (
    *(
        "id",
        "connection_id",
        "public_id",
        "level",
        "subject_id",
        "status",
        "origin",
        "previous_until",
        "uses_signature",
        "signed_from",
    ),
    *("proved_at", "last_delivery_at", "verified_by", "events_seen", "refused_at", *COLUMNS),
)
# How many deliveries of one hook a process stores in a minute; after a quiet minute as many at once. GitLab counts an
# answer like 429 as a failure of the hook, and may disable it (user/project/integrations/webhooks), so those beyond
# the limit are answered with success too. They share one row, which has GitLab read instead.
PER_MINUTE = {Level.PROJECT: 1_200, Level.GROUP: 12_000, Level.SYSTEM: 60_000}
# So many refused deliveries of a hook within an hour are counted one by one, the others in steps of as many: they
# are the only thing that someone without the secrets can have written here.
COUNTED_ONE_BY_ONE = 100
# What one valid delivery settles.
UNSURE = frozenset({HookStatus.UNPROVED, HookStatus.REFUSED})
_VERSION = re.compile(r"GitLab/(\d+\.\d+(?:\.\d+)?)")


class Taken(StrEnum):
    """What happened to a delivery."""

    STORED = "stored"
    KNOWN = "known"
    # There were too many: what they are about is read from GitLab instead.
    COALESCED = "coalesced"
    REFUSED = "refused"
    NO_HOOK = "no_hook"


@dataclass
class _Arrival:
    """A delivery whose sender waits for the answer."""

    public_id: str
    headers: Mapping[str, str]
    body: bytes
    at: datetime
    taken: Taken | None = None
    error: Exception | None = None


_Proved = tuple[_Arrival, Hook, dict[str, Any]]


@dataclass
class _Refused:
    """What a batch refused: the hooks whose rows must say so, with the time; and what is counted."""

    noted: dict[int | None, datetime] = field(default_factory=dict)
    counted: list[Counted] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.noted or self.counted)


class Intake:
    """Where the deliveries of this process come in.

    Those that arrive while others are being stored wait for their end, and are then stored together: a commit costs
    more than all else that is done about a delivery. Each is answered only after its commit.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        # Made once: to put these together takes as long as to run them.
        looked_at = [getattr(Hook, name) for name in LOOKED_AT]
        wanted = col(Hook.public_id).in_(bindparam("ids", expanding=True))
        self._find = select(Hook).options(load_only(*looked_at)).where(wanted)
        # Of each hook: how many more may be stored, and since when.
        self._left: dict[int | None, tuple[float, datetime]] = {}
        # Refused in this hour, by hook and reason.
        self._refused: Counter[tuple[int, Outcome]] = Counter()
        self._hour = hour_of(utc_now())
        columns = col(Delivery.hook_id), col(Delivery.key)
        with runtime.database.reading() as session:
            insert = insert_into(session, Delivery)
        self._insert = insert.on_conflict_do_nothing().returning(*columns)
        again = {name: insert.excluded[name] for name in ("verdict", "received_at", "body")}
        self._insert_coalesced = insert.on_conflict_do_update(
            index_elements=columns, set_=again, where=col(Delivery.verdict) != Verdict.WAITING
        )
        self._waiting: deque[_Arrival] = deque()
        self._turn = threading.Lock()

    def take(self, public_id: str, headers: Mapping[str, str], body: bytes, now: datetime | None = None) -> Taken:
        """Store a delivery that its hook's secrets prove; a copy of a known one changes nothing.

        The names of `headers` are in lower case.
        """
        arrival = _Arrival(public_id, headers, body, now or utc_now())
        self._waiting.append(arrival)
        with self._turn:
            # Whoever had the turn before may have taken it along.
            if arrival.taken is None and arrival.error is None:
                together = [self._waiting.popleft() for _ in range(len(self._waiting))]
                try:
                    self._take(together)
                except (IntegrityError, DataError):
                    # The hook of one of them has just been removed, or it holds what the database does not accept.
                    for one in together:
                        try:
                            self._take([one])
                        except Exception as error:
                            one.error = error
                except Exception as error:
                    for one in together:
                        one.error = error
        if arrival.error is not None:
            raise arrival.error
        assert arrival.taken is not None
        return arrival.taken

    def refuse(self, public_id: str, outcome: Outcome, now: datetime | None = None) -> None:
        """Count a delivery whose size or type was refused before anything was read of it."""
        database = self._runtime.database
        with database.reading() as session:
            hook = session.execute(self._find, {"ids": [public_id]}).scalar_one_or_none()
        with self._turn:
            counted = self._count(hook, outcome, now or utc_now()) if hook else []
        if counted:
            with database.transaction() as session:
                add_counts(session, counted)

    def _count(self, hook: Hook, outcome: Outcome, at: datetime) -> list[Counted]:
        if self._hour != hour_of(at):
            self._hour = hour_of(at)
            self._refused.clear()
        hook_id = hook.id or 0
        self._refused[hook_id, outcome] += 1
        before = self._refused[hook_id, outcome]
        if before <= COUNTED_ONE_BY_ONE:
            return [Counted(hook.connection_id, hook_id, outcome, at, at)]
        is_step = before % COUNTED_ONE_BY_ONE == 0
        return [Counted(hook.connection_id, hook_id, outcome, at, at, COUNTED_ONE_BY_ONE)] if is_step else []

    def _take(self, arrivals: list[_Arrival]) -> None:
        database = self._runtime.database
        if database.is_sqlite:
            # The secrets are compared before the transaction that keeps other writers waiting.
            with database.reading() as session:
                proved, refused = self._verify(session, arrivals)
            if proved or refused:
                with database.transaction() as session:
                    new = self._store(session, proved, refused)
        else:
            with database.transaction() as session:
                proved, refused = self._verify(session, arrivals)
                new = self._store(session, proved, refused)
        for arrival, hook, values in proved:
            place = (hook.id, values["key"])
            if values["body"] == COALESCED_BODY:
                arrival.taken = Taken.COALESCED
            else:
                arrival.taken = Taken.STORED if place in new else Taken.KNOWN
            new.discard(place)

    def _is_too_many(self, hook: Hook, now: datetime) -> bool:
        limit = PER_MINUTE[Level(hook.level)]
        left, since = self._left.get(hook.id, (float(limit), now))
        left = min(limit, left + max(0.0, (now - since).total_seconds()) * limit / 60)
        self._left[hook.id] = (max(0.0, left - 1), now)
        return left < 1

    def _verify(self, session: Session, arrivals: list[_Arrival]) -> tuple[list[_Proved], _Refused]:
        """Return what must be stored, and what must be said about those that were refused."""
        ids = list({arrival.public_id for arrival in arrivals})
        hooks = {hook.public_id: hook for hook in session.execute(self._find, {"ids": ids}).scalars()}
        proved: list[_Proved] = []
        refused = _Refused()
        for arrival in arrivals:
            hook = hooks.get(arrival.public_id)
            if hook is None:
                arrival.taken = Taken.NO_HOOK
            elif by := verify_delivery(self._runtime, hook, arrival.headers, arrival.body, arrival.at):
                values = _values(arrival, hook, by)
                if self._is_too_many(hook, arrival.at):
                    # A row for each day, so that old ones can be forgotten.
                    values |= {"key": f"coalesced:{arrival.at:%Y-%m-%d}", "size": 0, "body": COALESCED_BODY}
                proved.append((arrival, hook, values))
            else:
                arrival.taken = Taken.REFUSED
                # One valid delivery clears it; the next comparison sends the secrets again.
                if hook.refused_at is None or hook.refused_at < arrival.at - timedelta(minutes=1):
                    refused.noted[hook.id] = arrival.at
                refused.counted += self._count(hook, refusal_of(hook, arrival.headers, arrival.at), arrival.at)
        return self._without_pending(session, proved), refused

    def _without_pending(self, session: Session, proved: list[_Proved]) -> list[_Proved]:
        """Leave out deliveries beyond the limit if the row they share waits: once applied, it has everything read."""
        keys = {values["key"] for *_, values in proved if values["body"] == COALESCED_BODY}
        if not keys:
            return proved
        ids = {hook.id for _, hook, _ in proved}
        which = (col(Delivery.hook_id).in_(ids), col(Delivery.key).in_(keys), col(Delivery.verdict) == Verdict.WAITING)
        waiting = {
            (hook_id, key) for hook_id, key in session.execute(select(Delivery.hook_id, Delivery.key).where(*which))
        }
        left = []
        for arrival, hook, values in proved:
            if (hook.id, values["key"]) in waiting and values["body"] == COALESCED_BODY:
                arrival.taken = Taken.COALESCED
            else:
                left.append((arrival, hook, values))
        return left

    def _store(self, session: Session, proved: list[_Proved], refused: _Refused) -> set[tuple[int | None, str]]:
        """Store deliveries, and return which are new: hook and key of each."""
        # Not the session's own way, which takes three times as long.
        connection = session.connection()
        for hook_id, at in sorted(refused.noted.items()):
            connection.execute(update(Hook).where(col(Hook.id) == hook_id).values(refused_at=at))
        add_counts(session, refused.counted)
        if not proved:
            return set()
        unsure: dict[int | None, list[dict[str, Any]]] = {}
        quiet: dict[int | None, datetime] = {}
        for arrival, hook, values in proved:
            is_sure = (
                hook.proved_at and hook.status not in UNSURE and not hook.refused_at and hook.id not in refused.noted
            )
            if not is_sure or hook.verified_by != values["verified_by"] or values["event"] not in hook.events_seen:
                unsure.setdefault(hook.id, []).append(values)
            elif hook.last_delivery_at is None or hook.last_delivery_at <= arrival.at - NOTED_EVERY:
                quiet[hook.id] = arrival.at
        if unsure:
            # In the order of ids, and before the rows that refer to them: two processes must not wait for each other.
            named = select(Hook).where(col(Hook.id).in_(unsure)).order_by(col(Hook.id))
            again = named.with_for_update(key_share=True).execution_options(populate_existing=True)
            for found in session.exec(again):
                for values in unsure[found.id]:
                    _note(found, values)
            session.flush()
        # Two processes may have copies of the same deliveries: in one order, so that neither waits for the other.
        rows = [values for *_, values in proved if values["body"] != COALESCED_BODY]
        rows.sort(key=lambda values: (values["hook_id"], values["key"]))
        new = {(row.hook_id, row.key) for row in connection.execute(self._insert, rows)} if rows else set()
        places = Counter((values["hook_id"], values["key"]) for values in rows)
        places.subtract(new)
        for place, copies in sorted(places.items()):
            if copies:
                # Whoever applies it at this moment must not have to wait, and neither must this.
                same = select(Delivery.id).where(Delivery.hook_id == place[0], Delivery.key == place[1])
                free_one = same.with_for_update(skip_locked=True).scalar_subquery()
                values = {"copies": col(Delivery.copies) + copies, "copied_at": proved[-1][0].at}
                connection.execute(update(Delivery).where(col(Delivery.id) == free_one).values(values))
        if coalesced := {hook.id or 0: values for _, hook, values in proved if values["body"] == COALESCED_BODY}:
            connection.execute(self._insert_coalesced, [coalesced[number] for number in sorted(coalesced)])
        if quiet:
            # Whoever holds one of them notes a time as well.
            free = select(Hook.id).where(col(Hook.id).in_(quiet)).with_for_update(key_share=True, skip_locked=True)
            seen = update(Hook).where(col(Hook.id).in_(free)).values(last_delivery_at=max(quiet.values()))
            connection.execute(seen)
        return new


def _values(arrival: _Arrival, hook: Hook, by: str) -> dict[str, Any]:
    headers, body = arrival.headers, arrival.body
    event = str(ShortText(headers.get("x-gitlab-event", "")))
    key = headers.get("idempotency-key", "") or (headers.get("webhook-id", "") if by == "signature" else "")
    if not key or len(key) > MAX_KEY or not key.isascii() or not key.isprintable():
        key = "sha256:" + hashlib.sha256(event.encode() + b"\0" + body).hexdigest()
    version = _VERSION.search(headers.get("user-agent", "")[:MAX_KEY])
    return {
        "connection_id": hook.connection_id,
        "hook_id": hook.id,
        "level": hook.level,
        "subject_id": hook.subject_id,
        "key": key,
        "event": event,
        "received_at": arrival.at,
        "verified_by": by,
        "body": zlib.compress(body, 1),
        "size": len(body),
        "gitlab_version": version[1][:20] if version else "",
        "verdict": Verdict.WAITING.value,
        "effect": "",
    }


def _note(hook: Hook, values: dict[str, Any]) -> None:
    by, event, now = values["verified_by"], values["event"], values["received_at"]
    hook.last_delivery_at, hook.verified_by, hook.refused_at = now, by, None
    hook.proved_at = hook.proved_at or now
    if event and event not in hook.events_seen:
        hook.events_seen = [*hook.events_seen, event][-30:]
    if hook.mode == Mode.BY_HAND and by == "signature":
        # Whoever set it up also entered the signing token: from now on it is required.
        hook.uses_signature, hook.signed_from = True, hook.signed_from or now
    if hook.status in UNSURE and (hook.gitlab_hook_id is not None or hook.mode == Mode.BY_HAND):
        hook.status, hook.card = HookStatus.ACTIVE, None
