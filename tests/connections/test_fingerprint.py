"""How people recognise which Secret is stored, without ever seeing it."""

from __future__ import annotations

import re

from portal.connections.instance import Entered, save_instance
from portal.connections.models import Connection
from portal.runtime import Runtime
from portal.vault import Secret
from tests.connections.drafts import application_of
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import Prepared, principal_of

SHOWN = re.compile(r"ends in <code>…(\S{4})</code>(?: ·|,) fingerprint <code[^>]*>([0-9a-f]{4}-[0-9a-f]{4})</code>")


def shown_on(owner: Visitor, prepared: Prepared, page: str) -> tuple[str, str]:
    text = owner.get(f"/connections/{prepared.slug}{page}").text
    assert prepared.secret not in text
    (found,) = SHOWN.findall(text)
    return found


def test_stored_secret_is_recognised_by_its_end_and_its_fingerprint(
    runtime: Runtime, owner: Visitor, prepared: Prepared
) -> None:
    whole = runtime.vault.fingerprint(Secret(prepared.secret))

    assert shown_on(owner, prepared, "/settings") == (prepared.secret[-4:], f"{whole[:4]}-{whole[4:8]}")
    assert shown_on(owner, prepared, "/setup/application") == shown_on(owner, prepared, "/settings")


def test_another_secret_with_the_same_end_has_another_fingerprint(
    runtime: Runtime, owner: Visitor, prepared: Prepared
) -> None:
    before = application_of(runtime, prepared.connection).short_fingerprint
    other = "gloas-" + "0" * 60 + prepared.secret[-4:]
    with runtime.database.transaction() as session:
        session.get_one(Connection, prepared.connection.id).authorized_at = None
        application = application_of(runtime, prepared.connection)
        application.checked_at = None  # GitLab has not accepted it: what is typed now is stored, whatever GitLab says.
        session.merge(application)

    owner.post(
        f"/connections/{prepared.slug}/setup/credentials",
        {"application_id": prepared.application.uid, "secret": other},
    )

    end, shown = shown_on(owner, prepared, "/settings")
    assert end == other[-4:]
    assert shown != before


def test_secret_that_is_kept_keeps_its_fingerprint(runtime: Runtime, owner: Visitor, prepared: Prepared) -> None:
    before = shown_on(owner, prepared, "/settings")

    form = {"application_id": prepared.application.uid, "secret": ""}
    assert owner.post(f"/connections/{prepared.slug}/setup/credentials", form).status_code == 303

    assert shown_on(owner, prepared, "/settings") == before


def test_another_domain_forgets_the_fingerprint_with_the_secret(
    runtime: Runtime, cast: Cast, prepared: Prepared
) -> None:
    save_instance(runtime, principal_of(runtime, cast.owner), prepared.slug, Entered("other.example.com"))

    assert application_of(runtime, prepared.connection).client_secret_fingerprint is None


def test_secret_stored_without_a_fingerprint_shows_its_end_alone(
    runtime: Runtime, owner: Visitor, prepared: Prepared
) -> None:
    with runtime.database.transaction() as session:
        application = application_of(runtime, prepared.connection)
        application.client_secret_fingerprint = None
        session.merge(application)

    text = owner.get(f"/connections/{prepared.slug}/settings").text

    assert f"ends in <code>…{prepared.secret[-4:]}</code>" in text
    assert "fingerprint" not in text
