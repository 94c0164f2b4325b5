from __future__ import annotations

import re
from html import unescape
from urllib.parse import parse_qsl

import pytest
from flask import Flask
from sqlmodel import select
from werkzeug.test import TestResponse

from portal.accounts.models import SessionRecord
from portal.runtime import Runtime
from portal.web.assets import TEMPLATES
from portal.web.forms import KEPT_ENTRIES, SECRET_FIELDS
from tests.accounts.support import form_on, give_password, let_time_pass
from tests.security.tables import digests
from tests.support.people import Actor, Cast
from tests.support.visitor import Visitor

PURPOSE = {"display_name": 'Engi "neering" <b>', "services": ["repositories", "issues"], "method": "oauth"}


def expire(owner: Visitor) -> str:
    """Let the session end while a page is open; return the token of that page."""
    token = owner.csrf_token()
    let_time_pass(owner.app, minutes=31)
    return token


def sign_in_again(visitor: Visitor, actor: Actor, asked: TestResponse) -> str:
    """Fill in the sign-in page that answered a form; return the address it leads to."""
    action, hidden = form_on(asked)
    done = visitor.http.post(
        action,
        data={**hidden, "email": actor.email, "password": actor.password},
        base_url=visitor.base_url,
        headers={"Sec-Fetch-Site": "same-origin"},
    )
    assert done.status_code == 303, done.text
    return str(done.headers["Location"])


def test_form_sent_after_the_session_is_over_is_filled_in_again_after_signing_in(cast: Cast, owner: Visitor) -> None:
    token = expire(owner)

    asked = owner.post("/connections/new", PURPOSE, token=token)
    page = sign_in_again(owner, cast.owner, asked)
    form = owner.get(page)

    assert asked.status_code == 401
    assert "You were signed out after 30 minutes without use." in asked.text
    assert "your entries are kept" in asked.text
    assert page == "/connections/new"
    assert f'value="{PURPOSE["display_name"]}"' in unescape(form.text)
    ticked = re.findall(r'name="services" value="(\w+)" checked', form.text)
    assert ticked == PURPOSE["services"]
    assert "Nothing was saved" in form.text


def test_secret_is_neither_shown_nor_kept(runtime: Runtime, cast: Cast, owner: Visitor) -> None:
    typed = {"application_id": "typed-id", "secret": "gloas-typed-secret"}

    asked = owner.post("/connections/gitlab/setup/application", typed, token=expire(owner))
    sign_in_again(owner, cast.owner, asked)

    assert "secrets are never kept" in asked.text
    assert "gloas-typed-secret" not in asked.text
    with runtime.database.reading() as session:
        kept = [record.data.get(KEPT_ENTRIES) for record in session.exec(select(SessionRecord))]
    entries = [dict(parse_qsl(entry["form"])) for pages in kept if pages for entry in pages.values()]
    assert entries == [{"application_id": "typed-id"}]


def test_wrong_password_does_not_lose_the_entries(cast: Cast, owner: Visitor) -> None:
    asked = owner.post("/connections/new", PURPOSE, token=expire(owner))
    action, hidden = form_on(asked)

    refused = owner.post(
        action, {**hidden, "email": cast.owner.email, "password": "not it"}, token=hidden["csrf_token"]
    )

    assert refused.status_code == 422
    assert form_on(refused)[1]["kept"] == hidden["kept"]


def test_entries_are_for_their_page_until_a_form_is_sent(cast: Cast, owner: Visitor) -> None:
    asked = owner.post("/connections/new", PURPOSE, token=expire(owner))
    page = sign_in_again(owner, cast.owner, asked)

    assert "Engi " not in owner.get("/profile").text
    assert "Engi " in owner.get(page).text
    assert "Engi " in owner.get(page).text
    owner.post("/profile/name", {"name": "Olga"})
    assert "Engi " in owner.get(page).text
    owner.post(page, {**PURPOSE, "display_name": ""})
    assert "Engi " not in owner.get(page).text


def test_session_ended_elsewhere_loses_nothing_either(cast: Cast, owner: Visitor) -> None:
    token = owner.csrf_token()
    owner.post("/sign-out")

    asked = owner.post("/connections/new", PURPOSE, token=token)

    assert asked.status_code == 401
    assert "You are signed out." in asked.text
    assert sign_in_again(owner, cast.owner, asked) == "/connections/new"


def test_page_from_before_another_sign_in_can_be_taken_up(runtime: Runtime, cast: Cast, owner: Visitor) -> None:
    token = owner.csrf_token()
    give_password(owner, cast.owner)
    before = digests(runtime.database)

    refused = owner.post("/connections/new", PURPOSE, token=token)
    action, hidden = form_on(refused)

    assert (refused.status_code, action) == (403, "/entries")
    assert "You have signed in again since it was opened." in refused.text
    assert digests(runtime.database) == before
    assert owner.post(action, hidden).headers["Location"] == "/connections/new"
    assert "Engi " in owner.get("/connections/new").text


def test_page_of_another_site_is_not_told_how_to_go_on(owner: Visitor) -> None:
    form = {"name": "Another", "csrf_token": "wrong"}

    answer = owner.http.post("/profile/name", data=form, base_url=owner.base_url)

    assert answer.status_code == 403
    assert "/entries" not in answer.text


@pytest.mark.parametrize(
    ("path", "form", "page"),
    [
        ("/members/invitations", {"email": "new@example.com", "role": "auditor"}, "/members/invitations"),
        ("/profile/name", {"name": "Another"}, "/profile"),
        ("/repositories/enable", {"only": "1"}, "/repositories/"),
        ("/connections/nowhere/name", {"display_name": "x", "next": "/connections/"}, "/connections/"),
        ("/connections/nowhere/name", {"display_name": "x", "next": "//evil.example"}, "/connections/nowhere"),
    ],
)
def test_the_way_leads_back_to_the_page_of_the_form(
    cast: Cast, owner: Visitor, path: str, form: dict[str, str], page: str
) -> None:
    asked = owner.post(path, form, token=expire(owner))

    assert form_on(asked)[1]["next"].rstrip("/") == page.rstrip("/")


def test_htmx_is_asked_over_the_page_and_its_forms_get_the_new_token(cast: Cast, owner: Visitor) -> None:
    token = expire(owner)

    asked = owner.post("/repositories/enable", {"only": "1"}, token=token, htmx=True)
    wrong = owner.post("/sign-in", {"email": cast.owner.email, "password": "no"}, token=token, htmx=True)
    done = owner.post("/sign-in", {"email": cast.owner.email, "password": cast.owner.password}, token=token, htmx=True)
    new = re.search(r'data-token="([^"]+)"', done.text)

    assert [(answer.status_code, answer.headers.get("HX-Retarget")) for answer in (asked, wrong)] == [
        (401, "#question"),
        (422, "#question"),
    ]
    assert "<dialog" in asked.text
    assert "<html" not in asked.text
    assert new is not None
    assert owner.post("/profile/name", {"name": "Olga"}, token=token).status_code == 403
    assert owner.post("/profile/name", {"name": "Olga"}, token=new.group(1)).status_code == 303


def test_every_secret_field_of_the_pages_is_known_as_one() -> None:
    named = {
        name
        for path in TEMPLATES.rglob("*.html")
        if "sandbox" not in path.parts
        for name in re.findall(r'secret_field\("(\w+)"', path.read_text(encoding="utf-8"))
    }

    assert named <= SECRET_FIELDS


def test_visitor_who_was_never_signed_in_is_not_told_otherwise(app: Flask, cast: Cast, visitor: Visitor) -> None:
    page = visitor.get("/jobs", follow_redirects=True)

    assert "Sign in" in page.text
    assert "signed out" not in page.text
