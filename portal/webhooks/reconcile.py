"""Bring a connection's webhooks at GitLab in line with what is wanted, and prove that they deliver.

For each hook: the intent is stored, then GitLab is asked, then the outcome is stored. A run may die anywhere and start
again: nothing is created before GitLab's list was read completely and has none, and what exists is changed in place.
Every project is asked once; what is as it should be costs nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import update
from sqlmodel import Session, col, select

from portal import audit
from portal.actor import SYSTEM
from portal.connections.models import Connection
from portal.connections.store import open_host_session
from portal.crash_points import crash_point
from portal.credentials import AccessSource
from portal.db import utc_now
from portal.errors import Card
from portal.gitlab.administration import may_have_acted
from portal.gitlab.answers import (
    ForbiddenByRole,
    GitLabError,
    GitLabNotFound,
    GitLabRateLimited,
    InsufficientScope,
    MalformedAnswer,
    NotGitLab,
)
from portal.gitlab.hooks import SIGNATURES, TESTS, HookClient, HookRefused, Level, Owner, Refusal, TestFailed, Wanted
from portal.gitlab.hooks import Hook as Listed
from portal.gitlab.identification import parse_version
from portal.net import Purpose, origin_of
from portal.repositories.catalogue.reader import MAINTAINER
from portal.repositories.models import GitLabGroup, Repository
from portal.runtime import Runtime
from portal.webhooks.desired import fingerprint_of, plan_of, sync_rows, url_of
from portal.webhooks.differences import PATH, Difference, Judgement, Known, judge, public_id_in
from portal.webhooks.keys import add_signing_token, confirm_keys, make_keys, open_key
from portal.webhooks.models import Hook, HookStatus, Mode
from portal.webhooks.refusals import explain_refused_url

BATCH = 200
# How long a test may take to arrive after GitLab says that it sent it.
PROOF_SECONDS = 15.0
PROOF_LOOK_SECONDS = 0.1
# Without tests, so many hooks are made first; the others follow the first delivery, or after a day without one.
TRIAL = 5
TRIAL_TIME = timedelta(days=1)
# If GitLab refuses so many URLs one after the other and accepts none, it is not asked about the rest.
ENOUGH_REFUSALS = 3
# What is fixed by sending everything again.
SENT_AGAIN = frozenset(Difference) - {Difference.DUPLICATE, Difference.INHERITED}
ForEach = Callable[[Sequence[int], Callable[[int], object]], None]


class HookStillDisabled(GitLabError):
    """GitLab keeps a hook disabled; its words say why a test failed."""

    code = "hook_disabled"


# Failures of one project only: the next one may be fine.
OF_ONE = (ForbiddenByRole, GitLabNotFound, HookRefused, HookStillDisabled, MalformedAnswer, NotGitLab)


class Stopped(Exception):
    """The rest would fail like what failed; the card says why."""

    def __init__(self, card: Card) -> None:
        self.card = card
        super().__init__(card.code)


def in_turn(items: Sequence[int], work: Callable[[int], object]) -> None:
    """Do one after the other."""
    for item in items:
        work(item)


@dataclass
class Reconciler:
    """One run for one connection. May be used from several threads."""

    runtime: Runtime
    connection: Connection
    client: HookClient
    for_each: ForEach = in_turn
    proof_seconds: float = PROOF_SECONDS
    # GitLab refused the portal's URL, and had accepted it elsewhere.
    refused_urls: list[int] = field(default_factory=list)
    accepted: int = 0
    unchanged: list[int] = field(default_factory=list)
    # Why webhooks as a whole do not work.
    card: Card | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def version(self) -> Any:
        """GitLab's version as it was last seen; None if it is not known."""
        return parse_version(self.connection.version_seen)

    def run(self) -> None:
        """Compare everything; `card` says why the rest was left out, if it was.

        Raises:
            GitLabError, OutboundError, AccessUnavailable: GitLab cannot be asked now.
        """
        runtime, connection_id = self.runtime, self.connection.id or 0
        try:
            # Hooks of groups and of the instance first: those they replace go once they work.
            sync_rows(runtime, connection_id)
            groups = self._groups_to_ask()
            done = self._reconcile_all(set(), col(Hook.level) != Level.PROJECT, col(Hook.status) != HookStatus.RETIRING)
            if done:
                sync_rows(runtime, connection_id)
            self._reconcile_all(done)
            for group_id in groups:
                self._remove_inherited(group_id)
        except Stopped as error:
            self.card = error.card
        finally:
            self.finish()

    def finish(self) -> None:
        """Store what concerns several hooks at once."""
        self._note_unchanged()
        self._explain_refused_urls()

    def _reconcile_all(self, done: set[int], *which: Any) -> set[int]:
        """Reconcile some hooks, except those that are done; return which."""
        first = [] if done and not which else self._first_to_make(*which)
        if first:
            self._prove_one_of(first)
        # Removals last, once what replaces those hooks is there.
        for of_status in (col(Hook.status) != HookStatus.RETIRING, col(Hook.status) == HookStatus.RETIRING):
            rest = [hook_id for hook_id in self._ids(*which, of_status) if hook_id not in {*done, *first}]
            self.for_each(rest, self.reconcile)
            first += rest
        return set(first)

    def _ids(self, *which: Any) -> list[int]:
        own = select(Hook.id).where(
            col(Hook.connection_id) == self.connection.id,
            # What a person made, the portal only watches; it has no right to look.
            (col(Hook.mode) == Mode.AUTOMATIC) | (col(Hook.status) == HookStatus.RETIRING),
            (col(Hook.mode) != Mode.OFF) | (col(Hook.status) == HookStatus.RETIRING),
        )
        with self.runtime.database.reading() as session:
            return [
                hook_id for hook_id in session.exec(own.where(*which).order_by(col(Hook.id))) if hook_id is not None
            ]

    # The first hook proves the rest.

    def _first_to_make(self, *which: Any) -> list[int]:
        """Return the hooks to try first; nothing once one has been proved, or if there is nothing to make."""
        mine = col(Hook.connection_id) == self.connection.id
        with self.runtime.database.reading() as session:
            if session.exec(select(Hook.id).where(mine, col(Hook.proved_at).is_not(None)).limit(1)).first():
                return []
            # A test of a project needs a commit, and the most active one also proves itself soonest.
            order = (col(Hook.level) != Level.SYSTEM, col(Hook.gitlab_hook_id).is_(None), col(Repository.is_empty))
            newest = (col(Repository.last_activity_at).desc(), col(Hook.id))
            statement = (
                select(Hook.id)
                .outerjoin(Repository, col(Repository.id) == col(Hook.repository_id))
                .where(mine, col(Hook.mode) == Mode.AUTOMATIC, col(Hook.status) != HookStatus.RETIRING)
                .where((col(Repository.access_level).is_(None)) | (col(Repository.access_level) >= MAINTAINER))
                .where(*which)
                .order_by(*order, *newest)
                .limit(TRIAL)
            )
            return [hook_id for hook_id in session.exec(statement) if hook_id is not None]

    def _prove_one_of(self, hook_ids: list[int]) -> None:
        """Make hooks until one of them has delivered a test.

        Raises:
            Stopped: GitLab could not deliver it; or there are no tests, and none has delivered anything yet.
        """
        tried: list[int] = []
        for hook_id in hook_ids:
            self.reconcile(hook_id)
            tried.append(hook_id)
            if self._is_made(hook_id) and self._prove(hook_id):
                for left in hook_ids[len(tried) :]:
                    self.reconcile(left)
                return
        with self.runtime.database.reading() as session:
            made = select(Hook).where(col(Hook.id).in_(tried), col(Hook.gitlab_hook_id).is_not(None))
            oldest = min((hook.created_at for hook in session.exec(made)), default=None)
        if oldest is not None and oldest > utc_now() - TRIAL_TIME:
            raise Stopped(Card("hook_waits_for_first", {"count": len(tried)}))

    def _is_made(self, hook_id: int) -> bool:
        with self.runtime.database.reading() as session:
            hook = session.get_one(Hook, hook_id)
        return hook.gitlab_hook_id is not None and hook.status in {HookStatus.UNPROVED, HookStatus.ACTIVE}

    def _prove(self, hook_id: int) -> bool:
        """Have GitLab send a test and wait for it; return whether it came, False if this GitLab or project has none.

        Raises:
            Stopped: GitLab could not deliver it, or it did not arrive here.
        """
        with self.runtime.database.reading() as session:
            hook = session.get_one(Hook, hook_id)
        if hook.proved_at is not None:
            return True
        if hook.level != Level.SYSTEM and self.version is not None and self.version < TESTS:
            return False
        sent_at = utc_now()
        try:
            self.client.test_hook(hook.owner, hook.gitlab_hook_id or 0)
        except GitLabNotFound:
            return False
        except (TestFailed, GitLabRateLimited) as error:
            card = error.card()
            if card.params.get("case") == "no_data":
                return False
            self._note_refusal(hook_id, card)
            raise Stopped(card) from None
        came = self._await_delivery(hook_id, sent_at)
        if came is None:
            card = Card("hook_test_lost", {"url": hook.url, "seconds": round(self.proof_seconds)})
            self._note_refusal(hook_id, card)
            raise Stopped(card)
        with self.runtime.database.transaction() as session:
            found = session.get_one(Hook, hook_id, with_for_update=True)
            found.latency_ms = max(0, round((came - sent_at).total_seconds() * 1000))
            found.proved_at, found.status, found.card = found.proved_at or came, HookStatus.ACTIVE, None
            self._record(session, found, "hook.proved", milliseconds=found.latency_ms, by=found.verified_by)
        return True

    def _await_delivery(self, hook_id: int, since: datetime) -> datetime | None:
        newest = select(Hook.last_delivery_at).where(col(Hook.id) == hook_id)
        end = utc_now() + timedelta(seconds=self.proof_seconds)
        pause = threading.Event()
        while True:
            with self.runtime.database.reading() as session:
                came: datetime | None = session.exec(newest).one_or_none()
            if came is not None and came >= since:
                return came
            if utc_now() > end:
                return None
            pause.wait(PROOF_LOOK_SECONDS)

    # One hook.

    def reconcile(self, hook_id: int) -> None:
        """Compare one hook with GitLab and repair it."""
        with self.runtime.database.reading() as session:
            hook = session.get(Hook, hook_id)
            repository = session.get(Repository, hook.repository_id) if hook and hook.repository_id else None
        if hook is None:
            return
        if hook.status == HookStatus.RETIRING:
            self._retire(hook)
            return
        role = repository.access_level if repository else None
        if role is not None and role < MAINTAINER:
            # Known without asking GitLab.
            self._note_refusal(hook_id, Card("hook_role_too_low"))
            return
        try:
            self._compare(hook)
        except InsufficientScope as error:
            raise Stopped(error.card()) from None
        except HookRefused as error:
            if error.reason != Refusal.URL:
                self._note_refusal(hook_id, error.card())
                return
            self._note_refusal(hook_id, Card("hook_url_refused", {"host": "", "name": ""}))
            with self.lock:
                self.refused_urls.append(hook_id)
                is_enough = len(self.refused_urls) >= ENOUGH_REFUSALS and not self.accepted
            if is_enough:
                raise Stopped(error.card()) from None
        except OF_ONE as error:
            card = error.card()
            if isinstance(error, ForbiddenByRole):
                card = Card("hook_role_too_low")
            elif isinstance(error, GitLabNotFound) and hook.level == Level.GROUP:
                card = Card("hook_groups_missing")
            elif isinstance(error, GitLabNotFound):
                card = Card("hook_project_hidden")
            self._note_refusal(hook_id, card)

    def _compare(self, hook: Hook) -> None:
        listed = self.client.hooks(hook.owner)
        known = Known(
            hook.public_id,
            url_of(self.runtime, hook.public_id),
            Level(hook.level),
            frozenset(hook.events),
            hook.gitlab_hook_id,
            is_refused=hook.refused_at is not None,
            is_rotated=hook.intent == "rotate" or (bool(hook.origin) and hook.origin != self._origin),
            has_signing_token=hook.uses_signature,
        )
        judged = judge(known, listed, self._orphans_among(listed.found))
        if judged.is_doubtful:
            self._note_refusal(hook.id or 0, Card("hook_list_short"))
            return
        is_settled = not judged.differences and not hook.intent and hook.card is None
        if is_settled and judged.kept and hook.gitlab_hook_id == judged.kept.id:
            with self.lock:
                self.accepted += 1
                self.unchanged.append(hook.id or 0)
            return
        changed = judged.kept
        if judged.kept is None or SENT_AGAIN & set(judged.differences):
            changed = self._send(hook, judged)
        for extra in judged.removed:
            self.client.delete_hook(hook.owner, extra.id)
        assert changed is not None
        self._note_made(hook, changed, judged)

    def _send(self, hook: Hook, judged: Judgement) -> Listed:
        """Create or change a hook, with everything it should have."""
        kept = judged.kept
        with self.runtime.database.transaction() as session:
            found = session.get_one(Hook, hook.id, with_for_update=True)
            can_sign = kept.signing_token_present is not None if kept else self.version and self.version >= SIGNATURES
            is_unconfirmed = found.previous_token_sealed is not None and found.previous_until is None
            token = open_key(self.runtime, found, "token_sealed")
            if token is None or found.origin != self._origin or (found.intent == "rotate" and not is_unconfirmed):
                make_keys(self.runtime, found, self._origin, with_signature=bool(can_sign))
            elif can_sign and found.signing_token_sealed is None:
                add_signing_token(self.runtime, found)
            found.intent = found.intent or ("update" if kept else "create")
            found.intent_at, found.url = utc_now(), url_of(self.runtime, found.public_id)
            token, signing = (open_key(self.runtime, found, name) for name in ("token_sealed", "signing_token_sealed"))
            session.flush()
            wanted = Wanted(
                found.url,
                frozenset(found.events),
                token,
                signing,
                name=f"Gatehouse: {self.connection.display_name}"[:255],
                description=f"Made by Gatehouse ({self.runtime.settings.base_url}), which also changes and removes it.",
            )
        crash_point("hook:intent")
        try:
            if kept is None:
                made = self.client.create_hook(hook.owner, wanted)
            else:
                made = self.client.update_hook(hook.owner, kept.id, wanted)
        except GitLabError as error:
            if not may_have_acted(error):
                self._forget_intent(hook.id or 0)
            raise
        crash_point("hook:sent")
        if (made.alert_status or "executable") == "executable":
            return made
        try:
            # GitLab sends again once a test has succeeded.
            self.client.test_hook(hook.owner, made.id)
        except GitLabNotFound:
            # Before 16.11 there are no tests over the API: only another hook is not disabled.
            self.client.delete_hook(hook.owner, made.id)
            return self.client.create_hook(hook.owner, wanted)
        except (TestFailed, GitLabRateLimited) as error:
            raise HookStillDisabled(words=error.words, request_id=error.request_id) from None
        return made

    def _note_made(self, hook: Hook, made: Listed, judged: Judgement) -> None:
        """Store what a hook is now, and what was repaired."""
        with self.runtime.database.transaction() as session:
            found = session.get_one(Hook, hook.id, with_for_update=True)
            is_new = hook.gitlab_hook_id is None and Difference.ORPHAN not in judged.differences
            found.gitlab_hook_id, found.checked_at, found.card = made.id, utc_now(), None
            found.intent, found.intent_at = "", None
            if judged.kept is None or SENT_AGAIN & set(judged.differences):
                is_signed = bool(made.signing_token_present and found.signing_token_sealed)
                confirm_keys(found, is_signed=is_signed, is_new=judged.kept is None)
                found.refused_at = None
            if found.status != HookStatus.RETIRING:
                found.status = HookStatus.ACTIVE if found.proved_at or self._is_proved(session) else HookStatus.UNPROVED
            if not is_new and judged.differences:
                found.repaired_at, found.repairs = utc_now(), [str(item) for item in judged.differences]
            if is_new:
                self._record(session, found, "hook.created", gitlab_hook_id=made.id)
            elif judged.differences:
                self._record(session, found, "hook.repaired", found=", ".join(judged.differences))
            with self.lock:
                self.accepted += 1

    def _retire(self, hook: Hook) -> None:
        """Remove a hook that is no longer wanted, and its duplicates."""
        removed = 0
        if hook.gitlab_hook_id is not None or hook.intent:
            try:
                listed = self.client.hooks(hook.owner)
                for item in listed.found:
                    if item.id == hook.gitlab_hook_id or public_id_in(item.url) == hook.public_id:
                        removed += self.client.delete_hook(hook.owner, item.id)
            except ForbiddenByRole:
                self._note_refusal(hook.id or 0, Card("hook_left_over"), HookStatus.RETIRING)
                return
            except GitLabNotFound:
                # Gone with its project, or only hidden, and then it is still there.
                self._note_refusal(hook.id or 0, Card("hook_left_hidden"), HookStatus.RETIRING)
                return
        with self.runtime.database.transaction() as session:
            found = session.get(Hook, hook.id, with_for_update=True)
            if found is None or found.status != HookStatus.RETIRING:
                return  # Wanted again.
            if removed:
                self._record(session, found, "hook.removed", gitlab_hook_id=hook.gitlab_hook_id)
            drop_row(session, found)

    # Hooks of groups that report what the hooks of projects do.

    def _groups_to_ask(self) -> list[int]:
        """Return the top-level groups of enabled repositories, and every group above one whose hook has refused
        something: someone may have copied its URL to a hook of a group.
        """
        if self.connection.edition_seen == "CE":
            return []
        namespaces = select(Repository.namespace_path, Hook.refused_at).join(
            Hook, col(Hook.repository_id) == col(Repository.id)
        )
        paths: set[str] = set()
        with self.runtime.database.reading() as session:
            for path, refused_at in session.exec(namespaces.where(Hook.connection_id == self.connection.id)):
                parts = path.split("/")
                paths |= {"/".join(parts[:count]) for count in range(1, len(parts) + 1 if refused_at else 2)}
            groups = select(GitLabGroup.gitlab_group_id).where(
                GitLabGroup.connection_id == self.connection.id,
                GitLabGroup.kind == "group",
                col(GitLabGroup.full_path).in_(paths),
            )
            return list(session.exec(groups.order_by(col(GitLabGroup.full_path))))

    def _remove_inherited(self, group_id: int) -> None:
        """Remove a group's hooks that lead to this portal and are not the one it wants there: what they report, the
        hooks of projects report too.
        """
        owner, start = Owner(Level.GROUP, group_id), f"{self.runtime.settings.base_url}{PATH}"
        try:
            listed = self.client.hooks(owner).found
        except (*OF_ONE, InsufficientScope):
            return  # No group hooks here, or no right to see them.
        named = {public_id_in(hook.url): hook for hook in listed if (hook.url or "").startswith(start)}
        with self.runtime.database.reading() as session:
            rows = session.exec(select(Hook).where(col(Hook.public_id).in_(named))).all()
        known = {row.public_id: row for row in rows}
        for public_id, hook in named.items():
            row = known.get(public_id)
            is_own = row is not None and (row.level, row.subject_id) == (Level.GROUP, group_id)
            # What a person made, or another connection has, is theirs.
            is_theirs = row is not None and (row.mode != Mode.AUTOMATIC or row.connection_id != self.connection.id)
            if is_own or is_theirs or not self.client.delete_hook(owner, hook.id):
                continue
            with self.runtime.database.transaction() as session:
                removed = Hook(connection_id=self.connection.id or 0, level=Level.GROUP, subject_id=group_id)
                self._record(session, removed, "hook.removed", gitlab_hook_id=hook.id)
                if row is not None and (found := session.get(Hook, row.id, with_for_update=True)):
                    found.repaired_at, found.repairs = utc_now(), [str(Difference.INHERITED)]
                    self._record(session, found, "hook.repaired", found=Difference.INHERITED)

    # What several of them share.

    @property
    def _origin(self) -> str:
        return origin_of(self.connection.api_url)

    def _is_proved(self, session: Session) -> bool:
        mine = (col(Hook.connection_id) == self.connection.id, col(Hook.proved_at).is_not(None))
        return session.exec(select(Hook.id).where(*mine).limit(1)).first() is not None

    def _orphans_among(self, listed: Iterable[Listed]) -> list[int]:
        """Return the hooks that lead to this portal and that no row knows, of whichever connection."""
        start = f"{self.runtime.settings.base_url}{PATH}"
        named = {public_id_in(hook.url): hook.id for hook in listed if (hook.url or "").startswith(start)}
        if not named:
            return []
        with self.runtime.database.reading() as session:
            known = set(session.exec(select(Hook.public_id).where(col(Hook.public_id).in_(named))))
        return [hook_id for public_id, hook_id in named.items() if public_id not in known]

    def _note_refusal(self, hook_id: int, card: Card, status: HookStatus = HookStatus.REFUSED) -> None:
        with self.runtime.database.transaction() as session:
            found = session.get(Hook, hook_id, with_for_update=True)
            if found is None:
                return
            told = card.to_json()
            if (found.card or {}).get("code") != card.code or found.status != status:
                self._record(session, found, "hook.refused", result="failed", code=card.code)
            found.card, found.status, found.checked_at = told, status, utc_now()

    def _forget_intent(self, hook_id: int) -> None:
        with self.runtime.database.transaction() as session:
            if found := session.get(Hook, hook_id, with_for_update=True):
                found.intent = found.intent if found.intent == "rotate" else ""

    def _note_unchanged(self) -> None:
        for at in range(0, len(self.unchanged), BATCH):
            with self.runtime.database.transaction() as session:
                some = col(Hook.id).in_(self.unchanged[at : at + BATCH])
                status = HookStatus.ACTIVE if self._is_proved(session) else HookStatus.UNPROVED
                session.execute(update(Hook).where(some).values(checked_at=utc_now(), status=status))

    def _explain_refused_urls(self) -> None:
        """Say why GitLab refused the portal's URL: one refused hook has another cause than all of them."""
        if not self.refused_urls:
            return
        card = explain_refused_url(self.runtime.settings.base_url, are_others_accepted=self.accepted > 0)
        with self.runtime.database.transaction() as session:
            some = col(Hook.id).in_(self.refused_urls)
            session.execute(update(Hook).where(some).values(card=card.to_json()))
        if not self.accepted:
            self.card = card

    def _record(self, session: Session, hook: Hook, action: str, *, result: str = "ok", **about: Any) -> None:
        audit.record(
            session, SYSTEM, action, target_of(session, self.connection, hook), result=result, level=hook.level, **about
        )


def drop_row(session: Session, hook: Hook) -> None:
    """Note that a hook is no longer at GitLab; that it is switched off must not get lost."""
    if hook.mode == Mode.OFF:
        hook.gitlab_hook_id, hook.intent, hook.card, hook.status = None, "", None, HookStatus.WANTED
    else:
        session.delete(hook)


def target_of(session: Session, connection: Connection, hook: Hook) -> audit.Target:
    """Return a hook's name in the audit log: the path of what it belongs to."""
    name = connection.display_name
    if hook.repository_id is not None and (repository := session.get(Repository, hook.repository_id)):
        name = audit.Foreign(repository.path_with_namespace)
    elif hook.level == Level.GROUP:
        statement = select(GitLabGroup.full_path).where(
            col(GitLabGroup.connection_id) == connection.id, col(GitLabGroup.gitlab_group_id) == hook.subject_id
        )
        name = audit.Foreign(session.exec(statement).one_or_none() or f"group {hook.subject_id}")
    return audit.Target(connection.organization_id, "hook", hook.id, name)


def reconcile_hooks(
    runtime: Runtime,
    connection_id: int,
    hook_id: int | None = None,
    for_each: ForEach = in_turn,
    *,
    proof_seconds: float = PROOF_SECONDS,
) -> Reconciler:
    """Compare all hooks of a connection with GitLab, or only one, and repair them.

    Returns:
        The run, for its counts.

    Raises:
        GitLabError, OutboundError, AccessUnavailable: GitLab cannot be asked now; what was done is stored.
    """
    with runtime.database.reading() as session:
        connection = session.get_one(Connection, connection_id)
        fingerprint = fingerprint_of(runtime, session, connection)
    with open_host_session(runtime, connection, is_background=hook_id is None, purpose=Purpose.WEBHOOKS) as http:
        client = HookClient(http, AccessSource(runtime, connection_id, "webhooks"), tries=2)
        found = Reconciler(runtime, connection, client, for_each, proof_seconds)
        if hook_id is None:
            found.run()
        else:
            sync_rows(runtime, connection_id)
            try:
                found.reconcile(hook_id)
            except Stopped as error:
                found.card = error.card
            finally:
                found.finish()
            return found
    note_compared(runtime, connection_id, fingerprint, found.card)
    return found


def note_compared(runtime: Runtime, connection_id: int, fingerprint: str, card: Card | None) -> None:
    """Store that a comparison has ended, also one that failed: the next one is due in its turn."""
    with runtime.database.transaction() as session:
        plan = plan_of(session, connection_id)
        plan.compared_at, plan.fingerprint = utc_now(), fingerprint
        plan.card = card.to_json() if card else None
