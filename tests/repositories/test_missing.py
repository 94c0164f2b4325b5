"""*Why is this repository not here?*: each reason, as GitLab or the last read gives it."""

from __future__ import annotations

import re
from html import unescape

import pytest
from sqlmodel import select

from portal.accounts.models import GroupGrant
from portal.connections.models import Connection, ConnectionState
from portal.errors import InvalidInput
from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.missing import Reference, read_reference
from portal.repositories.models import CatalogueRun, Enablement, GitLabGroup, Repository, SelectionRule
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.connected import connect
from tests.support.people import Cast
from tests.support.visitor import Visitor

PAGE = "/repositories/missing"
HOST, API = "https://gitlab.example.com/git", "https://inner.example.com:8443/git"
GITLAB = Connection(organization_id=1, slug="gitlab", display_name="GitLab", external_url=HOST, api_url=API)


@pytest.fixture
def backend() -> str:
    return "sqlite"


@pytest.fixture
def connection_id(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> int:
    connection_id = connect(runtime, sandbox, cast.owner)
    read_again(runtime, connection_id)
    return connection_id


def ask(person: Visitor, which: object) -> str:
    answer = person.get(PAGE, query_string={"connection": "gitlab", "which": str(which)})
    assert answer.status_code == 200, answer.text
    words = re.sub(
        r'<svg[^>]*aria-label="([^"]*)"', r"\1 <svg", answer.text[answer.text.index('id="answer-title">') + 18 :]
    )
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", words)))


def stored(runtime: Runtime, path: str) -> Repository:
    with runtime.database.reading() as session:
        return session.exec(select(Repository).where(Repository.path_with_namespace == path)).one()


def read_again(runtime: Runtime, connection_id: int) -> None:
    read_catalogue(runtime, connection_id, "job", lambda *_: None)


def forget(runtime: Runtime, path: str) -> None:
    with runtime.database.transaction() as session:
        session.delete(session.exec(select(Repository).where(Repository.path_with_namespace == path)).one())


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("4127", Reference(project_id=4127)),
        ("web/points", Reference(path="web/points")),
        (" /web/loyalty/points/ ", Reference(path="web/loyalty/points")),
        (
            f"{HOST}/web/points/-/tree/main?ref=x#L1",
            Reference(path="web/points", address=HOST),
        ),
        (f"{HOST}/web/points.git", Reference(path="web/points", address=HOST)),
        ("https://GITLAB.example.com/git/web/points", Reference(path="web/points", address=HOST)),
        (
            "https://oauth2:token@gitlab.example.com/git/web/points.git",
            Reference(path="web/points", address=HOST),
        ),
        (f"{API}/api/v4/projects/4127", Reference(project_id=4127, address=API)),
        (
            f"{API}/api/v4/projects/web%2Fpoints",
            Reference(path="web/points", address=API),
        ),
        ("https://other.example.com/web/points", Reference(path="web/points", address="https://other.example.com")),
        ("git@gitlab.example.com:web/points.git", Reference(path="web/points")),
        ("ssh://git@gitlab.example.com:2222/web/points.git", Reference(path="web/points")),
    ],
)
def test_reads_whatever_names_a_project(typed: str, expected: Reference) -> None:
    assert read_reference(typed, GITLAB) == expected


@pytest.mark.parametrize(
    "typed",
    ["", "points", "0", "-4", "99999999999999999999", "web//points", "../points", "a b/c", "https://", "web/<b>"],
)
def test_says_what_can_be_entered_instead(typed: str) -> None:
    with pytest.raises(InvalidInput):
        read_reference(typed, GITLAB)


def test_repository_that_is_here(runtime: Runtime, owner: Visitor, connection_id: int) -> None:
    row = stored(runtime, "web/api-gateway")

    assert "web/api-gateway is in the list It can be enabled." in ask(owner, "WEB/api-gateway")
    with runtime.database.transaction() as session:
        session.add(Enablement(repository_id=row.id, connection_id=connection_id))
    assert "web/api-gateway is in the list, and enabled" in ask(owner, row.gitlab_project_id)


def test_rule_that_excludes_it_is_named(runtime: Runtime, owner: Visitor, connection_id: int) -> None:
    with runtime.database.transaction() as session:
        rules = (("enable", "data/**"), ("exclude", "web/**"))
        for position, (action, pattern) in enumerate(rules, 1):
            session.add(SelectionRule(connection_id=connection_id, position=position, action=action, pattern=pattern))

    text = ask(owner, "web/api-gateway")
    assert "Rule 2 excludes it (web/**), so only a person can enable it." in text
    assert "No: The rules allow it rule 2 excludes it" in text
    assert "Yes: The rules allow it rule 1 enables it" in ask(owner, "data/data-contracts")


def test_repository_that_was_not_read_yet_can_be_read_now(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, auditor: Visitor, connection_id: int
) -> None:
    forget(runtime, "web/api-gateway")
    address = f"{sandbox.url}/web/api-gateway/-/merge_requests/3"

    text = ask(owner, address)

    assert "web/api-gateway has not been read yet" in text
    assert "Read again" in text
    assert text.count("Yes:") == len(text.split("How we know")[1].split("Yes:")) - 1 == 6
    for_auditor = ask(auditor, address)
    assert "Ask an administrator of Gatehouse to read GitLab again" in for_auditor
    assert "Read again" not in for_auditor


def test_row_that_was_left_out_of_the_last_read_is_named(runtime: Runtime, owner: Visitor, connection_id: int) -> None:
    number = stored(runtime, "web/api-gateway").gitlab_project_id
    forget(runtime, "web/api-gateway")
    with runtime.database.transaction() as session:
        run = session.exec(select(CatalogueRun)).one()
        run.defects = [{"list": "projects", "field": "name", "left_out": True, "rows": [str(number)], "count": 1}]

    assert "its field name is not valid, so the last read left it out" in ask(owner, number)


def test_moved_repository_is_found_by_its_earlier_path(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, connection_id: int
) -> None:
    sandbox.world.change_project(sandbox.world.project("web/api-gateway").id, path="front-door")
    read_again(runtime, connection_id)

    text = ask(owner, "web/api-gateway")

    assert "web/front-door is in the list" in text
    assert "now at web/front-door" in text


def test_what_gitlab_hides_is_not_called_deleted(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, connection_id: int
) -> None:
    sandbox.world.delete_project(sandbox.world.project("web/api-gateway").id)
    before = ask(owner, "web/api-gateway")
    read_again(runtime, connection_id)
    after = ask(owner, "web/api-gateway")

    assert "GitLab no longer shows web/api-gateway to @gatehouse It is in the list from the last read." in before
    assert "It was in the list until" in after
    assert "deleted, or the user has lost its membership: GitLab gives the same answer in both cases" in after
    assert "Ask an owner of web whether it exists and, if so, to add @gatehouse as Reporter." in after
    assert "no such project in it" in ask(owner, "web/no-such-project")
    assert "neither no/such-project nor anything above it" in ask(owner, "no/such-project")
    assert "no project with the ID 987654" in ask(owner, 987654)


def test_project_that_is_only_visible_is_not_a_membership(
    sandbox: RunningSandbox, owner: Visitor, connection_id: int
) -> None:
    sandbox.world.add_group("elsewhere", visibility="internal")
    sandbox.world.add_project("elsewhere/tools", visibility="internal")

    text = ask(owner, "elsewhere/tools")

    assert "@gatehouse is not a member of elsewhere/tools" in text
    members = f"{sandbox.url}/elsewhere/tools/-/project_members"
    assert (
        f"add @gatehouse to elsewhere/tools as Reporter? Gatehouse can't read the project otherwise. {members}" in text
    )


def test_role_and_state_are_named(sandbox: RunningSandbox, owner: Visitor, connection_id: int) -> None:
    sandbox.world.add_group("elsewhere")
    low, invited = (sandbox.world.add_project(f"elsewhere/{name}") for name in ("low", "invited"))
    user = sandbox.world.user_by_username("gatehouse")
    sandbox.world.add_project_member(low.id, user.id, 10)
    sandbox.world.share_project(invited.id, sandbox.world.group("data").id, 30)

    assert "The role of @gatehouse in elsewhere/low is too low It is Guest." in ask(owner, "elsewhere/low")
    assert "elsewhere/invited has not been read yet" in ask(owner, "elsewhere/invited")
    assert "web/marketing/newsletter can't be enabled: archived" in ask(owner, "web/marketing/newsletter").replace(
        "&#39;", "'"
    )
    sandbox.world.change_project(sandbox.world.project("web/marketing/newsletter").id, archived=False)
    assert "is fine in GitLab now, but still marked in the list" in ask(owner, "web/marketing/newsletter")


def test_other_gitlab_and_dead_connection_are_told_first(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, connection_id: int
) -> None:
    sandbox.requests.clear()
    assert "other.example.com is not the GitLab of this connection" in ask(
        owner, "https://other.example.com/web/points"
    )
    with runtime.database.transaction() as session:
        session.get_one(Connection, connection_id).state = ConnectionState.DISCONNECTED
    assert "Gitlab is disconnected" in ask(owner, "web/points")
    assert sandbox.requests.all() == []

    with runtime.database.transaction() as session:
        session.get_one(Connection, connection_id).state = ConnectionState.CONNECTED
    sandbox.faults.add("/api/v4/projects/*", status=502, html=True)
    assert "GitLab could not be asked" in ask(owner, "web/points")


def test_team_lead_learns_nothing_about_other_groups(
    runtime: Runtime, sandbox: RunningSandbox, lead: Visitor, cast: Cast, connection_id: int
) -> None:
    with runtime.database.transaction() as session:
        group = session.exec(select(GitLabGroup).where(GitLabGroup.full_path == "data")).one()
        session.add(
            GroupGrant(
                membership_id=cast.lead.membership_id,
                connection_id=connection_id,
                gitlab_group_id=group.gitlab_group_id,
            )
        )
    foreign = stored(runtime, "web/api-gateway")
    sandbox.requests.clear()

    answers = {
        ask(lead, which).replace(str(which), "X")
        for which in ("web/api-gateway", "web/none-there", "database/none", "data")
        if "/" in which
    }
    by_id = {ask(lead, which).replace(str(which), "X") for which in (foreign.gitlab_project_id, 987654)}

    assert len(answers) == len(by_id) == 1
    assert "It is not in your groups" in answers.pop()
    assert sandbox.requests.all() == []

    assert "data/data-contracts is in the list" in ask(lead, "data/data-contracts")
    moved = sandbox.world.project("data/data-contracts")
    sandbox.world.change_project(moved.id, group_id=sandbox.world.group("web").id)
    text = ask(lead, "data/data-contracts")
    assert "It is no longer in your groups" in text
    assert "web" not in text.split("Check again")[0]


def test_only_so_many_questions_reach_gitlab(owner: Visitor, connection_id: int) -> None:
    for _ in range(30):
        ask(owner, "web/api-gateway")

    answer = owner.get(PAGE, query_string={"connection": "gitlab", "which": "web/api-gateway"})

    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "60"
    assert 'value="web/api-gateway"' in answer.text


def test_form_keeps_what_was_typed_and_asks_for_the_connection(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, cast: Cast, connection_id: int
) -> None:
    empty = owner.get(PAGE)
    wrong = owner.get(PAGE, query_string={"which": "not a path"})
    connect(runtime, sandbox, cast.owner, slug="second")
    unclear = owner.get(PAGE, query_string={"which": "web/api-gateway"})
    foreign = owner.get(PAGE, query_string={"which": "web/api-gateway", "connection": "of-someone-else"})

    assert (empty.status_code, wrong.status_code, unclear.status_code, foreign.status_code) == (200, 422, 422, 404)
    assert 'value="not a path"' in wrong.text
    assert "Choose the connection whose list it is missing from." in unclear.text
