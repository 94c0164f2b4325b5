from __future__ import annotations

import re

import pytest
from flask import Flask
from sqlmodel import select

from portal.accounts.models import Invitation, Membership
from portal.actor import Role
from portal.audit.models import AuditEvent
from portal.runtime import Runtime
from tests.accounts.at_once import crowd
from tests.accounts.support import BOTH_DATABASES, cookie_of, is_signed_in, with_cookie
from tests.security.tables import digests
from tests.support.people import Actor, Cast, add_actor
from tests.support.visitor import Visitor

SMUGGLED = ("team_id", "instance_id", "id", "created_by", "organization_id", "membership_id", "user_id", "is_disabled")


def role_of(runtime: Runtime, actor: Actor) -> str | None:
    with runtime.database.reading() as session:
        found = session.get(Membership, actor.membership_id)
        return found.role if found else None


def change(visitor: Visitor, actor: Actor, role: str, **details: str) -> int:
    return visitor.post(f"/members/{actor.membership_id}/role", {"role": role}, **details).status_code


def test_new_role_ends_the_sessions_and_is_recorded(
    app: Flask, runtime: Runtime, cast: Cast, owner: Visitor, lead: Visitor
) -> None:
    assert change(owner, cast.lead, "auditor") == 303

    assert role_of(runtime, cast.lead) == Role.AUDITOR
    assert not is_signed_in(lead)
    with runtime.database.reading() as session:
        event = session.exec(select(AuditEvent).where(AuditEvent.action == "member.role_changed")).one()
    assert (event.object_name, event.details) == (cast.lead.email, {"old": "team_lead", "new": "auditor"})
    assert event.actor.user_id == cast.owner.user_id


def test_own_new_role_gives_the_session_another_id(app: Flask, runtime: Runtime, cast: Cast, owner: Visitor) -> None:
    add_actor(runtime, 1, "Second Owner", Role.OWNER)
    elsewhere, old = Visitor(app).sign_in(cast.owner), cookie_of(owner)

    answer = owner.post(f"/members/{cast.owner.membership_id}/role", {"role": "team_lead"})

    assert answer.headers["Location"] == "/connections/"
    assert is_signed_in(owner)
    assert cookie_of(owner) != old
    assert [is_signed_in(visitor) for visitor in (with_cookie(app, old), elsewhere)] == [False, False]
    assert owner.get("/members").status_code == 404


def test_demotion_acts_on_the_next_request(runtime: Runtime, cast: Cast, administrator: Visitor) -> None:
    assert administrator.get("/connections/new").status_code == 200
    token = administrator.csrf_token()
    with runtime.database.transaction() as session:
        session.get_one(Membership, cast.administrator.membership_id).role = Role.AUDITOR

    form = {"services": "repositories", "method": "oauth", "display_name": "GitLab"}
    assert administrator.get("/connections/new").status_code == 404
    assert administrator.post("/connections/new", form, token=token, htmx=True).status_code == 404


@pytest.mark.parametrize("role", ["administrator", "team_lead", "auditor"])
def test_last_owner_keeps_the_role(runtime: Runtime, cast: Cast, owner: Visitor, role: str) -> None:
    before = digests(runtime.database)

    assert change(owner, cast.owner, role) == 409
    assert owner.post(f"/members/{cast.owner.membership_id}/removal").status_code == 409
    assert f'href="#remove-{cast.owner.membership_id}"' not in owner.get("/members").text
    assert f'href="#remove-{cast.lead.membership_id}"' in owner.get("/members").text
    assert digests(runtime.database) == before


@BOTH_DATABASES
@pytest.mark.parametrize("action", ["role", "removal"])
def test_two_owners_who_put_each_other_out_at_once_leave_one(
    app: Flask, runtime: Runtime, cast: Cast, action: str
) -> None:
    second = add_actor(runtime, 1, "Second Owner", Role.OWNER)
    pairs = [(Visitor(app).sign_in(cast.owner), second), (Visitor(app).sign_in(second), cast.owner)]
    tokens = [visitor.csrf_token() for visitor, _ in pairs]
    form = {"role": "auditor"} if action == "role" else {}

    def put_out(number: int) -> int:
        visitor, other = pairs[number]
        return visitor.post(f"/members/{other.membership_id}/{action}", form, token=tokens[number]).status_code

    statuses = crowd(runtime.database, "membership", lambda: put_out(0), lambda: put_out(1))

    assert [role_of(runtime, actor) for actor in (cast.owner, second)].count(Role.OWNER) == 1
    assert max(statuses) < 500


@BOTH_DATABASES
def test_same_member_removed_and_changed_at_once_is_no_failure(app: Flask, runtime: Runtime, cast: Cast) -> None:
    visitors = [Visitor(app).sign_in(cast.owner) for _ in range(6)]
    tokens = [visitor.csrf_token() for visitor in visitors]
    member = f"/members/{cast.lead.membership_id}"
    forms = [("/removal", {}), ("/role", {"role": "auditor"})] * 3

    statuses = crowd(
        runtime.database,
        "membership",
        *(
            lambda v=visitor, p=path, f=form, t=token: v.post(member + p, f, token=t).status_code
            for visitor, token, (path, form) in zip(visitors, tokens, forms, strict=True)
        ),
    )

    assert set(statuses) <= {303, 404}
    assert role_of(runtime, cast.lead) is None


@pytest.mark.parametrize("role", ["", "root", "Owner", "owner\x01", "x" * 5000])
def test_role_that_does_not_exist_is_refused(runtime: Runtime, cast: Cast, owner: Visitor, role: str) -> None:
    assert change(owner, cast.lead, role) == 422
    assert role_of(runtime, cast.lead) == Role.TEAM_LEAD


@pytest.mark.parametrize("number", ["0", "999999", "9223372036854775808", "9" * 30, "-1", "1.5", "x"])
@pytest.mark.parametrize("action", ["role", "removal"])
@BOTH_DATABASES
def test_member_who_does_not_exist_is_404(owner: Visitor, number: str, action: str) -> None:
    form = {"role": "auditor"} if action == "role" else {}

    assert owner.post(f"/members/{number}/{action}", form).status_code == 404


def test_member_of_another_organization_is_404(runtime: Runtime, cast: Cast, outsider: Visitor) -> None:
    assert change(outsider, cast.lead, "owner") == 404
    assert outsider.post(f"/members/{cast.lead.membership_id}/removal").status_code == 404
    assert role_of(runtime, cast.lead) == Role.TEAM_LEAD


@pytest.mark.parametrize("who", ["administrator", "lead", "auditor"])
def test_nobody_else_makes_themselves_an_owner(app: Flask, runtime: Runtime, cast: Cast, who: str) -> None:
    actor: Actor = getattr(cast, who)

    assert change(Visitor(app).sign_in(actor), actor, "owner") == 404
    assert role_of(runtime, actor) == actor.role


@pytest.mark.parametrize("field", SMUGGLED)
def test_field_that_the_form_does_not_have_is_400(runtime: Runtime, cast: Cast, owner: Visitor, field: str) -> None:
    before, token = digests(runtime.database), owner.csrf_token()
    member = f"/members/{cast.lead.membership_id}"
    forms = {
        f"{member}/role": {"role": "auditor"},
        f"{member}/removal": {},
        "/members/invitations": {"email": "new@example.com", "role": "auditor"},
        "/profile/name": {"name": "Another"},
        "/profile/password": {"password": cast.owner.password, "new_password": "another quiet lantern"},
        "/profile/sessions/end": {},
        "/prove": {"password": cast.owner.password},
        "/sign-in": {"email": cast.owner.email, "password": cast.owner.password},
    }

    found = {path: owner.post(path, {**form, field: "1"}, token=token).status_code for path, form in forms.items()}

    assert found == dict.fromkeys(forms, 400)
    assert digests(runtime.database) == before


def test_role_of_oneself_cannot_ride_along_with_the_name(runtime: Runtime, cast: Cast, lead: Visitor) -> None:
    assert lead.post("/profile/name", {"name": "Lea", "role": "owner"}).status_code == 400
    assert role_of(runtime, cast.lead) == Role.TEAM_LEAD


def test_links_of_an_owner_die_with_their_role(app: Flask, runtime: Runtime, cast: Cast, owner: Visitor) -> None:
    second = add_actor(runtime, 1, "Second Owner", Role.OWNER)
    Visitor(app).sign_in(second).post("/members/invitations", {"email": "friend@example.com", "role": "owner"})

    assert change(owner, second, "auditor") == 303

    with runtime.database.reading() as session:
        assert session.exec(select(Invitation)).all() == []


@pytest.mark.parametrize(
    ("who", "hidden"),
    [("owner", set()), ("administrator", set()), ("auditor", set()), ("lead", {"/members", "/audit"})],
)
def test_navigation_leads_only_to_pages_that_one_may_see(app: Flask, cast: Cast, who: str, hidden: set[str]) -> None:
    visitor = Visitor(app).sign_in(getattr(cast, who))
    text = visitor.get("/profile").text.partition('<ul class="gh-nav">')[2].partition("</ul>")[0]
    links = set(re.findall(r'<a class="gh-plain" href="([^"]+)"', text))

    pages = {"/connections/", "/repositories/", "/reports", "/sites/", "/jobs", "/members", "/audit"}
    assert links == pages - hidden
    assert {visitor.get(link).status_code for link in links} == {200}


@pytest.mark.parametrize("who", ["administrator", "auditor"])
def test_members_are_shown_without_controls_to_those_who_may_only_look(app: Flask, cast: Cast, who: str) -> None:
    text = Visitor(app).sign_in(getattr(cast, who)).get("/members").text

    assert cast.lead.email in text
    assert "/removal" not in text
    assert "/role" not in text
    assert "/members/invitations" not in text
