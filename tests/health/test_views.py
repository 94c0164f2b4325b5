from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

from sqlmodel import select

from portal.audit.models import AuditEvent
from portal.connections.models import Connection, Method
from portal.credentials.methods import VERDICTS
from portal.credentials.models import Credential, CredentialState
from portal.health.checks import check_connection
from portal.jobs.testing import run_pending
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.health.conftest import Watched
from tests.support.connected import connect
from tests.support.people import Cast
from tests.support.visitor import Visitor

PAGE = "/connections/gitlab/health"


def revoke(watched: Watched) -> None:
    """Leave what a refused refresh leaves: the verdict, with GitLab's words and how to fix it."""
    card = replace(VERDICTS[CredentialState.REVOKED], words="The grant is invalid", request_id="01J")
    with watched.runtime.database.transaction() as session:
        credential = session.exec(select(Credential)).one()
        credential.state, credential.failure = CredentialState.REVOKED, card.to_json()


def test_upgrade_page_names_what_changes_for_this_connection(watched: Watched, lead: Visitor, runtime: Runtime) -> None:
    def shown(version: str, query: str = "") -> str:
        with runtime.database.transaction() as session:
            session.exec(select(Connection)).one().version_seen = version
        return unescape(lead.get(f"{PAGE}/upgrade{query}").text)

    assert "The version is not known" in shown("")
    assert "This is the newest version we know" in shown("19.6.2-ee")
    newest = shown("16.8.1-ee")
    assert '<option value="19.6" selected>' in newest
    assert "No one has to do anything" in newest
    assert "GitLab says which repositories use SHA-256" in newest
    assert "Legacy tokens can be forbidden" in newest.partition("not concern this connection")[2]
    assert "self_rotate" not in newest.partition("not concern this connection")[0]
    assert "SHA-256" not in shown("16.9.0-ee", "?to=17.0")
    assert '<option value="19.6" selected>' in shown("16.9.0-ee", "?to=9.0")
    with runtime.database.transaction() as session:
        session.exec(select(Connection)).one().method = Method.ACCESS_TOKEN
        session.exec(select(Credential)).one().token_details = {"kind": "personal", "is_expiry_known": False}
    token = shown("15.11.0-ee").partition("not concern this connection")[0]
    assert "There is something to do" in token
    assert "A token without an expiry date gets one at the upgrade" in token
    assert "Whether this token ever expires." in token
    assert "What an upgrade changes" in lead.get("/connections/gitlab/settings").text


def test_page_says_so_before_the_first_check(watched: Watched, lead: Visitor) -> None:
    page = lead.get(PAGE)

    assert page.status_code == 200
    assert "Not checked yet" in page.text
    assert "Check again" not in page.text


def test_check_again_shows_progress_and_then_what_was_found(watched: Watched, owner: Visitor, runtime: Runtime) -> None:
    started = owner.post(f"{PAGE}/checks", htmx=True)
    assert "Waiting for a free worker" in started.text
    assert f'hx-get="{PAGE}/progress"' in started.text

    run_pending(runtime)
    done = owner.get(f"{PAGE}/progress", htmx=True)

    assert "hx-get" not in done.text
    assert 'id="health"' in done.text
    assert 'hx-swap-oob="outerMorph"' in done.text
    assert "Checked " in owner.get(PAGE).text


def test_check_again_works_without_scripts_and_does_not_check_twice_at_once(
    watched: Watched, owner: Visitor, administrator: Visitor, runtime: Runtime
) -> None:
    assert owner.post(f"{PAGE}/checks").headers["Location"] == PAGE
    assert administrator.post(f"{PAGE}/checks").status_code == 303

    assert [job.name for job in run_pending(runtime)] == ["health.check_one"]


def test_sixth_check_in_a_minute_is_429_for_the_whole_organization(
    watched: Watched, owner: Visitor, administrator: Visitor, runtime: Runtime
) -> None:
    for _ in range(5):
        assert owner.post(f"{PAGE}/checks").status_code == 303
        run_pending(runtime)

    answer = administrator.post(f"{PAGE}/checks", htmx=True)

    assert (answer.status_code, answer.headers["HX-Retarget"]) == (429, "#alerts")
    assert answer.headers["Retry-After"] == "60"


def test_open_incident_is_on_every_page_with_its_cause_and_the_link_that_mends_it(
    watched: Watched, owner: Visitor, lead: Visitor, outsider: Visitor
) -> None:
    revoke(watched)
    watched.look()

    for path in ("/connections/", "/connections/gitlab", "/jobs", "/repositories/", "/profile"):
        page = owner.get(path).text
        assert "GitLab has ended this authorization" in page, path
        way = "/connections/gitlab" if path == "/connections/" else "/connections/gitlab/setup/authorize"
        assert f'href="{way}"' in page
    assert "The grant is invalid" in owner.get(PAGE).text
    assert "/setup/authorize" not in lead.get(PAGE).text
    for_lead = lead.get("/jobs").text
    assert "GitLab has ended this authorization" in for_lead
    assert "/setup/authorize" not in for_lead
    assert "GitLab has ended" not in outsider.get("/jobs").text


def test_outage_is_never_shown_as_revoked(watched: Watched, sandbox: RunningSandbox, owner: Visitor) -> None:
    watched.look()
    sandbox.faults.add("*", drop="before")
    watched.look(2)

    page = owner.get(PAGE).text

    assert "GitLab has not answered since 1 Mar 2026, 12:01 UTC; the credentials are kept." in page
    assert "revoked" not in page
    assert "Authorize again" not in page


def test_failed_check_has_a_command_with_a_variable_for_the_token(
    watched: Watched, owner: Visitor, sandbox: RunningSandbox
) -> None:
    watched.change(lambda connection: setattr(connection, "service_username", "somebody-else"))
    watched.look()

    page = owner.get(PAGE).text

    command = "curl --include --max-time 10 --noproxy '*' --header \"Authorization: Bearer $TOKEN\""
    assert f"{command} {sandbox.url}/api/v4/user" in unescape(page)


def test_four_addresses_are_compared(watched: Watched, owner: Visitor, sandbox: RunningSandbox) -> None:
    watched.look()

    page = owner.get(PAGE).text
    ways = page[page.index('id="panel-checks"') :]

    for way in ("API", "Browser", "Git over HTTP"):
        assert re.search(rf"{way}.*<code class=\"text-break\">{sandbox.url}</code>: \w", ways, re.S)
    assert "GitLab uses the same address for itself." in ways
    assert "GitLab to Gatehouse" not in ways


def test_hooks_that_are_wanted_are_said_to_be_missing(watched: Watched, owner: Visitor) -> None:
    watched.change(lambda connection: setattr(connection, "hooks_wanted", True))
    watched.look()

    assert "Not set up yet." in owner.get(PAGE).text


def test_project_that_tells_the_git_address_is_not_named(watched: Watched, lead: Visitor) -> None:
    watched.look()
    page = lead.get(PAGE).text

    with watched.runtime.database.reading() as session:
        assert session.exec(select(AuditEvent)).all() == []
    assert ".git<" not in page
    assert watched.checks()["git"].params == {"base": watched.connection.api_url}


def test_health_of_another_organization_is_not_touched(
    watched: Watched, runtime: Runtime, cast: Cast, sandbox: RunningSandbox, outsider: Visitor
) -> None:
    other = connect(runtime, sandbox, cast.outsider, slug="other")
    revoke_other = watched.connection_id
    check_connection(runtime, other)
    check_connection(runtime, revoke_other)

    assert outsider.get("/connections/other/health").status_code == 200
    assert outsider.get(PAGE).status_code == 404
    assert outsider.post(f"{PAGE}/support-bundle").status_code == 404
