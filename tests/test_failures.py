"""The catalogue of failures: complete, filled in, and possible wherever it is read."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from functools import wraps
from html import unescape
from pathlib import Path

import pytest
from flask import Flask
from sqlmodel import Session, select

from portal import CAPABILITIES, failures
from portal.authorization.attempts import AttemptState, AuthorizationAttempt
from portal.authorization.exchange import Doubt
from portal.connections.checks import Check, Checklist, CheckState
from portal.connections.models import Connection, ConnectionState, Method
from portal.connections.remedies import ways_of
from portal.connections.steps import LABELS, Step
from portal.credentials.models import Credential, RetiredToken
from portal.db import utc_now
from portal.errors import Card, Layer, NothingStored, PortalError, Responsible, Surface, UpstreamFailed
from portal.failures import FAILURES, MEANS, Failure, Means
from portal.gitlab import answers, hooks
from portal.health.alarms import MAIL_ALARM
from portal.health.checks import CHECK_ONE, check_key
from portal.health.models import HealthWatch, Incident, IncidentPhase
from portal.jobs.models import Job, JobState
from portal.net import errors as net_errors
from portal.net.policy import NEVER
from portal.provisioning.models import ProvisioningRun
from portal.repositories.catalogue.run import READ_CATALOGUE
from portal.repositories.jobs import PASSING
from portal.repositories.models import catalogue_key
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.storage import Trouble
from portal.sync.connecting import PREVIEW
from portal.sync.models import Site, SiteState
from portal.webhooks import reconcile
from portal.webhooks.models import HookPlan
from tests.support.connected import connect
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import principal_of

PORTAL = Path(failures.__file__).parent
PARAMETERS = {
    "actual": "root",
    "at": "12 March 2027",
    "counted": "257",
    "days": 9,
    "email": "gatehouse@gitlab.example.com",
    "encoding": "br",
    "expected": "gatehouse",
    "host": "gatehouse.example.com",
    "job": "sample.job",
    "known": "248",
    "lost": "246",
    "name": "gatehouse.example.com",
    "origin": "https://gitlab.example.com",
    "path": "/oauth/token",
    "reason": "The mail server could not be used.",
    "reference": "01JD3V5Q7X",
    "root": "https://gitlab.example.com/git",
    "scopes": "api, read_api",
    "seconds": 15,
    "seen": "50",
    "sentence": "It is gone.",
    "state": "blocked",
    "status": 418,
    "url": "https://gatehouse.example.com/webhooks/gitlab/0",
    "username": "gatehouse",
    "version": "8.17.0",
    "where": "the database",
}
PAGES = {
    Surface.CHECKS: "/connections/gitlab/setup/instance",
    Surface.APPLICATION: "/connections/draft/setup/application",
    Surface.CREDENTIALS: "/connections/gitlab/setup/credentials",
    Surface.PROVISIONING: "/connections/draft/setup/create",
    Surface.TOKEN: "/connections/token/setup/token",
    Surface.AUTHORIZE: "/connections/gitlab/setup/authorize",
    Surface.OVERVIEW: "/connections/gitlab",
    Surface.HEALTH: "/connections/gitlab/health",
    Surface.CREDENTIAL: "/connections/gitlab/credential",
    Surface.REPOSITORIES: "/repositories/?connection=gitlab",
    Surface.HOOKS: "/connections/gitlab/webhooks",
    Surface.SITE: "/sites/handbook",
    Surface.REVOCATION: "/connections/gitlab",
}
# The name by which a remedy refers to a button, and where it says the button is, if not on the page itself.
BUTTON = re.compile(
    r"(?:[Pp]ress |(?<=\. )|; )"
    r"(Check again|Continue|Save|Read again|Sync now|Try again now|Authorize|Renew secret|Test connection)(?: again)?"
    r"(?P<where> (?:again )?(?:on the Repositories page|there|in the step Instance|on its Health page|on GitLab's page"
    r"|and paste))?"
)
ELSEWHERE = {
    "on the Repositories page": PAGES[Surface.REPOSITORIES],
    "there": PAGES[Surface.CHECKS],
    "in the step Instance": PAGES[Surface.CHECKS],
    "on its Health page": PAGES[Surface.HEALTH],
    "on GitLab's page": "",
    "and paste": "",
}
BEFORE_THE_SERVICE_USER = {Surface.CHECKS, Surface.APPLICATION}
BEFORE_THE_AUTHORIZATION = {Surface.CHECKS, Surface.APPLICATION, Surface.TOKEN}
WITH_BOXES = {Surface.APPLICATION, Surface.CREDENTIALS, Surface.TOKEN}
PAIRS = [(key, surface) for key, entry in FAILURES.items() for surface in sorted(entry.places)]


def card_of(key: str) -> Card:
    """Return a failure with a value for everything that texts may mention."""
    key_of_case, _, method = key.partition("@")
    code, _, case = key_of_case.partition("/")
    because = Card("gitlab_unavailable") if "{because}" in FAILURES[key].sentence else None
    return Card(
        code,
        {**PARAMETERS, **({"case": case} if case else {}), **({"method": method} if method else {})},
        because=because,
    )


@pytest.fixture
def connection_id(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> int:
    """A connection in use, and a draft of each method that has reached step 3."""
    with runtime.database.transaction() as session:
        draft = Connection(organization_id=cast.owner.organization_id, slug="draft", display_name="Draft")
        draft.external_url = draft.api_url = sandbox.url
        draft.steps_done = [Step.PURPOSE, Step.INSTANCE]
        token = Connection(organization_id=cast.owner.organization_id, slug="token", display_name="Token")
        token.external_url, token.api_url, token.method = sandbox.url, sandbox.url, Method.ACCESS_TOKEN
        token.steps_done = [Step.PURPOSE, Step.INSTANCE]
        session.add_all([draft, token])
    return connect(runtime, sandbox, cast.owner)


def put(session: Session, surface: Surface, connection_id: int, card: Card, cast: Cast) -> str:
    """Store a failure where a surface reads it; return the page."""
    connection = session.get_one(Connection, connection_id)
    credential = session.exec(select(Credential)).one()
    now, told = utc_now(), card.to_json()
    if surface == Surface.CHECKS:
        check = Check("gitlab", CheckState.FAIL, card=told)
        connection.checks = Checklist([check], [], now).to_json()
    elif surface == Surface.OVERVIEW:
        connection.attention, connection.state = told, ConnectionState.NEEDS_ATTENTION
    elif surface == Surface.HEALTH:
        session.add(HealthWatch(connection_id=connection_id, state="fail", since=now, checked_at=now, due_at=now))
        moments = {"row_began_at": now, "last_failed_at": now, "opened_at": now}
        about = {"cause": card.code, "check_key": "gitlab", "layer": card.layer, "card": told, "level": "Failure"}
        session.add(
            Incident(connection_id=connection_id, phase=IncidentPhase.OPEN, is_passing=False, **about, **moments)
        )
    elif surface == Surface.CREDENTIAL:
        credential.failure, credential.failed_at = told, now
    elif surface == Surface.AUTHORIZE:
        attempt = AuthorizationAttempt(
            public_id="attempt",
            connection_id=connection_id,
            user_id=cast.owner.user_id,
            state_hash="0" * 64,
            browser_hash="0" * 64,
            row_version=1,
            outcome=AttemptState.FAILED,
            card=told,
            expires_at=now,
        )
        session.add(attempt)
    elif surface == Surface.PROVISIONING:
        draft = session.exec(select(Connection).where(Connection.slug == "draft")).one()
        result = {"step": "token", "outcome": "failed", "calls": [], "facts": {}, "card": told}
        wanted = {"service_username": "gatehouse", "groups": [], "revokes": True}
        session.add(
            ProvisioningRun(connection_id=draft.id, kind="instance", state="failed", wanted=wanted, results=[result])
        )
    elif surface == Surface.HOOKS:
        connection.hooks_wanted = True
        session.merge(HookPlan(connection_id=connection_id, card=told))
    elif surface == Surface.SITE:
        found = session.exec(select(Site).where(Site.slug == "handbook")).first()
        site = found or Site(
            organization_id=connection.organization_id, slug="handbook", name="Handbook", name_key="handbook"
        )
        site.connection_id, site.state, site.branch, site.card = connection_id, SiteState.RETRYING, "main", told
        session.add(site)
    elif surface == Surface.REVOCATION:
        row = RetiredToken(
            organization_id=connection.organization_id,
            connection_id=connection_id,
            connection_name="GitLab",
            origin=connection.api_url,
            reason="replaced",
            snapshot={"gitlab_username": "gatehouse"},
        )
        row.failure, row.token_sealed, row.next_try_at = told, b"sealed", now
        session.add(row)
    else:
        return put_job(session, surface, connection, told)
    return PAGES[surface]


def put_job(session: Session, surface: Surface, connection: Connection, told: dict[str, object]) -> str:
    """Store a job's failure: the newest read of the list, or a job of the kind that a surface is about."""
    names = {
        Surface.JOB_WAITING: READ_CATALOGUE,
        Surface.JOB_READ: READ_CATALOGUE,
        Surface.REPOSITORIES: READ_CATALOGUE,
        Surface.JOB_CHECK: CHECK_ONE,
        Surface.JOB_MAIL: MAIL_ALARM,
        Surface.JOB_ERASE: "disconnection.erase",
        Surface.JOB_CHANGE: "repositories.change_all",
        Surface.JOB_PERIODIC: "audit.verify",
        Surface.JOB_PREVIEW: PREVIEW,
    }
    key = catalogue_key(connection) if surface == Surface.REPOSITORIES else check_key(connection)
    job = Job(organization_id=connection.organization_id, name=names[surface], title="A job", key=key, lane="test")
    job.failure = told
    if surface != Surface.JOB_WAITING:
        job.state, job.finished_at = JobState.FAILED, utc_now()
    session.add(job)
    return PAGES.get(surface, f"/jobs/{job.public_id}")


@pytest.mark.parametrize("surface", sorted(set(Surface) - {*WITH_BOXES, Surface.START, Surface.PAGE}))
def test_each_page_shows_a_failure_as_its_place_says_it(
    runtime: Runtime, cast: Cast, owner: Visitor, connection_id: int, surface: Surface
) -> None:
    code = next(code for code in ("gitlab_unavailable", "job_error") if surface in FAILURES[code].places)
    card = card_of(code)
    with runtime.database.transaction() as session:
        page = put(session, surface, connection_id, card, cast)

    shown = owner.get(page).text

    assert card.at(surface).sentence in shown
    assert FAILURES[code].means_at(surface).again.replace("{when}", "in a minute") in shown


def test_failures_of_forms_and_errors_are_shown_as_their_places_say_them(
    app: Flask, sandbox: RunningSandbox, owner: Visitor, connection_id: int
) -> None:
    failure: PortalError = UpstreamFailed(Card("gitlab_unavailable"))

    @wraps(app.view_functions["jobs.index"])
    def fail() -> None:
        raise failure

    sandbox.faults.add("*", status=503)
    form = {"application_id": "a" * 64, "secret": "gloas-" + "0" * 64}
    step = owner.post("/connections/draft/setup/credentials", form).text
    later = owner.post("/connections/gitlab/setup/credentials", form).text
    app.view_functions["jobs.index"] = fail
    error = owner.get("/jobs").text
    of_pages = [card_of(key) for key, surface in PAIRS if surface == Surface.PAGE]
    unsaid = []
    for card in of_pages:
        failure = NothingStored(card)
        there, page = card.at(Surface.PAGE), unescape(owner.get("/jobs").text)
        unsaid += [(card.code, text) for text in (there.sentence, there.remedy) if text not in page]

    assert "Try again in a minute." in step
    assert "Press Save again in a minute." in later
    assert "press Check again there in a minute." in error
    assert len(of_pages) >= len(Trouble)
    assert unsaid == []


def test_every_remedy_is_possible_in_every_place_where_its_failure_is_read(
    owner: Visitor, connection_id: int, runtime: Runtime, cast: Cast
) -> None:
    principal = principal_of(runtime, cast.owner)
    with runtime.database.transaction() as session:
        connection = session.get_one(Connection, connection_id)
        for surface in (Surface.CHECKS, Surface.REVOCATION, Surface.HEALTH, Surface.SITE):
            put(session, surface, connection_id, Card("gitlab_unavailable"), cast)
    texts = {path: owner.get(path).text for path in {*PAGES.values(), *ELSEWHERE.values()} if path}
    ways: dict[str, int] = {}
    impossible = []
    for key, surface in PAIRS:
        card = card_of(key).at(surface)
        problems = problems_of(card, FAILURES[key].means_at(surface), surface, texts)
        for url in (action.url for action in ways_of(principal, card, connection) if not action.external):
            ways[url] = ways.get(url) or owner.get(url, follow_redirects=True).status_code
            if ways[url] != 200 or url == PAGES.get(surface):
                problems.append(f"{url} is no way from here ({ways[url]})")
        impossible += [(key, str(surface), problem, card.remedy) for problem in problems]

    assert impossible == []
    assert len(PAIRS) > 500


@pytest.mark.parametrize(
    ("surface", "remedy"),
    [
        (Surface.CHECKS, "It continues by itself in a while."),
        (Surface.APPLICATION, "Wait until GitLab is back; nothing has to be done here. Then try again."),
        (Surface.JOB_READ, "It is tried again by itself."),
        (Surface.CHECKS, "Check the service user's role in the group. Then press Check again."),
        (Surface.APPLICATION, "Authorize the connection again."),
        (Surface.APPLICATION, "Check the domain and the sub-path. Then try again."),
        (Surface.AUTHORIZE, "Compare the redirect URI in GitLab with the one shown here. Then authorize again."),
        (Surface.REPOSITORIES, "Upgrade GitLab."),
        (Surface.REPOSITORIES, "Press Check again in a minute."),
        (Surface.OVERVIEW, "Press Read again in a minute."),
        (Surface.AUTHORIZE, "See the step Credentials. Then authorize again."),
    ],
)
def test_remedies_that_led_astray_are_noticed(monkeypatch: pytest.MonkeyPatch, surface: Surface, remedy: str) -> None:
    monkeypatch.setitem(
        FAILURES,
        "bad",
        Failure(Layer.GITLAB, "It failed.", remedy, Responsible.YOU, frozenset(Surface), is_done_there=True),
    )
    card = Card("bad").at(surface)

    assert card.remedy == remedy
    assert problems_of(card, MEANS[surface], surface, dict.fromkeys(PAGES.values(), "")) != []


def problems_of(card: Card, means: Means, surface: Surface, pages: dict[str, str]) -> list[str]:
    """Return everything about a failure that is not true, or cannot be done, at a place."""
    sentence, remedy = card.sentence, card.remedy
    text = f"{sentence} {remedy}"
    found = []
    if not (sentence.endswith(".") and remedy.endswith(".")) or "{" in text or "  " in text:
        found.append("is not filled in")
    if not means.is_automatic:
        if re.search(r"by itself(?! when)|automatically|no one needs|nothing has to be done|\b[Ww]ait\b", remedy):
            found.append("waits where no one continues")
        if card.responsible == Responsible.NO_ONE:
            found.append("is no one's where only someone can continue")
        if not re.search(r"again|[Aa]uthorize|Use that address|can authorize it", remedy):
            found.append("does not say how to continue")
    for button in BUTTON.finditer(remedy):
        label, where = button[1], (button["where"] or "").strip().removeprefix("again ")
        page = ELSEWHERE[where] if where else PAGES.get(surface, "")
        if label == "Renew secret" or (where and not page):
            continue  # In GitLab.
        if not re.search(rf">\s*(?:<[^>]+>)*\s*{re.escape(label)}\b", pages.get(page, "")):
            found.append(f"there is no button {label} on {page or 'this page'}")
    if surface in BEFORE_THE_AUTHORIZATION and re.search(
        r"authorize (?:it |the connection )?again", text, re.IGNORECASE
    ):
        found.append("authorizes again before anything was authorized")
    if surface in BEFORE_THE_SERVICE_USER and "service user" in text:
        found.append("speaks of a service user that no one has named")
    if surface != Surface.CHECKS and re.search(r"[Cc]heck the (?:domain|spelling)|sub-path", text):
        found.append("blames a domain that was found to be good")
    if surface not in WITH_BOXES and re.search(r"(?:enter|paste) [^.]*\bhere\b|shown here", remedy):
        found.append("speaks of boxes that are not here")
    found += [f"there is no step {name}" for name in re.findall(r"the step (\w+)", text) if name not in LABELS.values()]
    return found


def test_every_failure_has_an_entry_and_every_entry_is_used() -> None:
    told: set[str] = set()
    for path in PORTAL.rglob("*.py"):
        if "sandbox" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Card" and node.args:
                told |= {item.value for item in [node.args[0]] if isinstance(item, ast.Constant)}
    kinds = [*vars(net_errors).values(), *vars(answers).values(), *vars(hooks).values(), *vars(reconcile).values()]
    told |= {vars(kind)["code"] for kind in kinds if isinstance(kind, type) and "code" in vars(kind)}
    told |= {f"tls_{case}" for case in net_errors.TLS_CASES} | {
        f"address_{reason}" for reason in (*NEVER, "reserved", "private", "not_listed", "port", "own_address")
    }
    told |= {f"oauth_{error}" for error in (*answers._OAUTH_CODES, "other")}
    told |= {f"wrong_person_{doubt}" for doubt in Doubt}
    told |= {
        *("missing_scopes", "revocation_unknown", "certificate_expires", "authority_expires"),
        *("rate_limited", "access_token_expires", "rules_would_disable"),
    }  # Named by constants.
    told |= set(Trouble)
    entries = {key.partition("@")[0].partition("/")[0] for key in FAILURES}

    assert (told - entries, entries - told) == (set(), set())


def test_every_job_that_no_clock_starts_again_says_what_does() -> None:
    periodic = {job.name for job in CAPABILITIES.periodic_jobs}

    assert set(CAPABILITIES.jobs) - periodic == set(failures._GIVEN_UP)


def test_reads_that_are_begun_anew_are_those_that_say_so() -> None:
    passing = {kind.code for kind in PASSING}

    assert {key.partition("/")[0] for key, entry in FAILURES.items() if entry.is_taken_up} == passing
    assert all(FAILURES[key].is_taken_up for key in FAILURES if key.partition("/")[0] in passing)


def test_what_an_older_version_stored_is_still_read() -> None:
    old = {"layer": "TCP", "sentence": "Old words.", "remedy": "Old advice.", "mender": "You", "actions": []}

    gone = Card.from_json({**old, "code": "no_longer_known"}).at(Surface.OVERVIEW)
    without = Card.from_json({**old, "code": "missing_scopes"}).at(Surface.OVERVIEW)
    better = Card.from_json({**old, "code": "credential_revoked"})

    assert (gone.sentence, without.sentence) == ("Old words.", "Old words.")
    assert gone.remedy == MEANS[Surface.OVERVIEW].again
    assert better.sentence == FAILURES["credential_revoked"].sentence


def test_pause_that_gitlab_asks_for_is_said_where_somebody_has_to_wait_for_it() -> None:
    card = Card("gitlab_rate_limited", {"retry_after_seconds": 600.0})

    assert "Press Check again in 10 minutes, as GitLab asks." in card.at(Surface.CHECKS).remedy
    assert replace(card, params={}).at(Surface.CHECKS).remedy.startswith("Press Check again in a minute.")
