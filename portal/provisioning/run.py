"""What a one-time token is used for, step by step: what will be sent, sending it, and what GitLab answered.

The token exists only in the request that carries it. It is a `Secret` in memory, is sent to this GitLab alone, and no
row, job, session or page ever holds it; so everything happens within that one request, and whoever wants to watch reads
the results, which are stored after each step. Spreading the steps over several requests would mean keeping the token
between them, or typing it for each.

One failed step ends the run. A second run looks what exists and continues from there. A change whose answer was lost is
not sent again: GitLab is asked whether it was made.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, NoReturn, TypeVar

from sqlalchemy import delete
from sqlmodel import col, select

from portal import audit
from portal.actor import Principal
from portal.connections import applications, walkthrough
from portal.connections.checklist import find_hindrance, wanted_scopes
from portal.connections.limits import ONE_TIME_TOKENS, count_try
from portal.connections.models import Connection
from portal.connections.store import (
    get_application,
    get_connection,
    get_connection_for_admin,
    note_version,
    open_client_credentials,
    open_host_session,
    redirect_uri_of,
)
from portal.db import utc_now
from portal.errors import Card, Conflict, PortalError
from portal.gitlab import administration, answers, oauth
from portal.gitlab.administration import Call, OneTimeClient, may_have_acted
from portal.gitlab.answers import GitLabError
from portal.gitlab.identification import identify, missing_scopes
from portal.net import OutboundError
from portal.provisioning.models import Kind, ProvisioningRun, RunState
from portal.runtime import Runtime
from portal.vault import Secret

REPORTER, MAINTAINER = 20, 40
# A browser and the proxies on the way wait this long for an answer.
MAX_SECONDS = 100.0
# The longest that one step is silent; after that, the process that made the calls is gone.
SILENCE = timedelta(seconds=150)
USER_KIND = "user"
T = TypeVar("T")


class Step(StrEnum):
    """One line of the list that people read."""

    TOKEN = "token"
    APPLICATION = "application"
    SERVICE_USER = "service_user"
    GROUPS = "groups"
    READ_BACK = "read_back"
    RENEW = "renew"
    REVOKE = "revoke"


STEPS_OF = {
    Kind.INSTANCE: (Step.TOKEN, Step.APPLICATION, Step.SERVICE_USER, Step.GROUPS, Step.READ_BACK, Step.REVOKE),
    Kind.OWN: (Step.TOKEN, Step.APPLICATION, Step.READ_BACK, Step.REVOKE),
    Kind.VERIFY: (Step.TOKEN, Step.READ_BACK, Step.REVOKE),
    Kind.RENEW: (Step.TOKEN, Step.RENEW, Step.READ_BACK, Step.REVOKE),
}


@dataclass(frozen=True)
class Wanted:
    """What someone asked for."""

    kind: Kind
    service_username: str = ""
    groups: tuple[str, ...] = ()
    revokes: bool = True

    @property
    def steps(self) -> tuple[Step, ...]:
        """What is done, in this order."""
        left_out = {Step.GROUPS} if not self.groups else set()
        left_out |= {Step.REVOKE} if not self.revokes else set()
        return tuple(step for step in STEPS_OF[self.kind] if step not in left_out)


@dataclass(frozen=True)
class Planned:
    """One step before it is done: its calls, and what the changing one sends."""

    step: Step
    calls: tuple[str, ...]
    sent: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """One step after it was done.

    Attributes:
        outcome: `done`, `existed`, `found` (its answer was lost), `renewed`, `differs`, `by_hand` or `failed`.
        facts: what the page names.
        card: why it failed.
    """

    step: str
    outcome: str
    calls: list[dict[str, Any]]
    facts: dict[str, Any]
    card: dict[str, Any] | None = None


class Stopped(Exception):
    """A step cannot be done; the card says why."""

    def __init__(self, card: Card) -> None:
        super().__init__(card.code)
        self.card = card


def role_of(connection: Connection) -> int:
    """Return the role that the service user needs in groups (api/members, "Roles")."""
    return MAINTAINER if connection.hooks_wanted else REPORTER


def plan(runtime: Runtime, connection: Connection, wanted: Wanted) -> list[Planned]:
    """Return every step with its calls, before any of them is made."""
    own = wanted.kind == Kind.OWN or kind_of_application(runtime, connection) == USER_KIND
    path = administration.OWN_APPLICATIONS if own else administration.INSTANCE_APPLICATIONS
    renewal = f"POST {administration.INSTANCE_APPLICATIONS}/:id/renew-secret"
    every = {
        Step.TOKEN: Planned(Step.TOKEN, ("GET /user", "GET /version")),
        Step.APPLICATION: Planned(
            Step.APPLICATION, (f"GET {path}", f"POST {path}"), _application_values(runtime, connection)
        ),
        Step.SERVICE_USER: Planned(Step.SERVICE_USER, ("POST /users",), _user_values(connection, wanted)),
        Step.GROUPS: Planned(
            Step.GROUPS, ("GET /groups/:id", "POST /groups/:id/members"), {"access_level": role_of(connection)}
        ),
        Step.READ_BACK: Planned(Step.READ_BACK, (f"GET {path}", "POST /oauth/token")),
        Step.RENEW: Planned(Step.RENEW, (f"GET {path}", renewal)),
        Step.REVOKE: Planned(Step.REVOKE, ("DELETE /personal_access_tokens/self",)),
    }
    return [every[step] for step in wanted.steps]


def find_run(runtime: Runtime, connection: Connection) -> ProvisioningRun | None:
    """Return the newest run of a connection."""
    with runtime.database.reading() as session:
        return session.exec(select(ProvisioningRun).where(ProvisioningRun.connection_id == connection.id)).first()


def wanted_of(run: ProvisioningRun) -> Wanted:
    """Return what a run was asked to do."""
    asked = run.wanted
    return Wanted(Kind(run.kind), asked["service_username"], tuple(asked["groups"]), asked["revokes"])


def is_silent(run: ProvisioningRun) -> bool:
    """Return whether the process that made the calls must have been stopped."""
    return run.state == RunState.RUNNING and utc_now() - run.updated_at > SILENCE


def kind_of_application(runtime: Runtime, connection: Connection) -> str:
    """Return whose application it is: of the instance or of a user; empty before there is one."""
    application = get_application(runtime, connection)
    return application.kind if application else ""


def use_token(runtime: Runtime, principal: Principal, slug: str, wanted: Wanted, token: Secret) -> ProvisioningRun:
    """Make the calls, one step after the other, and store what came back.

    Raises:
        Stopped: the token must not be sent to the current address; nothing was done.
        Conflict: another run has not ended, or the connection is in a state in which this is not possible.
        RateLimited: five runs were started in the last minute.
    """
    connection = get_connection(runtime, principal, slug)
    if hindrance := find_hindrance(runtime, principal, connection):
        raise Stopped(hindrance)
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug, is_locked=True)
        count_try(session, principal, ONE_TIME_TOKENS)
        assert connection.id is not None
        before = session.exec(select(ProvisioningRun).where(ProvisioningRun.connection_id == connection.id)).first()
        if before is not None and before.state == RunState.RUNNING and not is_silent(before):
            raise Conflict("Someone is doing this right now. Reload the page to see how far it has got.")
        session.execute(delete(ProvisioningRun).where(col(ProvisioningRun.connection_id) == connection.id))
        asked = {"service_username": wanted.service_username, "groups": list(wanted.groups), "revokes": wanted.revokes}
        run = ProvisioningRun(connection_id=connection.id, kind=wanted.kind, wanted=asked)
        session.add(run)
        session.flush()
        assert run.id is not None
    with open_host_session(runtime, connection) as http:
        return _Steps(runtime, principal, connection, wanted, run.id, OneTimeClient(http, token)).take()


def list_groups(runtime: Runtime, principal: Principal, slug: str, token: Secret) -> tuple[list[str], bool]:
    """Return the full paths of GitLab's top-level groups, and whether there are more than those.

    Raises:
        Stopped: GitLab refuses the token, or it must not be sent to the current address.
        RateLimited: as `use_token`.
    """
    connection = get_connection(runtime, principal, slug)
    if hindrance := find_hindrance(runtime, principal, connection):
        raise Stopped(hindrance)
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug)
        count_try(session, principal, ONE_TIME_TOKENS)
        audit.record(
            session, principal.actor, "provisioning.called", connection.target, step="groups", calls=["GET /groups"]
        )
    try:
        with open_host_session(runtime, connection) as http:
            identify(http, connection.external_url)
            groups, has_more = OneTimeClient(http, token).top_level_groups()
    except (GitLabError, OutboundError) as error:
        raise Stopped(card_of(error)) from None
    return sorted(group.full_path for group in groups), has_more


@dataclass
class _Steps:
    """One run, in the request that carries the token."""

    runtime: Runtime
    principal: Principal
    connection: Connection
    wanted: Wanted
    run_id: int
    client: OneTimeClient
    user_id: int = 0
    facts: dict[str, Any] = field(default_factory=dict)

    def take(self) -> ProvisioningRun:
        """Take each step until one fails."""
        ways: dict[Step, Callable[[], str]] = {
            Step.TOKEN: self._check_token,
            Step.APPLICATION: self._create_application,
            Step.SERVICE_USER: self._create_service_user,
            Step.GROUPS: self._add_to_groups,
            Step.READ_BACK: self._read_back,
            Step.RENEW: self._renew,
            Step.REVOKE: self._revoke,
        }
        started = time.monotonic()
        for step in self.wanted.steps:
            self.facts, before, outcome, card = {}, len(self.client.calls), "failed", None
            try:
                if time.monotonic() - started > MAX_SECONDS:
                    raise Stopped(Card("provisioning_slow"))
                outcome = ways[step]()
            except Stopped as error:
                card = error.card
            except (GitLabError, OutboundError) as error:
                card = card_of(error)
            except PortalError as error:
                card = Card("provisioning_here", {"sentence": error.sentence})
            except BaseException:
                # Whatever it is, no one has to wait until this run counts as silent.
                stopped = Card("provisioning_stopped").to_json()
                self._keep(Result(step, outcome, [], self.facts, stopped), is_last=True)
                raise
            calls = [asdict(call) for call in self.client.calls[before:]]
            result = Result(step, outcome, calls, self.facts, card.to_json() if card else None)
            run = self._keep(result, is_last=card is not None or step == self.wanted.steps[-1])
            if card:
                break
        return run

    def _keep(self, result: Result, *, is_last: bool) -> ProvisioningRun:
        with self.runtime.database.transaction() as session:
            run = session.get(ProvisioningRun, self.run_id)
            if run is None:
                raise Conflict("Someone started this again in the meantime.")
            run.results, run.updated_at = [*run.results, asdict(result)], utc_now()
            if is_last:
                run.state, run.finished_at = RunState.FAILED if result.card else RunState.DONE, utc_now()
            session.add(run)
            calls = [
                f"{call['method']} {call['path']} {call['status'] or call['verdict'] or '(no answer)'}"
                for call in result.calls
            ]
            audit.record(
                session,
                self.principal.actor,
                "provisioning.called",
                self.connection.target,
                result="failed" if result.card else "ok",
                step=result.step,
                outcome=result.outcome,
                calls=calls,
                **({"code": result.card["code"]} if result.card else {}),
            )
            return run

    def _check_token(self) -> str:
        # Whatever was found earlier: a name may lead elsewhere by now.
        identify(self.client.http, self.connection.external_url)
        user = self.client.current_user()
        self.facts |= {"username": user.username, "is_admin": bool(user.is_admin)}
        is_own = self.wanted.kind == Kind.OWN or (
            self.wanted.kind == Kind.VERIFY and kind_of_application(self.runtime, self.connection) == USER_KIND
        )
        if is_own and user.is_admin:
            raise Stopped(Card("one_time_token", {"case": "admin", "username": user.username}))
        if not is_own and not user.is_admin:
            raise Stopped(Card("one_time_token", {"case": "not_admin", "username": user.username}))
        if self.wanted.kind == Kind.OWN:
            _require_usable(user)
            walkthrough.save_service_user(self.runtime, self.principal, self.connection.slug, user.username)
        try:
            metadata = self.client.metadata()
        except GitLabError:
            return "done"  # Only a fine-grained token may not read it; the next step shows whether that matters.
        assert self.connection.id is not None
        note_version(self.runtime, self.connection.id, metadata)
        self.facts["version"] = metadata.version
        return "done"

    def _create_application(self) -> str:
        outcome, found = "existed", self._find_application()
        if found is None:
            try:
                made, secret = self.client.create_application(
                    self._path, _application_values(self.runtime, self.connection)
                )
            except answers.GitLabNotFound:
                self._no_api()
            except (GitLabError, OutboundError) as error:
                outcome, found = "found", self._look(error, self._find_application)
            else:
                self._keep_issued(made, secret)
                return "done"
        self.facts |= {"number": found.id, "client_id": found.application_id}
        stored = get_application(self.runtime, self.connection)
        is_known = stored is not None and stored.client_id == found.application_id and stored.client_secret_sealed
        if is_known and self._is_secret_still_good():
            return outcome
        try:
            self._keep_issued(*self._renewed(found))
        except answers.GitLabNotFound:
            if not is_known:
                raise Stopped(Card("secret_not_given_again")) from None
            return outcome  # Reading back shows whether the stored Secret is right.
        return "renewed"

    def _create_service_user(self) -> str:
        name, outcome = self.wanted.service_username, "done"
        values = _user_values(self.connection, self.wanted)
        try:
            user = self.client.create_user(values)
        except answers.UnexpectedStatus as error:
            if error.status != 409:
                raise
            known = self.client.find_user(name)
            if known is None:
                card = Card("service_user_email_taken", {"email": values["email"]}, error.words, error.request_id)
                raise Stopped(card) from None
            user, outcome = known, "existed"
        except (GitLabError, OutboundError) as error:
            user, outcome = self._look(error, lambda: self.client.find_user(name)), "found"
        self.facts["username"] = user.username
        _require_usable(user)
        self.user_id = user.id
        walkthrough.save_service_user(self.runtime, self.principal, self.connection.slug, user.username)
        return outcome

    def _add_to_groups(self) -> str:
        """Give the service user its role in each group; a role that it has already is neither raised nor lowered."""
        role = role_of(self.connection)
        made: list[str] = []
        kept: list[list[Any]] = []
        self.facts |= {"role": role, "made": made, "kept": kept, "of": len(self.wanted.groups)}
        for path in self.wanted.groups:
            try:
                group = self.client.group(path)
            except answers.GitLabNotFound:
                raise Stopped(Card("group_not_there", {"path": path})) from None
            if group.full_path.lower() != path.lower():  # GitLab takes a path of digits for a number.
                raise Stopped(Card("group_not_there", {"path": path}))
            group_id = group.id
            try:
                self.client.add_member(group_id, self.user_id, role)
                made.append(group.full_path)
                continue
            except answers.UnexpectedStatus as error:
                member = self.client.member(group_id, self.user_id) if error.status in {400, 409} else None
                if member is None:
                    raise
            except (GitLabError, OutboundError) as error:
                member = self._look(error, lambda number=group_id: self.client.member(number, self.user_id))  # type: ignore[misc]
            kept.append([group.full_path, member.access_level])
        return "differs" if any(level < role for _, level in kept) else "done"

    def _read_back(self) -> str:
        """Compare the application with what it should be, and have GitLab check its ID and Secret."""
        stored = get_application(self.runtime, self.connection)
        listed = self.client.applications(self._path)
        found = next((item for item in listed if stored and item.application_id == stored.client_id), None)
        if found is None:
            raise Stopped(Card("application_not_listed"))
        self.facts |= {"number": found.id, "client_id": found.application_id}
        wanted = wanted_scopes(self.connection)
        known = found.scopes is not None
        self.facts |= {
            "is_scope_list_known": known,
            "missing_scopes": missing_scopes(found.scopes or (), wanted) if known else [],
            "has_redirect_uri": redirect_uri_of(self.runtime, self.connection) in found.callback_url.split(),
            "is_confidential": found.confidential is not False,
        }
        started = time.monotonic()
        _, card = applications.save_credentials(
            self.runtime, self.principal, self.connection.slug, found.application_id, ""
        )
        refused = card is not None and card.code == "oauth_invalid_client"
        self._note_check(started, "accepted" if card is None else "refused" if refused else "")
        if card:
            raise Stopped(card)
        is_right = self.facts["has_redirect_uri"] and self.facts["is_confidential"] and not self.facts["missing_scopes"]
        return "done" if is_right else "differs"

    def _renew(self) -> str:
        stored = get_application(self.runtime, self.connection)
        listed = self.client.applications(self._path)
        found = next((item for item in listed if stored and item.application_id == stored.client_id), None)
        if found is None:
            raise Stopped(Card("application_not_listed"))
        self.facts |= {"number": found.id, "client_id": found.application_id}
        try:
            self._keep_issued(*self._renewed(found))
        except answers.GitLabNotFound:
            raise Stopped(Card("secret_not_given_again", {"case": "too_old"})) from None
        return "renewed"

    def _revoke(self) -> str:
        """End the token; a token that cannot be ended is not a failure of what was done before."""
        try:
            self.client.revoke_self()
        except answers.Unauthorized:
            return "done"
        except (GitLabError, OutboundError) as error:
            if may_have_acted(error):
                try:
                    self.client.current_user()
                except answers.Unauthorized:
                    return "found"
                except (GitLabError, OutboundError):
                    pass
            return "by_hand"
        return "done"

    @property
    def _path(self) -> str:
        kind = USER_KIND if self.wanted.kind == Kind.OWN else ""
        if self.wanted.kind in {Kind.VERIFY, Kind.RENEW}:
            kind = kind_of_application(self.runtime, self.connection)
        return administration.OWN_APPLICATIONS if kind == USER_KIND else administration.INSTANCE_APPLICATIONS

    def _no_api(self) -> NoReturn:
        raise Stopped(Card("no_applications_api", {"case": "own"} if self.wanted.kind == Kind.OWN else {})) from None

    def _find_application(self) -> answers.Application | None:
        """Return the application with this connection's redirect URI, which no other one has."""
        uri, stored = redirect_uri_of(self.runtime, self.connection), get_application(self.runtime, self.connection)
        try:
            same = [item for item in self.client.applications(self._path) if uri in item.callback_url.split()]
        except answers.GitLabNotFound:
            self._no_api()
        return next(
            (item for item in same if stored and item.application_id == stored.client_id), same[-1] if same else None
        )

    def _renewed(self, found: answers.Application) -> tuple[answers.Application, Secret]:
        """Renew the Secret. If the answer is lost, another renewal replaces a Secret that no one knows."""
        if self._path == administration.OWN_APPLICATIONS:
            raise answers.GitLabNotFound(status=404)
        try:
            return self.client.renew_secret(found.id)
        except (GitLabError, OutboundError) as error:
            if not may_have_acted(error):
                raise
            if self._is_secret_still_good():
                raise
        try:
            return self.client.renew_secret(found.id)
        except (GitLabError, OutboundError) as error:
            raise Stopped(Card("provisioning_unknown", because=card_of(error))) from None

    def _is_secret_still_good(self) -> bool:
        started, verdict = time.monotonic(), ""
        try:
            credentials = open_client_credentials(self.runtime, self.connection)
        except PortalError:
            return False  # None is stored, so none can be lost.
        try:
            uri = redirect_uri_of(self.runtime, self.connection)
            verdict = oauth.check_client(self.client.http, credentials, uri).value
        except (GitLabError, OutboundError) as error:
            raise Stopped(Card("provisioning_unknown", because=card_of(error))) from None
        finally:
            self._note_check(started, verdict)
        return verdict == oauth.ClientVerdict.ACCEPTED

    def _note_check(self, started: float, verdict: str) -> None:
        """List the request that has GitLab check ID and Secret among the calls; it is made without the token."""
        self.client.calls.append(Call("POST", oauth.TOKEN_PATH, 0, time.monotonic() - started, verdict))

    def _look(self, error: GitLabError | OutboundError, find: Callable[[], T | None]) -> T:
        """Return what a change made whose answer was lost.

        Raises:
            GitLabError, OutboundError: it was not made.
            Stopped: that cannot be found out now.
        """
        if not may_have_acted(error):
            raise error
        try:
            found = find()
        except (GitLabError, OutboundError) as second:
            raise Stopped(Card("provisioning_unknown", because=card_of(second))) from None
        if found is None:
            raise error
        return found

    def _keep_issued(self, application: answers.Application, secret: Secret) -> None:
        self.facts |= {"number": application.id, "client_id": application.application_id}
        kind = USER_KIND if self._path == administration.OWN_APPLICATIONS else "instance"
        applications.keep_issued(
            self.runtime, self.principal, self.connection.slug, application.application_id, secret, kind
        )


def card_of(error: GitLabError | OutboundError) -> Card:
    """Return a failure as the owner of a one-time token reads it: what others say is about the connection's own."""
    if isinstance(error, OutboundError):
        return error.card()
    told = (error.words, error.request_id)
    if isinstance(error, answers.Unauthorized):
        return Card("one_time_token", {"case": error.reason}, *told)
    if isinstance(error, answers.InsufficientPermission):
        return Card("one_time_token", {"case": "fine_grained"}, *told)
    if isinstance(error, answers.InsufficientScope):
        return Card("one_time_token", {"case": "scope", "scopes": ", ".join(error.scopes) or "api"}, *told)
    if isinstance(error, answers.ForbiddenByRole):
        return Card("one_time_token", {"case": "refused"}, *told)
    if isinstance(error, answers.UnexpectedStatus) and error.status in {400, 409, 422}:
        return Card("provisioning_refused", {}, *told)
    if isinstance(error, answers.GitLabNotFound):
        return Card("unexpected_status", {"status": error.status}, *told)
    return error.card()


def _require_usable(user: answers.User) -> None:
    """Refuse a service user with which no one could authorize."""
    case = "admin" if user.is_admin else "bot" if user.bot else "external" if user.external else ""
    if case:
        raise Stopped(Card("service_user_unusable", {"case": case, "username": user.username}))
    if user.state not in {"active", ""}:
        told = {"username": user.username, "state": user.state.replace("_", " ")}
        raise Stopped(Card("service_user_unusable", told))


def _application_values(runtime: Runtime, connection: Connection) -> dict[str, Any]:
    return {
        "name": applications.APPLICATION_NAME,
        "redirect_uri": redirect_uri_of(runtime, connection),
        "scopes": " ".join(wanted_scopes(connection)),
        "confidential": True,
    }


def _user_values(connection: Connection, wanted: Wanted) -> dict[str, Any]:
    host = connection.external_url.split("://")[-1].split("/")[0].rsplit(":", 1)[0]
    return {
        "username": wanted.service_username,
        "name": applications.APPLICATION_NAME,
        "email": f"{wanted.service_username}@{host}",
        "force_random_password": True,
        "skip_confirmation": True,
        "can_create_group": False,
    }
