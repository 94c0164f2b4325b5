"""Branches, files, commits, new projects and environments over REST, with GitLab's refusals."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import httpx2
import pytest

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.rest import api

PLAYBOOKS = "/projects/platform%2Finfrastructure%2Fansible-playbooks"
# Its number leaves 1 when divided by 3: it has environments.
MODULES = "/projects/platform%2Finfrastructure%2Fterraform-modules"


@pytest.fixture(scope="module")
def gitlab() -> Iterator[RunningSandbox]:
    """A sandbox for all of these tests."""
    with RunningSandbox(project_count=40, with_service_user=True) as running:
        yield running


@pytest.fixture(scope="module")
def client(gitlab: RunningSandbox) -> Iterator[httpx2.Client]:
    """The administrator."""
    with api(gitlab, "root") as opened:
        yield opened


def refusal(answer: httpx2.Response) -> tuple[int, object]:
    body = answer.json()
    return answer.status_code, body.get("message", body.get("error"))


def test_branches_are_made_and_deleted(gitlab: RunningSandbox, client: httpx2.Client) -> None:
    branches = f"{PLAYBOOKS}/repository/branches"
    made = client.post(branches, json={"branch": "topic/one", "ref": "main"})
    assert (made.status_code, made.json()["name"], made.json()["protected"]) == (201, "topic/one", False)
    assert client.get(f"{branches}/topic%2Fone").json()["commit"]["id"] == made.json()["commit"]["id"]
    assert refusal(client.post(branches, json={"branch": "topic/one", "ref": "main"})) == (400, "Branch already exists")
    assert refusal(client.post(branches, json={"branch": "b", "ref": "no"})) == (400, "Invalid reference name: no")
    assert refusal(client.post(branches, json={})) == (400, "branch is missing, ref is missing")
    assert client.delete(f"{branches}/topic%2Fone").status_code == 204
    assert refusal(client.delete(f"{branches}/topic%2Fone")) == (404, "404 Branch Not Found")
    assert refusal(client.delete(f"{branches}/main")) == (403, "Protected branch cannot be deleted")
    rules = f"{PLAYBOOKS}/protected_branches"
    assert client.post(rules, json={"name": "stable", "push_access_level": 0}).status_code == 201
    assert refusal(client.post(rules, json={"name": "stable"})) == (409, "Protected branch 'stable' already exists")
    assert [row["name"] for row in client.get(rules).json()] == ["main", "stable"]


def test_files_are_read_and_written(client: httpx2.Client) -> None:
    files = f"{PLAYBOOKS}/repository/files"
    written = {"branch": "main", "commit_message": "Add it", "content": "one\n"}
    assert client.post(f"{files}/deploy%2Fnew.yaml", json=written).json() == {
        "file_path": "deploy/new.yaml",
        "branch": "main",
    }
    found = client.get(f"{files}/deploy%2Fnew.yaml", params={"ref": "main"}).json()
    assert (base64.b64decode(found["content"]), found["size"]) == (b"one\n", 4)
    again = client.post(f"{files}/deploy%2Fnew.yaml", json=written)
    assert refusal(again) == (400, "A file with this name already exists")
    known = {**written, "content": "two", "last_commit_id": found["last_commit_id"]}
    assert client.put(f"{files}/deploy%2Fnew.yaml", json=known).status_code == 200
    told = "You are attempting to update a file that has changed since you started editing it."
    assert refusal(client.put(f"{files}/deploy%2Fnew.yaml", json=known)) == (400, told)
    missing = client.put(f"{files}/none.yaml", json=written)
    assert refusal(missing) == (400, "A file with this name doesn't exist")
    assert refusal(client.get(f"{files}/none", params={"ref": "main"})) == (404, "404 File Not Found")
    assert refusal(client.get(f"{files}/README.md", params={"ref": "none"})) == (404, "404 Commit Not Found")
    assert refusal(client.get(f"{files}/README.md")) == (400, "ref is missing")
    tree = client.get(f"{PLAYBOOKS}/repository/tree", params={"recursive": "true", "per_page": "100"}).json()
    assert {"deploy", "deploy/new.yaml", "README.md"} <= {row["path"] for row in tree}
    below = client.get(f"{PLAYBOOKS}/repository/tree", params={"path": "deploy"}).json()
    assert [row["name"] for row in below] == ["new.yaml"]
    none = client.get(f"{PLAYBOOKS}/repository/tree", params={"ref": "none", "recursive": "true"})
    assert refusal(none) == (404, "404 Tree Not Found")


def test_a_commit_is_made_whole_or_not_at_all(gitlab: RunningSandbox, client: httpx2.Client) -> None:
    commits = f"{PLAYBOOKS}/repository/commits"
    actions = [
        {"action": "create", "file_path": "a.bin", "content": base64.b64encode(b"\0\1").decode(), "encoding": "base64"},
        {"action": "move", "file_path": "b.md", "previous_path": "index.md"},
        {"action": "delete", "file_path": "src/main.py"},
    ]
    body = {"branch": "work", "start_branch": "main", "commit_message": "Change three\n\nTogether", "actions": actions}
    made = client.post(commits, json=body)
    assert (made.status_code, made.json()["title"], len(made.json()["parent_ids"])) == (201, "Change three", 1)
    project = gitlab.world.project("platform/infrastructure/ansible-playbooks")
    paths = {row["path"] for row in gitlab.world.git.entries(project, made.json()["id"], is_deep=True)}
    assert {"a.bin", "b.md"} <= paths
    assert not {"index.md", "src/main.py"} & paths
    assert refusal(client.post(commits, json=body))[0] == 400
    half = [{"action": "create", "file_path": "c.md", "content": "c"}, {"action": "update", "file_path": "no.md"}]
    told = {**body, "start_branch": None, "actions": half}
    assert refusal(client.post(commits, json=told)) == (400, "A file with this name doesn't exist")
    assert gitlab.world.git.refs(project)["refs/heads/work"] == made.json()["id"]
    nowhere = {**body, "branch": "nowhere", "start_branch": None}
    told_so = "You can only create or edit files when you are on a branch"
    assert refusal(client.post(commits, json=nowhere)) == (400, told_so)
    assert refusal(client.post(commits, json={})) == (
        400,
        "branch is missing, commit_message is missing, actions is missing",
    )
    outside = {**told, "actions": [{"action": "create", "file_path": "../x", "content": ""}]}
    assert refusal(client.post(commits, json=outside)) == (400, "file_path should be a valid file path")
    compared = client.get(f"{PLAYBOOKS}/repository/compare", params={"from": "main", "to": "work"}).json()
    assert [row["title"] for row in compared["commits"]] == ["Change three"]
    changed = {row["new_path"]: (row["new_file"], row["deleted_file"]) for row in compared["diffs"]}
    assert changed["b.md"] == (True, False)
    assert changed["src/main.py"] == (False, True)
    same = client.get(f"{PLAYBOOKS}/repository/compare", params={"from": "main", "to": "main"}).json()
    assert (same["compare_same_ref"], same["commits"], same["diffs"]) == (True, [], [])
    none = client.get(f"{PLAYBOOKS}/repository/compare", params={"from": "main", "to": "none"})
    assert refusal(none) == (404, "404 Ref Not Found")
    assert refusal(client.get(f"{PLAYBOOKS}/repository/compare")) == (400, "from is missing, to is missing")
    developer = gitlab.world.create_user(name="Dana", username="dana", roles={"platform": 30})
    with api(gitlab, developer.username) as dana:
        onto_main = {**told, "branch": "main", "actions": half[:1]}
        refused = refusal(dana.post(commits, json=onto_main))
        assert refused == (403, "403 Forbidden - You are not allowed to push into this branch")
        assert dana.post(commits, json={**onto_main, "branch": "work"}).status_code == 201


def test_a_project_is_made_and_filled(gitlab: RunningSandbox, client: httpx2.Client) -> None:
    group = gitlab.world.group("platform/build")
    body = {"name": "From Template", "path": "from-template", "namespace_id": group.id, "visibility": "internal"}
    made = client.post("/projects", json=body)
    assert made.status_code == 201, made.text
    assert made.json()["path_with_namespace"] == "platform/build/from-template"
    status, told = refusal(client.post("/projects", json=body))
    assert (status, told["path"]) == (400, ["has already been taken"])  # type: ignore[index]
    assert refusal(client.post("/projects", json={})) == (
        400,
        "name, path are missing, at least one parameter must be provided",
    )
    assert refusal(client.post("/projects", json={**body, "namespace_id": 10**6})) == (404, "404 Namespace Not Found")
    assert refusal(client.post("/projects", json={**body, "path": "a b"}))[0] == 400
    commits = f"/projects/{made.json()['id']}/repository/commits"
    first = {"branch": "main", "commit_message": "Start", "actions": [{"action": "create", "file_path": "a/b.txt"}]}
    assert client.post(commits, json=first).json()["parent_ids"] == []
    assert client.get(f"/projects/{made.json()['id']}").json()["default_branch"] == "main"


def test_environments_are_listed_made_stopped_and_deleted(gitlab: RunningSandbox, client: httpx2.Client) -> None:
    environments = f"{MODULES}/environments"
    listed = client.get(environments).json()
    assert [row["tier"] for row in listed] == ["production", *["development"] * 3, "staging"]
    assert {row["state"] for row in listed} == {"available", "stopped"}
    one = client.get(f"{environments}/{listed[0]['id']}").json()
    assert one["last_deployment"]["ref"].startswith("v4.")
    assert one["last_deployment"]["status"] == "success"
    assert [row["name"] for row in client.get(environments, params={"search": "REV"}).json()] == [
        row["name"] for row in listed[1:4]
    ]
    assert refusal(client.get(environments, params={"search": "re"}))[0] == 400
    assert refusal(client.get(environments, params={"states": "gone"}))[0] == 400
    made = client.post(environments, json={"name": "testing", "external_url": "https://t.example.com"}).json()
    assert (made["tier"], made["state"], made["slug"]) == ("testing", "available", "testing")
    assert refusal(client.post(environments, json={"name": "testing"})) == (400, {"name": ["has already been taken"]})
    assert refusal(client.post(environments, json={})) == (400, "name is missing")
    assert refusal(client.post(environments, json={"name": "a", "tier": "x"})) == (
        400,
        "tier does not have a valid value",
    )
    assert refusal(client.post(environments, json={"name": "/a", "external_url": "ftp://x"}))[0] == 400
    address = f"{environments}/{made['id']}"
    assert client.put(address, json={"tier": "other"}).json()["tier"] == "other"
    assert refusal(client.delete(address)) == (403, "403 Forbidden")
    assert client.post(f"{address}/stop", json={"force": True}).json()["state"] == "stopped"
    assert client.delete(address).status_code == 204
    assert refusal(client.get(address)) == (404, "404 Not found")
    assert client.get(f"{PLAYBOOKS}/environments").json() == []
    deployed = client.get(f"{MODULES}/repository/files/deploy%2Fproduction.yaml", params={"ref": "main"}).json()
    ref = one["last_deployment"]["ref"].removeprefix("v")
    assert base64.b64decode(deployed["content"]).decode().endswith(f"terraform-modules:{ref}\n")
    guest = gitlab.world.create_user(name="Gus", username="gus", roles={"platform": 20})
    with api(gitlab, guest.username) as reporter:
        assert reporter.get(environments).status_code == 200
        assert refusal(reporter.post(environments, json={"name": "b"})) == (403, "403 Forbidden")
