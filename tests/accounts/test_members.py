from __future__ import annotations

import re
from datetime import timedelta

import pytest
from flask import Flask
from sqlmodel import select

from portal.accounts.models import Invitation, Membership, User
from portal.audit.models import AuditEvent
from portal.db import utc_now
from portal.runtime import Runtime
from portal.tokens import hash_of
from tests.accounts.at_once import crowd
from tests.accounts.support import BOTH_DATABASES, give_password, is_signed_in
from tests.support.people import PASSWORD, Cast
from tests.support.visitor import Visitor

LINK = re.compile(r"/invitations/[A-Za-z0-9_-]{43}")
NEW = {"email": "New@Example.com", "role": "auditor"}
PERSON = {"name": "Nele New", "password": PASSWORD}


def invite(owner: Visitor, **changes: str) -> str:
    answer = owner.post("/members/invitations", {**NEW, **changes})
    assert answer.status_code == 200, answer.text
    return LINK.search(answer.text)[0]  # type: ignore[index]


def actions(runtime: Runtime) -> list[str]:
    with runtime.database.reading() as session:
        return [event.action for event in session.exec(select(AuditEvent).order_by(AuditEvent.number))]  # type: ignore[arg-type]


def test_invited_person_becomes_a_member_with_that_role(
    runtime: Runtime, cast: Cast, owner: Visitor, visitor: Visitor
) -> None:
    link = invite(owner)
    assert "new@example.com" in visitor.get(link).text

    answer = visitor.post(link, PERSON)

    assert (answer.status_code, is_signed_in(visitor)) == (303, True)
    with runtime.database.reading() as session:
        user = session.exec(select(User).where(User.email == "new@example.com")).one()
        membership = session.exec(select(Membership).where(Membership.user_id == user.id)).one()
    assert (user.name, membership.role, membership.organization_id) == ("Nele New", "auditor", 1)
    assert actions(runtime) == ["member.invited", "member.joined"]


def test_link_is_shown_once_and_stored_as_a_hash(runtime: Runtime, cast: Cast, owner: Visitor) -> None:
    token = invite(owner).rpartition("/")[2]

    with runtime.database.reading() as session:
        assert session.exec(select(Invitation)).one().token_hash == hash_of(token)
    assert token not in owner.get("/members").text


def test_link_works_once(app: Flask, owner: Visitor, visitor: Visitor) -> None:
    link = invite(owner)
    visitor.post(link, PERSON)
    later = Visitor(app)

    assert (later.get(link).status_code, later.post(link, PERSON).status_code) == (404, 404)


@BOTH_DATABASES
def test_link_used_by_many_at_once_makes_one_member(app: Flask, runtime: Runtime, cast: Cast, owner: Visitor) -> None:
    link = invite(owner)
    visitors = [Visitor(app) for _ in range(8)]
    tokens = [visitor.csrf_token() for visitor in visitors]

    statuses = crowd(
        runtime.database,
        "invitation",
        *(lambda v=v, t=t: v.post(link, PERSON, token=t).status_code for v, t in zip(visitors, tokens, strict=True)),
    )

    assert sorted(statuses) == [303] + [404] * 7


@BOTH_DATABASES
def test_two_links_for_one_address_make_one_member(app: Flask, runtime: Runtime, cast: Cast, owner: Visitor) -> None:
    links = [invite(owner), invite(owner)]
    visitors = [Visitor(app), Visitor(app)]
    tokens = [visitor.csrf_token() for visitor in visitors]

    statuses = crowd(
        runtime.database,
        "invitation",
        *(
            lambda v=v, p=path, t=token: v.post(p, PERSON, token=t).status_code
            for v, path, token in zip(visitors, links, tokens, strict=True)
        ),
    )

    assert sorted(statuses) == [303, 422]


def test_old_link_is_dead(runtime: Runtime, owner: Visitor, visitor: Visitor) -> None:
    link = invite(owner)
    with runtime.database.transaction() as session:
        session.exec(select(Invitation)).one().expires_at = utc_now() - timedelta(seconds=1)

    assert (visitor.get(link).status_code, visitor.post(link, PERSON).status_code) == (404, 404)
    assert "new@example.com" not in owner.get("/members").text


def test_withdrawn_invitation_is_dead_and_gone(
    runtime: Runtime, cast: Cast, owner: Visitor, administrator: Visitor, visitor: Visitor
) -> None:
    link = invite(owner)
    with runtime.database.reading() as session:
        address = f"/members/invitations/{session.exec(select(Invitation.id)).one()}/withdrawal"

    assert administrator.post(address).status_code == 404
    assert visitor.get(link).status_code == 200
    assert owner.post(address).status_code == 303

    page = owner.get("/members").text
    assert "The invitation for new@example.com is withdrawn." in page
    assert page.count("new@example.com") == 1
    assert (visitor.get(link).status_code, visitor.post(link, PERSON).status_code) == (404, 404)
    assert owner.post(address).status_code == 404
    assert actions(runtime) == ["member.invited", "access.refused", "member.invitation_withdrawn"]


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"email": ""}, "email"),
        ({"email": "no"}, "email"),
        ({"email": "a\x01@example.com"}, "email"),
        ({"email": "x" * 260 + "@example.com"}, "email"),
        ({"email": "lea@example.com"}, "email"),
        ({"email": "LEA@example.com"}, "email"),
        ({"role": ""}, "role"),
        ({"role": "root"}, "role"),
    ],
)
@BOTH_DATABASES
def test_bad_invitation_names_the_field_and_keeps_what_was_typed(
    runtime: Runtime, cast: Cast, owner: Visitor, form: dict[str, str], field: str
) -> None:
    answer = owner.post("/members/invitations", {**NEW, **form})

    assert answer.status_code == 422
    assert f'id="{field}-error"' in answer.text
    with runtime.database.reading() as session:
        assert session.exec(select(Invitation)).all() == []


@pytest.mark.parametrize(("field", "value"), [("name", ""), ("name", "a\x01"), ("password", "short"), ("password", "")])
@BOTH_DATABASES
def test_link_stays_when_something_is_wrong(owner: Visitor, visitor: Visitor, field: str, value: str) -> None:
    link, token = invite(owner), visitor.csrf_token()

    assert visitor.post(link, {**PERSON, field: value}, token=token).status_code == 422
    assert visitor.post(link, PERSON, token=token).status_code == 303


def test_removed_member_is_signed_out_and_cannot_come_back_alone(
    app: Flask, runtime: Runtime, cast: Cast, owner: Visitor, lead: Visitor
) -> None:
    assert owner.post(f"/members/{cast.lead.membership_id}/removal").status_code == 303

    assert not is_signed_in(lead)
    assert give_password(Visitor(app), cast.lead).status_code == 422
    assert cast.lead.email not in owner.get("/members").text


def test_removed_member_can_be_invited_again(app: Flask, runtime: Runtime, cast: Cast, owner: Visitor) -> None:
    owner.post(f"/members/{cast.lead.membership_id}/removal")
    link, back = invite(owner, email=cast.lead.email), Visitor(app)

    assert back.post(link, {**PERSON, "password": "another quiet lantern"}).status_code == 303

    assert is_signed_in(back)
    with runtime.database.reading() as session:
        assert session.exec(select(User).where(User.email == cast.lead.email)).one().id == cast.lead.user_id
    assert give_password(Visitor(app), cast.lead).status_code == 422


def test_owner_who_removes_themselves_goes_to_the_sign_in(app: Flask, runtime: Runtime, cast: Cast) -> None:
    with runtime.database.transaction() as session:
        session.get_one(Membership, cast.administrator.membership_id).role = "owner"
    visitor = Visitor(app).sign_in(cast.owner)

    answer = visitor.post(f"/members/{cast.owner.membership_id}/removal")

    assert answer.headers["Location"] == "/sign-in"
    assert not is_signed_in(visitor)


def test_page_shows_members_of_the_own_organization_only(cast: Cast, owner: Visitor, outsider: Visitor) -> None:
    own, other = owner.get("/members").text, outsider.get("/members").text

    assert cast.lead.email in own
    assert cast.outsider.email not in own
    assert cast.lead.email not in other


def test_names_are_text(runtime: Runtime, cast: Cast, owner: Visitor, lead: Visitor) -> None:
    assert lead.post("/profile/name", {"name": "<img src=x onerror=alert(1)>{{7*7}}"}).status_code == 303

    text = owner.get("/members").text

    assert "<img src=x" not in text
    assert "{{7*7}}" in text
