"""Members of groups and projects over REST."""

from __future__ import annotations

import pytest

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.rest import api


@pytest.mark.parametrize("place", ["groups/web%2Fshop", "projects/web%2Fapi-gateway"])
def test_direct_members_and_all_members(sandbox: RunningSandbox, place: str) -> None:
    world = sandbox.world
    world.add_member(world.user(7), world.group("web/shop"), 20)
    world.add_member(world.user(7), world.project("web/api-gateway"), 20)
    with api(sandbox) as client:
        direct = client.get(f"/{place}/members").json()
        everyone = client.get(f"/{place}/members/all", params={"per_page": "2"})
        found = client.get(f"/{place}/members/all", params={"query": "gateh"}).json()

    assert [(row["id"], row["access_level"]) for row in direct] == [(7, 20)]
    assert everyone.headers["x-total"] == "5"
    assert len(everyone.json()) == 2
    assert [(row["username"], row["access_level"]) for row in found] == [("gatehouse", 40)]


@pytest.mark.parametrize("place", ["groups/web%2Fshop", "projects/web%2Fapi-gateway"])
def test_one_member(sandbox: RunningSandbox, place: str) -> None:
    with api(sandbox) as client:
        inherited = client.get(f"/{place}/members/all/20")
        direct, stranger = client.get(f"/{place}/members/20"), client.get(f"/{place}/members/all/999")
        garbled = client.get(f"/{place}/members/all/me")

    assert inherited.json()["access_level"] == 40
    assert [answer.json() for answer in (direct, stranger)] == [{"message": "404 Not found"}] * 2
    assert (garbled.status_code, garbled.json()) == (400, {"error": "user_id is invalid"})


def test_members_of_what_one_may_not_see(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        group, project = client.get("/groups/security/members/all"), client.get("/projects/999/members")

    assert (group.status_code, group.json()) == (404, {"message": "404 Group Not Found"})
    assert (project.status_code, project.json()) == (404, {"message": "404 Project Not Found"})


@pytest.mark.parametrize(
    ("place", "manager", "stranger"),
    [("groups/web%2Fshop", "root", "gatehouse"), ("projects/web%2Fapi-gateway", "gatehouse", "dev")],
)
def test_who_manages_a_place_adds_changes_and_removes_members(
    sandbox: RunningSandbox, place: str, manager: str, stranger: str
) -> None:
    body, one = {"user_id": 7, "access_level": 20}, f"/{place}/members/7"
    with api(sandbox, manager) as client, api(sandbox, stranger) as other:
        refused = other.post(f"/{place}/members", json=body)
        steps = [
            client.put(one, json={"access_level": 30}),
            client.post(f"/{place}/members", json=body),
            client.put(one, json={"access_level": 30}),
            client.get(one),
            client.delete(one),
            client.get(one),
        ]

    assert refused.status_code == 403
    assert [step.status_code for step in steps] == [404, 201, 200, 200, 204, 404]
    assert steps[3].json()["access_level"] == 30


def test_administrator_adds_a_member_once_and_not_below_what_is_inherited(sandbox: RunningSandbox) -> None:
    body = {"user_id": 7, "access_level": 20}
    with api(sandbox, "root") as root, api(sandbox, "dev") as dev:
        added = root.post("/groups/research/members", json=body)
        again = root.post("/groups/research/members", json=body | {"access_level": 40})
        below = root.post("/groups/research%2Fvision/members", json=body | {"access_level": 10})
        garbled = root.post("/groups/research/members", json=body | {"access_level": 21})
        refused = dev.post("/groups/web/members", json=body)

    assert (added.status_code, added.json()["access_level"]) == (201, 20)
    assert (again.status_code, again.json()) == (409, {"message": "Member already exists"})
    assert sandbox.world.members.direct_on_group(sandbox.world.group("research").id, 7) == 20
    assert below.status_code == 400
    assert garbled.json() == {"error": "access_level does not have a valid value"}
    assert refused.status_code == 403
