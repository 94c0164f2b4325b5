"""What happened in projects: the lists say what the history says, and changes show in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from portal.sandbox.api.timestamps import stamp_of
from portal.sandbox.histories import APPROVED
from portal.sandbox.testing import RunningSandbox
from tests.sandbox.receiver import Receiver
from tests.sandbox.rest import api


@pytest.fixture(scope="module")
def past() -> Iterator[RunningSandbox]:
    """A sandbox for all of these tests."""
    with RunningSandbox(project_count=60, with_service_user=True) as running:
        yield running


@pytest.fixture(scope="module")
def client(past: RunningSandbox) -> Iterator[httpx2.Client]:
    """The service user."""
    with api(past) as opened:
        yield opened


def everything(client: httpx2.Client, path: str, **query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for page in range(1, 200):
        answer = client.get(path, params={**query, "page": str(page), "per_page": "100"})
        assert answer.status_code == 200, answer.text
        found += answer.json()
        if len(answer.json()) < 100:
            break
    return found


def test_the_same_seed_makes_the_same_history_whoever_asks_first() -> None:
    with RunningSandbox(project_count=70) as one, RunningSandbox(project_count=70) as other:
        assert one.world.histories.of(one.world.project(70)) == other.world.histories.of(other.world.project(70))
    with RunningSandbox(project_count=70, seed=1) as shifted:
        assert (
            shifted.world.histories.of(shifted.world.project(70)).mainline
            != one.world.histories.of(one.world.project(70)).mainline
        )


def test_lists_say_what_the_history_says(past: RunningSandbox, client: httpx2.Client) -> None:
    history = past.world.histories.of(past.world.project(1))
    asked = {"state": "all", "order_by": "updated_at", "sort": "asc"}
    requests = everything(client, "/projects/1/merge_requests", **asked)
    assert {row["iid"]: row["merged_at"] for row in requests} == {
        row.iid: stamp_of(row.merged) if row.merged else None for row in history.merge_requests.values()
    }
    assert [row["updated_at"] for row in requests] == sorted(row["updated_at"] for row in requests)
    late = everything(client, "/projects/1/merge_requests", **asked, updated_after=requests[-9]["updated_at"])
    assert [row["iid"] for row in late] == [row["iid"] for row in requests[-9:]]
    issues = everything(client, "/projects/1/issues", state="closed")
    assert len(issues) == sum(row.closed is not None for row in history.issues.values())
    commits = everything(client, "/projects/1/repository/commits")
    assert {row["id"] for row in commits} == {row.id for row in [*history.mainline, *history.branches]}
    assert [row["committed_date"] for row in commits] == sorted(
        (row["committed_date"] for row in commits), reverse=True
    )
    approvals = everything(client, "/projects/1/events", action="approved", sort="asc")
    comments = [row["note"] for row in everything(client, "/projects/1/events", action="commented")]
    given = [note for row in history.merge_requests.values() for note in row.notes]
    assert len(approvals) == sum(note.body == APPROVED for note in given)
    assert sum(row["noteable_type"] == "MergeRequest" for row in comments) == sum(not note.system for note in given)


def test_a_merge_commit_leads_to_the_branch_it_merged(past: RunningSandbox) -> None:
    for number in range(1, 30):
        project = past.world.projects.by_id(number)
        history = past.world.histories.of(project) if project else None
        if history is None or not any(row.method == "merge" and row.merged for row in history.merge_requests.values()):
            continue
        commits = {row.id: row for row in [*history.mainline, *history.branches]}
        for row in history.merge_requests.values():
            if row.merge_commit:
                assert commits[row.merge_commit].parents[1] == row.head
                assert row.first_commit == min(one.authored for one in row.commits) < row.created
        return
    raise AssertionError("no project merges with merge commits")


def test_rights_and_scope(past: RunningSandbox, client: httpx2.Client) -> None:
    assert everything(client, "/merge_requests") == []  # Only the caller's, unless everything is asked for.
    mine = everything(
        client, "/merge_requests", scope="all", updated_after=stamp_of(int(past.world.anchor.timestamp()))
    )
    assert mine == []
    guest_of = past.world.project("partners/handover/integration-guide").id
    with api(past, "dev") as guest:
        assert guest.get(f"/projects/{guest_of}/issues").status_code == 200
        for path in ("merge_requests", "repository/commits", "deployments"):
            assert guest.get(f"/projects/{guest_of}/{path}").status_code == 403
        assert {row["action_name"] for row in everything(guest, f"/projects/{guest_of}/events")} <= {"opened", "closed"}
        who, world = past.world.user_by_username("dev"), past.world
        assert who is not None
        readable = [row for row in world.projects.rows if world.access_level(who, row) >= 20]
        readable = [row for row in readable if row.repository_enabled]
        count = sum(len(world.histories.of(row).merge_requests) for row in readable)
        assert guest.get("/merge_requests", params={"scope": "all"}).headers["x-total"] == str(count) != "0"


def test_what_happens_now_moves_times_and_fires_hooks(past: RunningSandbox, client: httpx2.Client) -> None:
    before = stamp_of(int(past.world.now().timestamp()))
    with Receiver() as receiver:
        past.world.settings.allow_local_hooks = True
        answer = client.post("/projects/2/hooks", json={"url": receiver.url, "merge_requests_events": True})
        assert answer.status_code == 201, answer.text
        histories = past.world.histories
        number = histories.open_merge_request(2)
        histories.review(2, number, approves=True)
        histories.merge(2, number)
        asked = {"scope": "all", "state": "all", "order_by": "updated_at", "sort": "asc", "updated_after": before}
        assert [row["state"] for row in everything(client, "/merge_requests", **asked)] == ["merged"]
        newest = everything(client, "/projects/2/repository/commits", since=before)
        assert newest[0]["id"] == histories.of(past.world.project(2)).merge_requests[number].merge_commit
        histories.delete(2, "merge_request", number)
        assert client.get(f"/projects/2/merge_requests/{number}").status_code == 404
        assert histories.open_merge_request(2) == number + 1
        assert sum(histories.change_many(40, [2, 3]).values()) == 40
        assert past.world.deliveries.wait()
        bodies = [row.body for row in receiver.take() if row.body["object_kind"] == "merge_request"]
        mine = [body["object_attributes"] for body in bodies if body["object_attributes"]["iid"] == number]
        assert sorted(body["action"] for body in mine) == ["approved", "merge", "open"]  # In any order, as at GitLab.
