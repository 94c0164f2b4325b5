from __future__ import annotations

import re

import pytest
from flask import Flask
from sqlalchemy import text
from sqlmodel import col, select

from portal.accounts.models import GroupGrant, InvitedGroup, Membership
from portal.actor import Role
from portal.audit.models import AuditEvent
from portal.connections.models import Connection
from portal.db import utc_now
from portal.repositories.models import GitLabGroup, Repository, recount
from portal.repositories.selection import Filters, list_repositories
from portal.runtime import Runtime
from portal.web.forms import PROOF_FIELD
from tests.accounts.at_once import crowd
from tests.accounts.support import let_time_pass
from tests.security.objects import make_objects
from tests.support.people import PASSWORD, Cast, add_actor
from tests.support.visitor import Visitor
from tests.support.walkthrough import principal_of

GROUPS = ("data", "data/reporting", "database", "web", "web/shop", "web_shop")
GROUP = re.compile(r'id="group-(\d+)"')


@pytest.fixture
def connection_id(runtime: Runtime, cast: Cast) -> int:
    return add_groups(runtime, cast.owner.organization_id, "gitlab", *GROUPS)


def add_groups(runtime: Runtime, organization_id: int, slug: str, *paths: str) -> int:
    with runtime.database.transaction() as session:
        connection = Connection(
            organization_id=organization_id, slug=slug, display_name=slug.title(), authorized_at=utc_now()
        )
        session.add(connection)
        session.flush()
        for number, path in enumerate(paths, start=100):
            group = GitLabGroup(
                connection_id=connection.id, gitlab_group_id=number, name=path.rpartition("/")[2], full_path=path
            )
            repository = Repository(
                connection_id=connection.id,
                gitlab_project_id=number,
                name="repo",
                path_with_namespace=f"{path}/repo",
                namespace_path=path,
                search_text=f"{path}/repo",
            )
            session.add_all([group, repository])
        session.flush()
        recount(session, connection.id)
        return connection.id


def group_of(runtime: Runtime, path: str, connection_id: int) -> GitLabGroup:
    with runtime.database.reading() as session:
        statement = select(GitLabGroup).where(GitLabGroup.full_path == path, GitLabGroup.connection_id == connection_id)
        return session.exec(statement).one()


def grants_of(runtime: Runtime) -> list[GroupGrant]:
    with runtime.database.reading() as session:
        return list(session.exec(select(GroupGrant).order_by(col(GroupGrant.id))))


def page_of(cast: Cast) -> str:
    return f"/members/{cast.lead.membership_id}/groups"


def grant(visitor: Visitor, cast: Cast, runtime: Runtime, path: str, connection_id: int, **details):
    group = group_of(runtime, path, connection_id)
    return visitor.post(page_of(cast), {"group_id": str(group.id)}, **details)


def shown(runtime: Runtime, text: str) -> list[str]:
    ids = [int(number) for number in GROUP.findall(text)]
    with runtime.database.reading() as session:
        return [session.get_one(GitLabGroup, number).full_path for number in ids]


def test_administrator_finds_the_page_in_the_members_list_and_lets_a_lead_see_repositories(
    runtime: Runtime, cast: Cast, administrator: Visitor, lead: Visitor, connection_id: int
) -> None:
    assert "data/repo" not in lead.get("/repositories/").text
    members = administrator.get("/members").text
    assert "No groups, so sees no repositories" in members
    assert f'href="{page_of(cast)}"' in members

    answer = grant(administrator, cast, runtime, "data", connection_id)

    assert (answer.status_code, answer.headers["Location"]) == (303, page_of(cast))
    assert "data granted." in administrator.get(page_of(cast)).text
    seen = lead.get("/repositories/").text
    assert "data/repo" in seen
    assert "data/reporting/repo" in seen
    assert "database/repo" not in seen
    assert "Group: data" in administrator.get("/members").text


def test_taking_it_away_acts_on_the_next_request(
    runtime: Runtime, cast: Cast, administrator: Visitor, lead: Visitor, connection_id: int
) -> None:
    grant(administrator, cast, runtime, "web", connection_id)
    assert "web/repo" in lead.get("/repositories/").text

    answer = administrator.post(f"{page_of(cast)}/revocation", {"grant_id": str(grants_of(runtime)[0].id)})

    assert answer.status_code == 303
    assert "web/repo" not in lead.get("/repositories/").text
    assert grants_of(runtime) == []


def test_changes_are_recorded_once(runtime: Runtime, cast: Cast, administrator: Visitor, connection_id: int) -> None:
    grant(administrator, cast, runtime, "web", connection_id)
    grant(administrator, cast, runtime, "web", connection_id)
    number = grants_of(runtime)[0].id
    for _ in range(2):
        administrator.post(f"{page_of(cast)}/revocation", {"grant_id": str(number)})

    with runtime.database.reading() as session:
        events = session.exec(select(AuditEvent).order_by(col(AuditEvent.number))).all()
    assert [event.action for event in events] == ["member.group_granted", "member.group_revoked"]
    assert {(event.object_name, event.details["group"], event.actor.user_id) for event in events} == {
        (cast.lead.email, "web", cast.administrator.user_id)
    }


def test_fragment_has_the_new_list_and_an_undo_that_works(
    runtime: Runtime, cast: Cast, administrator: Visitor, connection_id: int
) -> None:
    granted = grant(administrator, cast, runtime, "web", connection_id, htmx=True)
    assert granted.text.lstrip().startswith('<div class="gh-panels" id="grants"')
    assert "web granted." in granted.text
    number = re.search(r'id="toasts".*name="grant_id" value="(\d+)"', granted.text, re.DOTALL)[1]

    revoked = administrator.post(f"{page_of(cast)}/revocation", {"grant_id": number, "q": "we"}, htmx=True)
    assert "web taken away." in revoked.text
    assert grants_of(runtime) == []
    again = re.search(r'id="toasts".*name="group_id" value="(\d+)"', revoked.text, re.DOTALL)[1]

    administrator.post(page_of(cast), {"group_id": again, "q": "we"}, htmx=True)
    assert [item.gitlab_group_id for item in grants_of(runtime)] == [
        group_of(runtime, "web", connection_id).gitlab_group_id
    ]


def test_search_looks_through_the_path(
    runtime: Runtime, cast: Cast, administrator: Visitor, connection_id: int
) -> None:
    for query, expected in {
        "": list(GROUPS),
        "data": ["data", "data/reporting", "database"],
        "DATA rep": ["data/reporting"],
        "_": ["web_shop"],
        "%": [],
        "\\": [],
        "'": [],
        "nothing": [],
    }.items():
        answer = administrator.get(page_of(cast), query_string={"q": query})

        assert answer.status_code == 200
        assert sorted(shown(runtime, answer.text)) == sorted(expected), query
        assert ("Nothing matches" in answer.text) == (not expected)


@pytest.mark.parametrize("query", ["x" * 2000, "a\u202eb", "a\x1b[31m"])
def test_search_for_what_no_path_has_finds_nothing(
    cast: Cast, administrator: Visitor, connection_id: int, query: str
) -> None:
    answer = administrator.get(page_of(cast), query_string={"q": query})

    assert answer.status_code == 200
    assert "Nothing matches" in answer.text
    assert administrator.post(page_of(cast), {"group_id": "1", "q": query}).status_code in {303, 404}


def test_group_below_a_granted_one_is_included(
    runtime: Runtime, cast: Cast, administrator: Visitor, connection_id: int
) -> None:
    grant(administrator, cast, runtime, "data", connection_id)

    text = administrator.get(page_of(cast)).text

    assert "Included in data" in text
    assert 'aria-label="Grant data/reporting"' not in text
    assert 'aria-label="Grant database"' in text


def test_long_list_says_that_it_is_cut(runtime: Runtime, cast: Cast, administrator: Visitor) -> None:
    add_groups(runtime, 1, "big", *(f"group-{number:03}" for number in range(120)))

    text = administrator.get(page_of(cast)).text

    assert len(GROUP.findall(text)) == 50
    assert "The first 50 of 120." in text


def test_nothing_read_yet_says_so(cast: Cast, administrator: Visitor) -> None:
    text = administrator.get(page_of(cast)).text

    assert "No groups have been read yet" in text
    assert "Search groups" not in text


def test_group_that_gitlab_no_longer_lists_can_be_taken_away(
    runtime: Runtime, cast: Cast, administrator: Visitor, connection_id: int
) -> None:
    grant(administrator, cast, runtime, "web", connection_id)
    with runtime.database.transaction() as session:
        session.delete(session.get_one(GitLabGroup, group_of(runtime, "web", connection_id).id))
    assert "no longer in GitLab" in administrator.get(page_of(cast)).text

    answer = administrator.post(f"{page_of(cast)}/revocation", {"grant_id": str(grants_of(runtime)[0].id)}, htmx=True)

    assert answer.status_code == 200
    assert grants_of(runtime) == []


def test_same_path_on_two_connections_is_two_groups(
    runtime: Runtime, cast: Cast, administrator: Visitor, lead: Visitor, connection_id: int
) -> None:
    other = add_groups(runtime, 1, "second", "web")
    text = administrator.get(page_of(cast), query_string={"q": "web"}).text
    assert "Second" in text
    assert "Gitlab" in text

    grant(administrator, cast, runtime, "web", other)

    assert [item.connection_id for item in grants_of(runtime)] == [other]


def test_foreign_groups_and_members_do_not_exist(
    runtime: Runtime, cast: Cast, administrator: Visitor, outsider: Visitor, connection_id: int
) -> None:
    foreign = make_objects(runtime, 2, cast.outsider.user_id)

    assert foreign.names["group"] not in GROUP.findall(administrator.get(page_of(cast)).text)
    assert administrator.post(page_of(cast), {"group_id": foreign.group}).status_code == 404
    assert grant(outsider, cast, runtime, "web", connection_id).status_code == 404
    assert outsider.get(page_of(cast)).status_code == 404
    assert grants_of(runtime) == []


def test_change_of_a_leads_groups_wants_the_password_again(
    app: Flask, runtime: Runtime, cast: Cast, administrator: Visitor, connection_id: int
) -> None:
    web, data = group_of(runtime, "web", connection_id), group_of(runtime, "data", connection_id)
    administrator.post(page_of(cast), {"group_id": str(web.id)})
    let_time_pass(app, minutes=6)
    before = grants_of(runtime)

    asked = [
        administrator.post(page_of(cast), {"group_id": str(data.id), "q": ""}),
        administrator.post(f"{page_of(cast)}/revocation", {"grant_id": str(before[0].id), "q": ""}),
    ]

    assert [answer.status_code for answer in asked] == [401, 401]
    assert grants_of(runtime) == before
    assert administrator.post(page_of(cast), {"group_id": str(data.id), PROOF_FIELD: PASSWORD}).status_code == 303
    assert len(grants_of(runtime)) == 2


def test_lead_with_1500_groups_sees_what_is_in_each_and_nothing_beside(
    runtime: Runtime, cast: Cast, lead: Visitor
) -> None:
    org, beside = [f"org/team-{number}" for number in range(1500)], ("org/team-", "org/team-1500", "org/team-7x", "org")
    connection_id = add_groups(runtime, cast.owner.organization_id, "gitlab", *org, "org/team-7/below", *beside)
    with runtime.database.transaction() as session:
        session.add_all(
            GroupGrant(membership_id=cast.lead.membership_id, connection_id=connection_id, gitlab_group_id=100 + number)
            for number in range(1500)
        )

    if not runtime.database.is_sqlite:
        # As PostgreSQL knows them after they were filled, until it looks at them again.
        with runtime.database.transaction() as session:
            tables = "('repository'), ('gitlab_group'), ('group_grant'), ('namespace')"
            filled = f"oid IN (SELECT name::regclass FROM (VALUES {tables}) AS tables (name))"
            session.execute(text(f"UPDATE pg_class SET reltuples = 0, relpages = 1 WHERE {filled}"))

    page = lead.get("/repositories/")

    assert page.status_code == 200
    with runtime.database.reading() as session:
        listing = list_repositories(session, principal_of(runtime, cast.lead), Filters(query="team-7"))
        seen = {row.repository.namespace_path for row in listing.rows}
        assert listing.matching == 112
    assert {"org/team-7", "org/team-7/below", "org/team-70"} <= seen
    assert not seen & set(beside)


def test_grant_of_another_lead_is_not_taken_away(
    runtime: Runtime, cast: Cast, administrator: Visitor, connection_id: int
) -> None:
    other = add_actor(runtime, 1, "Levi Lead", Role.TEAM_LEAD)
    grant(administrator, cast, runtime, "web", connection_id)
    number = str(grants_of(runtime)[0].id)

    answer = administrator.post(f"/members/{other.membership_id}/groups/revocation", {"grant_id": number})

    assert answer.status_code == 303
    assert len(grants_of(runtime)) == 1


@pytest.mark.parametrize("who", ["lead", "auditor"])
def test_nobody_grants_groups_to_themselves(
    app: Flask, runtime: Runtime, cast: Cast, who: str, connection_id: int
) -> None:
    visitor = Visitor(app).sign_in(getattr(cast, who))

    assert grant(visitor, cast, runtime, "web", connection_id).status_code == 404
    assert grants_of(runtime) == []


def test_only_leads_have_groups(runtime: Runtime, cast: Cast, administrator: Visitor, connection_id: int) -> None:
    address = f"/members/{cast.auditor.membership_id}/groups"
    group = group_of(runtime, "web", connection_id)

    assert administrator.get(address).status_code == 409
    assert administrator.post(address, {"group_id": str(group.id)}).status_code == 409
    assert grants_of(runtime) == []


def test_grants_end_with_the_membership(
    runtime: Runtime, cast: Cast, administrator: Visitor, connection_id: int
) -> None:
    grant(administrator, cast, runtime, "web", connection_id)
    with runtime.database.transaction() as session:
        session.delete(session.get_one(Membership, cast.lead.membership_id))

    assert grants_of(runtime) == []


def test_number_that_is_none_is_400(cast: Cast, administrator: Visitor, connection_id: int) -> None:
    for field, path in (("group_id", page_of(cast)), ("grant_id", page_of(cast) + "/revocation")):
        for value in ("", "x", "-1", "1.5", "9" * 30, "9223372036854775808", "²"):
            assert administrator.post(path, {field: value}).status_code == 400, (field, value)


def test_granted_by_many_at_once_is_one_grant(app: Flask, runtime: Runtime, cast: Cast, connection_id: int) -> None:
    group = group_of(runtime, "web", connection_id)
    visitors = [Visitor(app).sign_in(cast.administrator) for _ in range(6)]
    tokens = [visitor.csrf_token() for visitor in visitors]

    statuses = crowd(
        runtime.database,
        "group_grant",
        *(
            lambda v=visitor, t=token: v.post(page_of(cast), {"group_id": str(group.id)}, token=t).status_code
            for visitor, token in zip(visitors, tokens, strict=True)
        ),
    )

    assert set(statuses) == {303}
    assert len(grants_of(runtime)) == 1


def test_grant_that_many_take_back_at_once_is_taken_back_once(
    app: Flask, runtime: Runtime, cast: Cast, administrator: Visitor, connection_id: int
) -> None:
    grant(administrator, cast, runtime, "web", connection_id)
    form = {"grant_id": str(grants_of(runtime)[0].id)}
    visitors = [Visitor(app).sign_in(cast.administrator) for _ in range(4)]
    tokens = [visitor.csrf_token() for visitor in visitors]

    statuses = crowd(
        runtime.database,
        "group_grant",
        *(
            lambda v=visitor, t=token: v.post(f"{page_of(cast)}/revocation", form, token=t).status_code
            for visitor, token in zip(visitors, tokens, strict=True)
        ),
    )

    assert set(statuses) == {303}
    with runtime.database.reading() as session:
        events = session.exec(select(AuditEvent.action).order_by(col(AuditEvent.number))).all()
    assert events == ["member.group_granted", "member.group_revoked"]


def test_members_page_asks_as_often_for_one_lead_as_for_many(
    runtime: Runtime, cast: Cast, administrator: Visitor, auditor: Visitor, connection_id: int
) -> None:
    for number in range(5):
        add_actor(runtime, 1, f"Lead{number} Lead", Role.TEAM_LEAD)

    assert administrator.get("/members").text.count("Add groups for") == 6
    assert "Add groups" not in auditor.get("/members").text
    assert 'name="role"' not in administrator.get("/members").text


def test_hostile_names_are_text(runtime: Runtime, cast: Cast, administrator: Visitor) -> None:
    add_groups(runtime, 1, "evil", "<img src=x>", "{{7*7}}")

    text = administrator.get(page_of(cast)).text

    assert "<img src=x" not in text
    assert "{{7*7}}" in text


INVITATION = re.compile(r"/invitations/[\w-]+")


def invite(owner: Visitor, role: str, *groups: int | None) -> str:
    page = owner.post(
        "/members/invitations", {"email": "new@example.com", "role": role, "groups": [str(group) for group in groups]}
    )
    found = INVITATION.search(page.text)
    assert found, page.text
    return found.group()


def join(app: Flask, link: str) -> Visitor:
    visitor = Visitor(app)
    joined = visitor.post(link, {"name": "Nora New", "password": "quiet lantern over marsh"})
    assert joined.status_code == 303, joined.text
    return visitor


def test_invitation_asks_for_groups_which_the_new_lead_has_at_once(
    app: Flask, runtime: Runtime, owner: Visitor, connection_id: int
) -> None:
    form = owner.get("/members/invitations").text
    assert all(f"<span>{path}</span>" in form for path in GROUPS)
    chosen = [group_of(runtime, path, connection_id).id for path in ("data", "web/shop")]

    seen = join(app, invite(owner, "team_lead", *chosen)).get("/repositories/").text

    assert "data/reporting/repo" in seen
    assert "web/shop/repo" in seen
    assert "web/repo" not in seen
    assert {grant.granted_by_user_id for grant in grants_of(runtime)} == {1}


def test_groups_of_an_invitation_are_for_leads_and_for_groups_of_ones_own(
    app: Flask, runtime: Runtime, cast: Cast, owner: Visitor, connection_id: int
) -> None:
    foreign = add_groups(runtime, cast.outsider.organization_id, "foreign", "secret")
    foreign_id = group_of(runtime, "secret", foreign).id
    own_id = group_of(runtime, "data", connection_id).id

    join(app, invite(owner, "auditor", own_id))
    owner.post("/members/invitations", {"email": "lead@example.com", "role": "team_lead", "groups": [str(foreign_id)]})

    assert "<span>secret</span>" not in owner.get("/members/invitations").text
    assert grants_of(runtime) == []
    with runtime.database.reading() as session:
        assert session.exec(select(InvitedGroup)).all() == []


def test_groups_of_an_invitation_end_with_their_connection(
    app: Flask, runtime: Runtime, owner: Visitor, connection_id: int
) -> None:
    link = invite(owner, "team_lead", group_of(runtime, "data", connection_id).id)
    with runtime.database.transaction() as session:
        session.get_one(Connection, connection_id).authorized_at = None
    owner.post("/connections/gitlab/setup/cancel")

    join(app, link)

    assert grants_of(runtime) == []
