"""Everything that a hand-over link must not be good for: each is refused, and nothing is changed by it."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import delete, update
from sqlmodel import col, select

from portal.accounts.models import Membership, Organization, User
from portal.actor import Role
from portal.audit.models import AuditEvent
from portal.connections.models import Application, Connection, ConnectionState
from portal.connections.steps import Step
from portal.credentials.models import Credential
from portal.db import utc_now
from portal.handover import links
from portal.handover.models import HandOver, Outcome
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.tokens import hash_of
from tests.accounts.at_once import crowd
from tests.accounts.support import BOTH_DATABASES
from tests.handover.test_links import forget_application, hand_over, only_link, open_link
from tests.security.conftest import World
from tests.security.objects import make_objects
from tests.security.tables import digests
from tests.support.people import add_actor
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared, come_back, pass_gitlab, principal_of

VARIES = re.compile(r"\"X-CSRFToken\": \"[^\"]+\"")
# What a refusal leaves behind: an entry in the log. Sessions note when someone was last active.
NOTED = frozenset({"audit_event", "audit_head", "session"})
VALUES = {"application_id": "a" * 64, "secret": "gloas-" + "b" * 64}


class Case:
    """A connection of a new administrator with an open link, and the browser that has opened it, once one has."""

    def __init__(self, world: World, step: Step = Step.APPLICATION, *, is_opened: bool = False) -> None:
        self.world, self.runtime, self.kind = world, world.runtime, step
        number = len(world.cases)  # type: ignore[attr-defined]
        world.cases.append(self)  # type: ignore[attr-defined]
        self.maker = add_actor(world.runtime, 1, f"Maker{number} Person", Role.ADMINISTRATOR)
        self.slug = make_objects(world.runtime, 1, self.maker.user_id).slug
        self.link = self.make()
        self.browser = Visitor(world.app)
        self.step = open_link(self.browser, self.link) if is_opened else ""

    def make(self) -> str:
        principal = principal_of(self.runtime, self.maker)
        made = links.hand_over(self.runtime, principal, self.slug, self.kind, "Mads Hansen", 3)
        return made.removeprefix(self.runtime.settings.base_url)

    @property
    def page(self) -> str:
        return f"/connections/{self.slug}/hand-over/{self.kind}"

    def signed_in(self, name: str) -> Visitor:
        return self.world.signed_in(getattr(self.world.cast, name))

    @property
    def stranger(self) -> Visitor:
        return Visitor(self.world.app)

    @property
    def public_id(self) -> str:
        return self.step.rpartition("/")[2]

    def cookie(self) -> tuple[str, str]:
        name = "hand-over-" + self.public_id
        return name, self.browser.http.get_cookie(name, domain="127.0.0.1").value

    def change(self, table: type, **values: object) -> None:
        mine = {
            HandOver: col(HandOver.token_hash) == hash_of(self.link.rpartition("/")[2]),
            Connection: col(Connection.slug) == self.slug,
            Membership: col(Membership.id) == self.maker.membership_id,
            User: col(User.id) == self.maker.user_id,
            Organization: col(Organization.id) == 1,
        }[table]
        with self.runtime.database.transaction() as session:
            session.execute(update(table).where(mine).values(**values))


# What ends a link, whether or not it has been opened.


def expire(case: Case) -> None:
    case.change(HandOver, expires_at=utc_now() - timedelta(seconds=1))


def withdraw(case: Case) -> None:
    links.withdraw(case.runtime, principal_of(case.runtime, case.maker), case.slug, case.kind)


def make_another(case: Case) -> None:
    case.make()


def finish(case: Case) -> None:
    case.change(HandOver, outcome=Outcome.ACCEPTED)


def decline(case: Case) -> None:
    case.change(HandOver, outcome=Outcome.DECLINED)


def demote_the_maker(case: Case) -> None:
    case.change(Membership, role=Role.AUDITOR)


def remove_the_maker(case: Case) -> None:
    with case.runtime.database.transaction() as session:
        session.execute(delete(Membership).where(col(Membership.id) == case.maker.membership_id))


def disable_the_maker(case: Case) -> None:
    case.change(User, is_disabled=True)


def disconnect(case: Case) -> None:
    case.change(Connection, state=ConnectionState.DISCONNECTED)


def move_to_another_gitlab(case: Case) -> None:
    case.change(Connection, external_url="https://127.0.0.2")


def move_the_api(case: Case) -> None:
    case.change(Connection, api_url="https://127.0.0.2")


def reopen_an_earlier_step(case: Case) -> None:
    case.change(Connection, steps_done=["purpose"])


def delete_the_connection(case: Case) -> None:
    with case.runtime.database.transaction() as session:
        session.delete(session.exec(select(Connection).where(Connection.slug == case.slug)).one())


def lose_the_plan(case: Case) -> None:
    case.change(Organization, plan="basic")
    case.change(Connection, authorized_at=None)  # One in use would keep working.


def put_the_connection_into_use(case: Case) -> None:
    case.change(Connection, authorized_at=utc_now() + timedelta(seconds=1))


def be_slower_than_the_maker(case: Case) -> None:
    with case.runtime.database.transaction() as session:
        mine = select(Application).join(Connection).where(Connection.slug == case.slug)
        application = session.exec(mine).one()
        application.checked_at = application.updated_at = utc_now() + timedelta(seconds=1)


ENDS = (
    *(
        expire,
        withdraw,
        make_another,
        finish,
        decline,
        demote_the_maker,
        remove_the_maker,
        disable_the_maker,
        disconnect,
    ),
    *(move_to_another_gitlab, move_the_api, reopen_an_earlier_step, delete_the_connection),
    lose_the_plan,
    put_the_connection_into_use,
    be_slower_than_the_maker,
)


# What is no link, or someone else's.


def altered(alter: Callable[[str], str]) -> Callable[[Case], tuple[Visitor, str, dict[str, str]]]:
    return lambda case: (case.stranger, "/hand-over/" + alter(case.link.rpartition("/")[2]), {})


def opened_elsewhere(case: Case) -> tuple[Visitor, str, dict[str, str]]:
    open_link(Visitor(case.world.app), case.link)
    return case.stranger, case.link, {}


def with_cookies(*values: Callable[[Case], tuple[str, str]]) -> Callable[[Case], tuple[Visitor, str, dict[str, str]]]:
    def send(case: Case) -> tuple[Visitor, str, dict[str, str]]:
        stranger = case.stranger
        for path, make in zip(("/", "/hand-over"), values, strict=False):
            stranger.http.set_cookie(*make(case), domain="127.0.0.1", path=path)
        return stranger, f"{case.step}/application", VALUES

    return send


def of_another_link(case: Case) -> tuple[str, str]:
    return case.cookie()[0], Case(case.world, is_opened=True).cookie()[1]


def forged(case: Case) -> tuple[str, str]:
    return case.cookie()[0], "x" * 43


def at(path: str, data: dict[str, str] | None = None) -> Callable[[Case], tuple[Visitor, str, dict[str, str]]]:
    return lambda case: (case.browser, case.step.rpartition("/")[0] + "/" + path, data or {})


def after(path: str, data: dict[str, str] | None = None) -> Callable[[Case], tuple[Visitor, str, dict[str, str]]]:
    return lambda case: (case.browser, case.step + path, data or {})


def too_often(case: Case) -> tuple[Visitor, str, dict[str, str]]:
    case.change(HandOver, tries=links.MAX_TRIES)
    return case.browser, f"{case.step}/application", VALUES


SEALED = {
    "token of nobody": altered(lambda token: "x" * 43),
    "token without its last character": altered(lambda token: token[:-1]),
    "token with one more character": altered(lambda token: token + "A"),
    "token in other letters": altered(str.swapcase),
    "hash of the token, as it is stored": altered(hash_of),
    "link that is open in another browser": opened_elsewhere,
}
OPENED = {
    "no cookie": lambda case: (case.stranger, f"{case.step}/application", VALUES),
    "cookie that is made up": with_cookies(forged),
    "cookie of another link": with_cookies(of_another_link),
    "cookie that comes twice": with_cookies(Case.cookie, Case.cookie),
    "step of nobody": at("no-such-step/application", VALUES),
    "another step": after("/authorization"),
    "the token again, elsewhere": lambda case: (case.stranger, case.link, {}),
    "the twenty-first try": too_often,
}


@pytest.fixture(scope="module", autouse=True)
def cases(world: World) -> None:
    world.cases = []  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def plan(world: World) -> None:
    with world.runtime.database.transaction() as session:
        session.execute(update(Organization).values(plan="enterprise"))


def plain_page(world: World) -> str:
    return VARIES.sub("", Visitor(world.app).get("/hand-over/" + "x" * 43).text)


def assert_nothing_happens(case: Case, visitor: Visitor, path: str, data: dict[str, str]) -> None:
    """Send a form; the answer is the page of a link that never existed, and at most the log has one entry more."""
    before = digests(case.runtime.database, NOTED)

    answer = visitor.post(path, data)

    assert answer.status_code == 404
    assert VARIES.sub("", answer.text) == plain_page(case.world)
    assert digests(case.runtime.database, NOTED) == before


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_link_that_has_ended_is_a_plain_page_before_and_after_it_was_opened(world: World, end) -> None:
    sealed, opened = Case(world), Case(world, is_opened=True)
    for case in (sealed, opened):
        end(case)

    assert VARIES.sub("", sealed.browser.get(sealed.link).text) == plain_page(world)
    assert_nothing_happens(sealed, sealed.browser, sealed.link, {})
    assert_nothing_happens(opened, opened.browser, f"{opened.step}/application", VALUES)


@pytest.mark.parametrize("misuse", SEALED.values(), ids=SEALED)
def test_what_is_no_link_opens_nothing(world: World, misuse) -> None:
    case = Case(world)

    assert_nothing_happens(case, *misuse(case))


@pytest.mark.parametrize("misuse", OPENED.values(), ids=OPENED)
def test_opened_link_is_good_for_its_browser_and_its_step_only(world: World, misuse) -> None:
    case = Case(world, is_opened=True)

    assert_nothing_happens(case, *misuse(case))


def test_link_for_the_popup_takes_no_application_and_leads_into_no_other_attempt(world: World) -> None:
    case = Case(world, Step.AUTHORIZE, is_opened=True)
    theirs = make_objects(case.runtime, 1, case.maker.user_id).public_id

    assert_nothing_happens(case, case.browser, f"{case.step}/application", VALUES)
    assert case.browser.get(f"{case.step}/authorization/{theirs}/go").status_code == 404


@pytest.mark.parametrize(
    ("status", "send"),
    [
        (405, lambda case: case.browser.http.put(case.step, base_url=case.runtime.settings.base_url)),
        (405, lambda case: case.browser.http.delete(case.link, base_url=case.runtime.settings.base_url)),
        (405, lambda case: case.browser.get(f"{case.step}/application")),
        (403, lambda case: case.browser.post(f"{case.step}/application", VALUES, token="wrong")),
        (403, lambda case: case.browser.post(case.step + "/decline", headers={"Sec-Fetch-Site": "cross-site"})),
        (400, lambda case: case.browser.post(f"{case.step}/application", {**VALUES, "display_name": "x"})),
        (400, lambda case: case.browser.post(f"{case.step}/decline", {"reason": ["a", "b"]})),
        (422, lambda case: case.browser.post(f"{case.step}/application", {"application_id": "", "secret": ""})),
        (422, lambda case: case.browser.post(f"{case.step}/decline", {"reason": "x" * 501})),
        (303, lambda case: case.browser.get(f"/connections/{case.slug}")),
        (401, lambda case: case.browser.post(f"/connections/{case.slug}/setup/application", VALUES)),
        (401, lambda case: case.browser.post(case.page, {"recipient": "x"})),
        (404, lambda case: case.signed_in("outsider").get(case.page)),
        (404, lambda case: case.signed_in("lead").post(case.page)),
        (404, lambda case: case.signed_in("auditor").get(case.page)),
        (404, lambda case: case.signed_in("owner").get(f"/connections/{case.slug}/hand-over/instance")),
        (
            422,
            lambda case: case.signed_in("owner").post(
                case.page, {"recipient": "x", "days": "400", "after": case.public_id}
            ),
        ),
        (
            422,
            lambda case: case.signed_in("owner").post(
                case.page, {"recipient": " ", "days": "3", "after": case.public_id}
            ),
        ),
    ],
)
def test_request_that_the_page_does_not_make_is_refused(world: World, status: int, send) -> None:
    case = Case(world, is_opened=True)
    # A form that was wrong is a try, and counts.
    besides = NOTED | ({"hand_over"} if status == 422 else set())
    before = digests(case.runtime.database, besides)

    assert send(case).status_code == status

    assert digests(case.runtime.database, besides) == before


def test_looking_at_a_link_uses_nothing_up_and_refused_uses_are_in_the_log(world: World) -> None:
    case = Case(world)
    before = digests(case.runtime.database)
    for _ in range(2):
        assert case.stranger.get(case.link).status_code == 200
        assert case.stranger.http.head(case.link, base_url=case.runtime.settings.base_url).status_code == 200
    assert digests(case.runtime.database) == before
    step = case.step = open_link(case.browser, case.link)
    assert case.browser.get(case.link).headers["Location"] == step

    withdraw(case)
    case.browser.post(f"{step}/application", VALUES)

    with case.runtime.database.reading() as session:
        newest = session.exec(select(AuditEvent).order_by(col(AuditEvent.number).desc()).limit(2)).all()
        kept = repr([row.model_dump() for table in (HandOver, AuditEvent) for row in session.exec(select(table)).all()])
    assert [event.action for event in newest] == ["handover.refused", "handover.withdrawn"]
    assert newest[0].details["code"] == "withdrawn"
    assert case.link.rpartition("/")[2] not in kept
    assert case.cookie()[1] not in kept


@BOTH_DATABASES
def test_of_two_browsers_and_of_two_forms_at_once_one_is_taken(
    runtime: Runtime, sandbox: RunningSandbox, app: Flask, owner: Visitor, prepared: Prepared
) -> None:
    forget_application(runtime, prepared)
    link = hand_over(owner, prepared.slug)
    browsers = [Visitor(app), Visitor(app)]
    for browser in browsers:
        browser.csrf_token()
    opened = crowd(runtime.database, "hand_over", *(lambda browser=browser: browser.post(link) for browser in browsers))

    assert sorted(answer.status_code for answer in opened) == [303, 404]
    winner = next(index for index, answer in enumerate(opened) if answer.status_code == 303)
    step = opened[winner].headers["Location"]
    name = "hand-over-" + step.rpartition("/")[2]
    cookie = browsers[winner].http.get_cookie(name, domain="127.0.0.1")
    tabs = [Visitor(app), Visitor(app)]
    for tab in tabs:
        tab.csrf_token()
        tab.http.set_cookie(name, cookie.value, domain="127.0.0.1")
    values = {"application_id": prepared.application.uid, "secret": prepared.secret}
    sent = crowd(
        runtime.database,
        "application",
        *(lambda tab=tab: tab.post(f"{step}/application", values) for tab in tabs),
    )

    assert sorted(answer.status_code for answer in sent) == [303, 404]
    with runtime.database.reading() as session:
        actions = session.exec(select(AuditEvent.action)).all()
    assert [actions.count(name) for name in ("handover.opened", "handover.accepted")] == [1, 1]


@pytest.mark.parametrize("end", [withdraw, demote_the_maker, disconnect, move_the_api], ids=lambda end: end.__name__)
def test_link_that_ends_while_gitlab_is_asked_stores_nothing(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, visitor: Visitor, prepared: Prepared, cast, end
) -> None:
    forget_application(runtime, prepared)
    link = hand_over(owner, prepared.slug)
    step = open_link(visitor, link)
    case = Case.__new__(Case)
    case.runtime, case.kind, case.slug, case.link = runtime, Step.APPLICATION, prepared.slug, link
    case.maker = cast.owner
    values = {"application_id": prepared.application.uid, "secret": prepared.secret}
    sandbox.requests.clear()
    sandbox.faults.hold("/oauth/token")
    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(visitor.post, f"{step}/application", values)
        sandbox.requests.wait_for("/oauth/token")
        end(case)
        sandbox.faults.release()
        answer = answering.result(30)

    assert answer.status_code == 404
    with runtime.database.reading() as session:
        assert session.exec(select(Application)).all() == []


def test_link_that_ends_while_someone_is_at_gitlab_stores_nothing_and_revokes_the_pair(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, visitor: Visitor, prepared: Prepared
) -> None:
    step = open_link(visitor, hand_over(owner, prepared.slug, "authorize"))
    leave = visitor.post(f"{step}/authorization").headers["Location"]
    location = pass_gitlab(sandbox, visitor.get(leave.removesuffix("leave") + "go").headers["Location"], "gatehouse")
    owner.post(f"/connections/{prepared.slug}/hand-over/authorize/withdrawal")

    assert come_back(Visitor(owner.app), location).status_code == 400
    elsewhere = location.replace(f"/callback/{prepared.slug}?", "/callback/another?")
    assert come_back(visitor, elsewhere).status_code == 400
    assert come_back(visitor, location).status_code == 404

    with runtime.database.reading() as session:
        assert session.exec(select(Credential)).all() == []
    assert [token.is_revoked for token in sandbox.world.oauth.tokens()] == [True]
    assert only_link(runtime).outcome == Outcome.WITHDRAWN
    with runtime.database.reading() as session:
        refused = select(AuditEvent).where(AuditEvent.action == "authorization.refused").order_by(AuditEvent.number)
        found = [(event.actor_kind, event.details["code"]) for event in session.exec(refused)]
    assert found == [("anonymous", "other_browser"), ("hand_over", "right_lost")]
