from __future__ import annotations

import re
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import event, update
from sqlmodel import col, select

from portal.accounts.models import GroupGrant
from portal.audit.models import AuditEvent
from portal.connections.models import Connection
from portal.db import utc_now
from portal.repositories.catalogue.rows import compare
from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.models import Enablement, GitLabGroup, Namespace, Repository, recount
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.accounts.at_once import crowd
from tests.support.connected import connect
from tests.support.people import Cast
from tests.support.visitor import Visitor

ROW = re.compile(r'<tr id="repository-(\d+)"')


@pytest.fixture
def connection_id(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> int:
    connection_id = connect(runtime, sandbox, cast.owner)
    read_catalogue(runtime, connection_id, "job", lambda *_: None)
    return connection_id


def repositories(runtime: Runtime, **where: object) -> list[Repository]:
    with runtime.database.reading() as session:
        statement = select(Repository).order_by(col(Repository.path_with_namespace), col(Repository.id))
        for name, value in where.items():
            statement = statement.where(getattr(Repository, name) == value)
        return list(session.exec(statement))


def enabled(runtime: Runtime) -> set[int]:
    with runtime.database.reading() as session:
        return set(session.exec(select(Enablement.repository_id)))


def shown(text: str) -> list[int]:
    return [int(number) for number in ROW.findall(text)]


def test_list_is_paged_without_losing_or_repeating_any(runtime: Runtime, owner: Visitor, connection_id: int) -> None:
    first = owner.get("/repositories/").text
    next_url = re.search(r'href="([^"]*after=[^"]*)"', first)[1].replace("&amp;", "&")
    second = owner.get(next_url).text
    back = owner.get(re.search(r'href="([^"]*before=[^"]*)"', second)[1].replace("&amp;", "&")).text

    assert shown(first) + shown(second) == [row.id for row in repositories(runtime)]
    assert shown(back) == shown(first)


def test_search_looks_through_path_and_name(runtime: Runtime, owner: Visitor, connection_id: int) -> None:
    for query in ("data", "DATA", "ingest event", "hostile", "zzz-nothing", "%", "_", "\\", "'"):
        expected = [
            row.id
            for row in repositories(runtime)
            if all(word in f"{row.path_with_namespace} {row.name}".lower() for word in query.lower().split())
        ]

        answer = owner.get("/repositories/", query_string={"q": query})

        assert (answer.status_code, shown(answer.text)) == (200, expected[:50]), query


def test_group_includes_what_is_below_it_and_nothing_that_begins_alike(
    runtime: Runtime, owner: Visitor, connection_id: int
) -> None:
    text = owner.get("/repositories/?group=data").text

    paths = [row.path_with_namespace for row in repositories(runtime) if row.id in shown(text)]
    assert paths
    assert all(path.startswith("data/") for path in paths)


@pytest.mark.parametrize("state", ["available", "enabled", "unavailable"])
def test_state_filter_shows_that_state_only(runtime: Runtime, owner: Visitor, connection_id: int, state: str) -> None:
    chosen = repositories(runtime, unavailable_reason="")[0].id
    owner.post("/repositories/enable", {"only": str(chosen)})

    found = shown(owner.get(f"/repositories/?state={state}").text)

    expected = {
        "enabled": [chosen],
        "available": [row.id for row in repositories(runtime, unavailable_reason="") if row.id != chosen][:50],
        "unavailable": [row.id for row in repositories(runtime) if row.unavailable_reason][:50],
    }
    assert found == expected[state]


def test_visibility_and_last_activity_narrow_the_list_and_stay_in_its_addresses(
    runtime: Runtime, owner: Visitor, connection_id: int
) -> None:
    now, rows = utc_now(), repositories(runtime, unavailable_reason="")
    with runtime.database.transaction() as session:
        session.execute(update(Repository).values(visibility="private", last_activity_at=now - timedelta(days=400)))
        for number, days in ((rows[0].id, 1), (rows[1].id, 80), (rows[2].id, 200)):
            row = session.get_one(Repository, number)
            row.visibility, row.last_activity_at = "public", now - timedelta(days=days)
    expected = {"activity=month": 1, "activity=quarter": 2, "activity=year": 3, "visibility=public": 3}

    for query, count in expected.items():
        text = owner.get(f"/repositories/?{query}").text
        assert shown(text) == [row.id for row in rows[:count]], query
        assert query in re.search(r'href="([^"]*group=data[^"]*)"', text)[1]
    both = owner.get("/repositories/?visibility=public&activity=older").text
    assert shown(both) == []
    assert "Nothing matches" in both
    assert rows[0].id not in shown(owner.get("/repositories/?activity=older").text)


def test_address_that_makes_no_sense_is_400(owner: Visitor, connection_id: int) -> None:
    filters = ("state=nonsense", "visibility=secret", "activity=ever")
    sorts = (
        "sort=size",
        "role=king",
        "sort=role&after=1:x",
        "sort=activity&after=1:x",
        "sort=enabled&before=1:2026-01-01",
    )
    for query in (*filters, *sorts, "after=x", "after=-1:a", "after=9999999999999999999999:a", "before=1e5:x"):
        assert owner.get(f"/repositories/?{query}").status_code == 400, query


def test_counts_are_what_is_there_however_it_changes(runtime: Runtime, owner: Visitor, connection_id: int) -> None:
    def stored() -> set[tuple[str, int, int, int, int]]:
        with runtime.database.reading() as session:
            rows = session.exec(select(Namespace).order_by(col(Namespace.path)))
            return {(row.path, row.total, row.enabled, row.blocked, row.enabled_blocked) for row in rows}

    free = repositories(runtime, unavailable_reason="")
    owner.post("/repositories/enable", {"repository_id": [str(row.id) for row in free[:40]]})
    owner.post("/repositories/disable", {"repository_id": [str(row.id) for row in free[5:9]]})
    present = {row.gitlab_project_id for row in repositories(runtime)} - {row.gitlab_project_id for row in free[:3]}
    compare(runtime.database, connection_id, present, is_complete=True, is_too_many=lambda *_: False)
    kept = stored()
    with runtime.database.transaction() as session:
        recount(session, connection_id)

    assert kept == stored()
    assert sum(row[4] for row in kept) == 3
    tree = owner.get("/repositories/").text
    total, enabled = len(repositories(runtime)), 36
    assert re.search(rf'All groups</span><span class="gh-tree-count">\s*{enabled}/{total}<', tree)


def test_index_finds_what_the_rows_say_also_when_they_change(
    runtime: Runtime, owner: Visitor, connection_id: int
) -> None:
    question = {"q": "zebra event"}
    with runtime.database.transaction() as session:
        row = session.exec(
            select(Repository).where(col(Repository.path_with_namespace).contains("event-collector"))
        ).one()
        row.search_text += " zebra"
    assert shown(owner.get("/repositories/", query_string={"q": "event-collector"}).text) == [row.id]

    read_catalogue(runtime, connection_id, "job", lambda *_: None)

    assert shown(owner.get("/repositories/", query_string=question).text) == [row.id]
    assert shown(owner.get("/repositories/", query_string={"q": '"zebra" OR event'}).text) == []


def test_level_of_the_tree_is_what_is_directly_below(runtime: Runtime, owner: Visitor, connection_id: int) -> None:
    response = owner.get("/repositories/groups?connection=gitlab&parent=web&q=pay", htmx=True)
    answer = response.text

    with runtime.database.reading() as session:
        paths = session.exec(select(Namespace.path).where(col(Namespace.path).startswith("web/"))).all()
    children = {"/".join(path.split("/")[:2]) for path in paths}
    assert re.findall(r'title="([^"]*)"', answer) == sorted(children)
    assert "q=pay&amp;group=web%2Fshop" in answer
    # It replaces the empty list of the group, and leaves the address of the page as it is.
    assert (answer.strip()[:4], response.headers["HX-Push-Url"]) == ("<ul ", "false")
    rest = owner.get("/repositories/groups?connection=gitlab&parent=web&from=web/aaa", htmx=True)
    assert rest.text.strip().startswith("<li ")
    assert owner.get("/repositories/groups?connection=other&parent=web", htmx=True).status_code == 404


def test_fragment_is_the_listing_alone(owner: Visitor, connection_id: int) -> None:
    answer = owner.get("/repositories/?q=data", htmx=True)

    assert answer.text.lstrip().startswith('<form id="listing"')
    assert "<html" not in answer.text
    assert "HX-Request" in answer.headers["Vary"]


def test_enable_one_answers_the_listing_with_undo(runtime: Runtime, owner: Visitor, connection_id: int) -> None:
    chosen = repositories(runtime, unavailable_reason="")[0]

    answer = owner.post("/repositories/enable", {"only": str(chosen.id)}, htmx=True)

    assert answer.status_code == 200
    assert enabled(runtime) == {chosen.id}
    assert f"{chosen.path_with_namespace} enabled." in answer.text
    assert f'name="repository_ids" value="{chosen.id}"' in answer.text


def test_undo_takes_back_only_what_was_changed(runtime: Runtime, owner: Visitor, connection_id: int) -> None:
    first, second, third = [row.id for row in repositories(runtime, unavailable_reason="")[:3]]
    owner.post("/repositories/enable", {"only": str(first)})
    answer = owner.post("/repositories/enable", {"repository_id": [str(first), str(second), str(third)]}, htmx=True)
    undo = re.search(r'name="repository_ids" value="([^"]+)"', answer.text)[1]

    owner.post("/repositories/disable", {"repository_ids": undo})

    assert enabled(runtime) == {first}


def test_unavailable_ones_are_refused_and_counted(runtime: Runtime, owner: Visitor, connection_id: int) -> None:
    blocked = [row.id for row in repositories(runtime) if row.unavailable_reason][:2]
    free = repositories(runtime, unavailable_reason="")[0].id

    answer = owner.post("/repositories/enable", {"repository_id": [*map(str, blocked), str(free)]}, htmx=True)

    assert enabled(runtime) == {free}
    assert "2 cannot be enabled" in answer.text


def test_without_htmx_the_view_is_kept(runtime: Runtime, owner: Visitor, connection_id: int) -> None:
    chosen = repositories(runtime, unavailable_reason="")[0].id

    answer = owner.post("/repositories/enable", {"only": str(chosen), "q": "data", "state": "available", "on": "index"})

    assert answer.status_code == 303
    assert answer.headers["Location"] == "/repositories/?q=data&state=available"


def test_bad_ids_are_refused_and_change_nothing(runtime: Runtime, owner: Visitor, connection_id: int) -> None:
    for value in ("", "x", "-1", "1.5", "9" * 30, "1; drop table repository"):
        assert owner.post("/repositories/enable", {"only": value}).status_code in {400, 422}, value

    assert enabled(runtime) == set()


def test_every_change_has_its_audit_row(runtime: Runtime, owner: Visitor, connection_id: int) -> None:
    chosen = [row.id for row in repositories(runtime, unavailable_reason="")[:2]]

    owner.post("/repositories/enable", {"repository_id": [str(number) for number in chosen]})
    owner.post("/repositories/enable", {"repository_id": [str(number) for number in chosen]})
    owner.post("/repositories/disable", {"only": str(chosen[0])})

    with runtime.database.reading() as session:
        events = session.exec(select(AuditEvent).where(AuditEvent.object_type == "repository")).all()
    assert [(event.action, int(event.object_id)) for event in events] == [
        ("repository.enabled", chosen[0]),
        ("repository.enabled", chosen[1]),
        ("repository.disabled", chosen[0]),
    ]


def test_repository_that_many_enable_at_once_is_enabled_once(
    app: Flask, runtime: Runtime, cast: Cast, connection_id: int
) -> None:
    chosen = repositories(runtime, unavailable_reason="")[0].id
    visitors = [Visitor(app).sign_in(cast.owner) for _ in range(4)]
    tokens = [visitor.csrf_token() for visitor in visitors]

    statuses = crowd(
        runtime.database,
        "enablement",
        *(
            lambda v=visitor, t=token: v.post("/repositories/enable", {"only": str(chosen)}, token=t).status_code
            for visitor, token in zip(visitors, tokens, strict=True)
        ),
    )

    assert set(statuses) == {303}
    assert enabled(runtime) == {chosen}
    with runtime.database.reading() as session:
        events = session.exec(select(AuditEvent).where(AuditEvent.object_type == "repository")).all()
    assert [event.action for event in events] == ["repository.enabled"]


def test_outsider_sees_and_changes_nothing(runtime: Runtime, outsider: Visitor, connection_id: int) -> None:
    chosen = repositories(runtime, unavailable_reason="")[0]

    page = outsider.get("/repositories/")
    outsider.post("/repositories/enable", {"only": str(chosen.id)})

    assert chosen.path_with_namespace not in page.text
    assert enabled(runtime) == set()
    assert outsider.get("/connections/gitlab/catalogue").status_code == 404


def test_auditor_sees_everything_and_changes_nothing(runtime: Runtime, auditor: Visitor, connection_id: int) -> None:
    chosen = repositories(runtime, unavailable_reason="")[0]

    page = auditor.get("/repositories/")
    answer = auditor.post("/repositories/enable", {"only": str(chosen.id)})

    assert len(shown(page.text)) == 50
    assert "data-select-row" not in page.text
    assert answer.status_code == 404
    assert enabled(runtime) == set()


def test_lead_sees_and_enables_in_granted_groups_only(
    runtime: Runtime, cast: Cast, lead: Visitor, connection_id: int
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
    inside = repositories(runtime, namespace_path="data/reporting", unavailable_reason="")[0]
    outside = next(
        row for row in repositories(runtime, unavailable_reason="") if not row.path_with_namespace.startswith("data/")
    )

    page = lead.get("/repositories/").text
    lead.post("/repositories/enable", {"repository_id": [str(inside.id), str(outside.id)]})

    paths = [row.path_with_namespace for row in repositories(runtime) if row.id in shown(page)]
    assert paths
    assert all(path.startswith("data/") for path in paths)
    assert outside.path_with_namespace not in page
    tree = re.findall(r'class="gh-tree-count">(?:<span aria-hidden="true">)?\s*0/(\d+)<', page)
    mine = [row for row in repositories(runtime) if row.path_with_namespace.startswith("data/")]
    assert set(tree[:2]) == {str(len(mine))}
    assert enabled(runtime) == {inside.id}


def test_lead_without_a_grant_sees_nothing_and_is_told_whom_to_ask(
    cast: Cast, lead: Visitor, connection_id: int
) -> None:
    page = lead.get("/repositories/").text

    assert shown(page) == []
    assert "You have no groups yet" in page
    assert cast.owner.email in page
    assert "service user" not in page


def test_hostile_names_are_text(owner: Visitor, connection_id: int) -> None:
    text = owner.get("/repositories/?q=hostile").text

    assert "<img src=x" not in text
    assert "<b hx-get" not in text
    assert "\u202e" not in text
    assert "{{7*7}}" in text


def test_read_again_makes_one_job_however_often_it_is_pressed(owner: Visitor, connection_id: int) -> None:
    first = owner.post("/connections/gitlab/catalogue")
    second = owner.post("/connections/gitlab/catalogue")

    assert first.status_code == second.status_code == 303
    assert owner.get("/jobs").text.count("Read repositories of Gitlab") == 1


def test_progress_polls_while_gitlab_is_read_and_stops_afterwards(
    runtime: Runtime, owner: Visitor, connection_id: int
) -> None:
    before = owner.get("/connections/gitlab/catalogue", htmx=True).text
    owner.post("/connections/gitlab/catalogue")
    during = owner.get("/connections/gitlab/catalogue", htmx=True).text

    assert "every 1500ms" not in before
    assert "every 1500ms" in during
    again = re.search(r'hx-get="(/connections/gitlab/catalogue[^"]*)"', during)[1].replace("&amp;", "&")
    unchanged = owner.get(again, htmx=True)
    assert (unchanged.status_code, unchanged.text) == (204, "")
    owner.post("/repositories/enable", {"only": str(repositories(runtime, unavailable_reason="")[0].id)})
    assert owner.get(again, htmx=True).status_code == 200


def test_pages_take_the_same_number_of_queries_with_few_rows_and_with_fifty(
    runtime: Runtime, owner: Visitor, connection_id: int
) -> None:
    counted: list[str] = []
    event.listen(runtime.database.engine, "before_cursor_execute", lambda *args: counted.append(args[2]))
    lengths = []
    for query in ("state=unavailable", "state=available"):
        counted.clear()
        owner.get(f"/repositories/?{query}")
        lengths.append(len(counted))

    assert lengths[0] == lengths[1]


@pytest.mark.parametrize("others", [0, 1])
def test_connection_that_does_not_exist_has_no_repositories(
    runtime: Runtime, sandbox: RunningSandbox, owner: Visitor, cast: Cast, others: int
) -> None:
    read_catalogue(runtime, connect(runtime, sandbox, cast.owner), "job", lambda *_: None)
    for number in range(others):
        with runtime.database.transaction() as session:
            names = {"slug": f"other-{number}", "display_name": f"Other {number}", "authorized_at": utc_now()}
            session.add(Connection(organization_id=cast.owner.organization_id, **names))

    for slug in ("%25", "no-such"):
        for more in ("", "&q=api", "&state=enabled", "&group=data", "&sort=activity"):
            answer = owner.get(f"/repositories/?connection={slug}{more}")
            assert (answer.status_code, "data/data-contracts" in answer.text) == (200, False)
