"""Groups over REST."""

from __future__ import annotations

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.rest import anonymous, api, ids

ALL = {"per_page": "100"}


def test_people_see_their_groups_and_administrators_all(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client, api(sandbox, "root") as root, anonymous(sandbox) as visitor:
        mine = {row["full_path"] for row in client.get("/groups", params=ALL).json()}
        all_groups = {row["full_path"] for row in root.get("/groups", params=ALL).json()}
        public = {row["full_path"] for row in visitor.get("/groups", params=ALL).json()}

    assert all_groups - mine == {"security", "security/incident-response"}
    assert public == {"web", "web/design-system"}


def test_all_available_adds_what_is_open_to_everybody(sandbox: RunningSandbox) -> None:
    with api(sandbox, "blocked") as client:
        sandbox.world.set_user_state(3, "active")
        own = ids(client.get("/groups", params=ALL))
        available = ids(client.get("/groups", params=ALL | {"all_available": "true"}))

    assert set(own) < set(available)


def test_filters_of_groups(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        top = client.get("/groups", params=ALL | {"top_level_only": "true", "order_by": "path"}).json()
        maintained = client.get("/groups", params=ALL | {"min_access_level": "40", "top_level_only": "true"}).json()
        found = client.get("/groups", params={"search": "payments"}).json()

    assert [row["path"] for row in top] == ["data", "mobile", "partners", "platform", "research", "web"]
    assert "partners" not in [row["path"] for row in maintained]
    assert [row["full_name"] for row in found] == ["Web / Shop / Checkout / Payments"]


def test_group_is_four_deep_and_found_by_path(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        group = client.get(
            "/groups/research%2Flanguage%2Fmodels%2Fevaluation", params={"with_projects": "false"}
        ).json()
        parent = client.get(f"/groups/{group['parent_id']}").json()

    assert "projects" not in group
    assert parent["full_path"] == "research/language/models"
    assert [row["path"] for row in parent["projects"]] == ["model-zoo"]


def test_subgroups_are_direct_and_descendants_are_all(sandbox: RunningSandbox) -> None:
    platform = sandbox.world.group("platform").id
    with api(sandbox) as client:
        direct = {row["path"] for row in client.get(f"/groups/{platform}/subgroups").json()}
        below = {row["path"] for row in client.get(f"/groups/{platform}/descendant_groups").json()}

    assert direct == {"infrastructure", "identity", "build"}
    assert direct | {"kubernetes", "clusters", "network", "runners"} == below


def test_projects_of_a_group_by_default_include_shared_ones_but_no_subgroups(sandbox: RunningSandbox) -> None:
    platform = sandbox.world.group("platform").id
    with api(sandbox) as client:
        rows = client.get(f"/groups/{platform}/projects").json()
        own = client.get(f"/groups/{platform}/projects", params={"with_shared": "false"}).json()
        below = client.get(f"/groups/{platform}/projects", params=ALL | {"include_subgroups": "true"}).json()

    assert {row["path"] for row in rows} == {"handbook", "runbooks"}
    assert [row["path"] for row in own] == ["handbook"]
    assert "production" in {row["path"] for row in below}
    assert "permissions" not in rows[0]


def test_hidden_group_is_not_found(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        for path in ("security", "999999"):
            answer = client.get(f"/groups/{path}")
            assert (answer.status_code, answer.json()) == (404, {"message": "404 Group Not Found"})


def test_many_projects_come_with_many_groups() -> None:
    with RunningSandbox(project_count=20_000) as sandbox, api(sandbox, "root") as client:
        answer = client.get("/groups", params=ALL)

    assert answer.headers["x-total"] == "414"
