"""Projects over REST: who sees which, and what is shown of them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.rest import anonymous, api, ids

ALL = {"per_page": "100", "order_by": "id", "sort": "asc"}
SIMPLE_ONLY = {"namespace", "name_with_namespace", "star_count", "last_activity_at", "http_url_to_repo"}


def paths(answer: httpx2.Response) -> set[str]:
    assert answer.status_code == 200, answer.text
    return {row["path_with_namespace"] for row in answer.json()}


def find(client: httpx2.Client, path: str, **query: str) -> dict[str, Any]:
    """Return a project as lists show it."""
    rows = client.get("/projects", params=ALL | query).json()
    return next(row for row in rows if row["path_with_namespace"] == path)


def test_membership_lists_inherited_and_shared_projects_only(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        mine, visible = (paths(client.get("/projects", params=ALL | extra)) for extra in ({"membership": "true"}, {}))

    assert "platform/infrastructure/kubernetes/clusters/production" in mine
    assert "security/incident-response/runbooks" in mine
    assert "dev/dotfiles" not in mine
    assert "dev/dotfiles" in visible
    assert not {"security/key-ceremony", "amara.okafor/scratchpad"} & (mine | visible)


def test_least_role_lists_where_hooks_can_be_created(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        maintained = paths(client.get("/projects", params=ALL | {"min_access_level": "40"}))

    assert "platform/handbook" in maintained
    assert not {"partners/handover/integration-guide", "security/incident-response/runbooks"} & maintained


def test_administrator_sees_everything_and_external_people_only_their_own(sandbox: RunningSandbox) -> None:
    sandbox.world.create_user(name="Ext", username="ext", external=True, roles={"data": 20})
    with api(sandbox, "root") as root, api(sandbox, "ext") as external, anonymous(sandbox) as visitor:
        everything = ids(root.get("/projects", params=ALL))
        own = paths(external.get("/projects", params=ALL))
        public = visitor.get("/projects", params=ALL)

    assert len(everything) == 60
    assert {path.split("/")[0] for path in own} == {"data", "web", "dev"}
    assert paths(public) == {"dev/dotfiles", "web/design-system/components", "web/design-system/icons"}
    assert "permissions" not in public.json()[0]


def test_admin_mode_holds_an_administrator_back(sandbox: RunningSandbox) -> None:
    secret = sandbox.world.project("security/key-ceremony")
    sandbox.world.settings.admin_mode = True
    with api(sandbox, "root") as plain, api(sandbox, "root", "api", "admin_mode") as elevated:
        assert plain.get(f"/projects/{secret.id}").status_code == 404
        assert elevated.get(f"/projects/{secret.id}").status_code == 200


@pytest.mark.parametrize(
    ("query", "included", "left_out"),
    [
        ({"archived": "true"}, "platform/identity/legacy-ldap-bridge", "platform/handbook"),
        ({"archived": "false"}, "platform/handbook", "platform/identity/legacy-ldap-bridge"),
        ({"active": "true"}, "mobile/ios/ios-app", "mobile/ios/watch-extension-deletion_scheduled-44"),
        ({"visibility": "public"}, "web/design-system/icons", "platform/handbook"),
        ({"search": "HANDBOOK"}, "platform/handbook", "web/design-system/icons"),
        ({"search": "kubernetes/clus", "search_namespaces": "true"}, None, "platform/handbook"),
        ({"topic": "helm"}, "platform/infrastructure/kubernetes/helm-charts", "platform/handbook"),
    ],
)
def test_filter_of_projects(
    sandbox: RunningSandbox, query: dict[str, str], included: str | None, left_out: str
) -> None:
    with api(sandbox) as client:
        found = paths(client.get("/projects", params=ALL | query))

    assert found
    assert included is None or included in found
    assert left_out not in found


def test_changed_since_needs_the_matching_order(sandbox: RunningSandbox) -> None:
    world = sandbox.world
    project = world.change_project(world.project("web/shop/storefront").id, description="new")
    since = (world.now() - timedelta(seconds=5)).isoformat()
    with api(sandbox) as client:
        paired = client.get("/projects", params={"updated_after": since, "order_by": "updated_at", "sort": "asc"})
        alone = client.get("/projects", params={"updated_after": since})

    assert ids(paired) == [project.id]
    assert alone.status_code == 400


def test_changed_since_is_ignored_before_it_existed() -> None:
    with RunningSandbox(version="15.9.8", with_service_user=True) as sandbox, api(sandbox) as client:
        answer = client.get("/projects", params=ALL | {"updated_after": "2100-01-01T00:00:00Z"})

        assert len(ids(answer)) > 50


def test_orders_of_projects(sandbox: RunningSandbox) -> None:
    with api(sandbox, "root") as client:
        for order, member in (("name", "name"), ("last_activity_at", "last_activity_at"), ("path", "path")):
            rows = client.get("/projects", params={"order_by": order, "sort": "asc", "per_page": "100"}).json()
            values = [row[member].lower() for row in rows]
            assert values == sorted(values)


def test_simple_has_few_members_and_full_has_more(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        simple = find(client, "platform/handbook", simple="true")
        full = find(client, "platform/handbook")

    assert SIMPLE_ONLY <= set(simple) < set(full)
    assert not {"permissions", "empty_repo", "archived"} & set(simple)
    assert {"permissions", "empty_repo", "archived", "repository_object_format", "_links"} <= set(full)
    assert full["default_branch"] == "trunk"


def test_permissions_of_lists_know_only_the_immediate_group(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        direct, inherited = find(client, "platform/handbook"), find(client, "platform/build/base-images")
        single = client.get(f"/projects/{inherited['id']}").json()

    maintainer = {"access_level": 40, "notification_level": 3}
    assert direct["permissions"] == {"project_access": None, "group_access": maintainer}
    assert inherited["permissions"] == {"project_access": None, "group_access": None}
    assert single["permissions"] == {"project_access": None, "group_access": maintainer}


def test_administrator_without_role_has_no_permissions_in_both(sandbox: RunningSandbox) -> None:
    with api(sandbox, "root") as client:
        listed = find(client, "security/key-ceremony")
        single = client.get(f"/projects/{listed['id']}").json()

    assert listed["permissions"] == single["permissions"] == {"project_access": None, "group_access": None}


def test_guest_is_not_told_about_code(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        guide = find(client, "partners/handover/integration-guide")
        tree = client.get(f"/projects/{guide['id']}/repository/tree")

    assert not {"default_branch", "readme_url", "forks_count"} & set(guide)
    assert (tree.status_code, tree.json()) == (403, {"message": "403 Forbidden"})


def test_repository_switched_off_is_not_told_about_either(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        project = find(client, "data/reporting/wiki-and-issues-only")

    assert project["repository_access_level"] == "disabled"
    assert "default_branch" not in project


def test_first_sixty_hold_every_special_kind(sandbox: RunningSandbox) -> None:
    with api(sandbox, "root") as client:
        rows = client.get("/projects", params=ALL).json()

    assert any(row["archived"] for row in rows)
    assert any(row["empty_repo"] for row in rows)
    assert any(row["repository_object_format"] == "sha256" for row in rows)
    assert any(row["repository_access_level"] == "disabled" for row in rows)
    assert any(row["marked_for_deletion_on"] for row in rows)
    assert any(row["namespace"]["kind"] == "user" and row["owner"]["username"] == "dev" for row in rows)
    assert any(row["avatar_url"] for row in rows)
    assert any(row["shared_with_groups"] for row in rows)
    assert {row["visibility"] for row in rows} == {"private", "internal", "public"}
    names = " ".join(row["name"] for row in rows)
    for hostile in ("<img src=x", "{{7*7}}", "hx-get=/api/x", "\u202e", "=cmd|", "مستودع", "🚀"):
        assert hostile in names
    assert max(len(row["name"]) for row in rows) > 200
    assert max(row["path_with_namespace"].count("/") for row in rows) == 4


def test_project_is_found_by_id_and_by_encoded_path_in_any_case(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        by_id = client.get(f"/projects/{sandbox.world.project('web/shop/storefront').id}").json()

        assert client.get("/projects/web%2Fshop%2Fstorefront").json() == by_id
        assert client.get("/projects/Web%2fShop%2FStorefront").json() == by_id


@pytest.mark.parametrize("address", ["999999", "security%2Fkey-ceremony", "web%2Fnothing", "storefront"])
def test_what_cannot_be_seen_is_not_found(sandbox: RunningSandbox, address: str) -> None:
    with api(sandbox) as client:
        answer = client.get(f"/projects/{address}")

    assert (answer.status_code, answer.json()) == (404, {"message": "404 Project Not Found"})


def test_proxy_that_decodes_slashes_breaks_encoded_paths(sandbox: RunningSandbox) -> None:
    sandbox.world.settings.proxy_decodes_slashes = True
    with api(sandbox) as client:
        answer = client.get("/projects/web%2Fshop%2Fstorefront")

    assert (answer.status_code, answer.json()) == (404, {"error": "404 Not Found"})


@pytest.mark.parametrize(("version", "status"), [("18.5.0", 301), ("16.6.0", 404)])
def test_renamed_project_redirects_from_its_old_path(version: str, status: int) -> None:
    with RunningSandbox(version=version, with_service_user=True) as sandbox, api(sandbox) as client:
        project = sandbox.world.project("web/shop/storefront")
        sandbox.world.change_project(project.id, path="shopfront")

        answer = client.get("/projects/web%2Fshop%2Fstorefront")

        assert answer.status_code == status
        if status == 301:
            assert answer.headers["Location"] == f"{sandbox.api}/projects/{project.id}"
        assert client.get(f"/projects/{project.id}").json()["path"] == "shopfront"


def test_renamed_group_moves_its_projects(sandbox: RunningSandbox) -> None:
    project = sandbox.world.project("web/shop/checkout/basket")
    sandbox.world.rename_group(sandbox.world.group("web/shop").id, "store")
    with api(sandbox) as client:
        assert client.get(f"/projects/{project.id}").json()["path_with_namespace"] == "web/store/checkout/basket"
        assert client.get("/projects/web%2Fshop%2Fcheckout%2Fbasket", follow_redirects=False).status_code == 301


def test_added_and_deleted_projects_show_at_once(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        before = ids(client.get("/projects", params=ALL))
        added = sandbox.world.add_project("web/brand-new", visibility="internal")
        sandbox.world.delete_project(before[0])

        assert ids(client.get("/projects", params=ALL)) == [*before[1:], added.id]
        assert client.get(f"/projects/{before[0]}").status_code == 404


def test_tree_of_an_empty_repository_is_not_found(sandbox: RunningSandbox) -> None:
    empty, filled = (
        sandbox.world.project(path).id for path in ("platform/build/runners/new-runner-images", "web/api-gateway")
    )
    with api(sandbox, "gatehouse", "read_repository") as client:
        answer = client.get(f"/projects/{empty}/repository/tree")
        branches = client.get(f"/projects/{filled}/repository/branches").json()

        assert (answer.status_code, answer.json()) == (404, {"message": "404 Tree Not Found"})
        assert client.get(f"/projects/{empty}/repository/branches").json() == []
        assert [branch["name"] for branch in branches] == ["main"]
        assert client.get(f"/projects/{filled}/repository/branches/none").json() == {"message": "404 Branch Not Found"}


def test_sha256_projects_have_long_object_ids(sandbox: RunningSandbox) -> None:
    project = sandbox.world.project("data/warehouse/schema-registry")
    with api(sandbox) as client:
        (branch,) = client.get(f"/projects/{project.id}/repository/branches").json()

    assert len(branch["commit"]["id"]) == 64


def test_member_of_project_counts_inherited_roles(sandbox: RunningSandbox) -> None:
    dev, project = sandbox.world.user_by_username("dev"), sandbox.world.project("web/shop/checkout/basket")
    with api(sandbox) as client:
        member = client.get(f"/projects/{project.id}/members/all/{dev.id}").json()
        missing = client.get(f"/projects/{project.id}/members/all/9999")

    assert (member["username"], member["access_level"]) == ("dev", 30)
    assert (missing.status_code, missing.json()) == (404, {"message": "404 Not found"})


def test_statistics_are_told_to_reporters(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        told, guest = (
            client.get(f"/projects/{sandbox.world.project(path).id}", params={"statistics": "true"}).json()
            for path in ("web/api-gateway", "partners/handover/integration-guide")
        )

    assert told["statistics"]["repository_size"] > 0
    assert "statistics" not in guest


def test_same_options_make_the_same_projects() -> None:
    with RunningSandbox(project_count=200) as first, RunningSandbox(project_count=200) as second:
        assert json.dumps([row.path for row in first.world.projects.rows]) == json.dumps(
            [row.path for row in second.world.projects.rows]
        )
        assert first.world.projects.rows == second.world.projects.rows
