"""The first webhook proves that GitLab delivers, before the rest are made."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.webhooks.models import HookStatus
from portal.webhooks.reconcile import reconcile_hooks
from tests.support.people import Cast
from tests.webhooks.hooked import Hooked, hooked

TESTS = "/api/v4/projects/*/hooks/*/test/push_events"


@contextmanager
def delivering(found: Hooked, tests: int = 1) -> Iterator[None]:
    """Let a delivery arrive once GitLab was asked for so many tests."""
    asked_before = found.sandbox.requests.count(TESTS)
    found.sandbox.faults.add(TESTS, status=201, body={"message": "201 Created"})
    is_over = threading.Event()

    def deliver() -> None:
        while not is_over.wait(0.01):
            seen = found.sandbox.requests.all(TESTS)[asked_before:]
            if len(seen) >= tests:
                number = int(seen[-1].path.split("/")[6])
                found.deliver(next(row for row in found.rows() if row.gitlab_hook_id == number))
                return

    thread = threading.Thread(target=deliver)
    thread.start()
    yield
    is_over.set()
    thread.join()


def test_one_test_that_arrives_is_enough_for_all(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> None:
    found = hooked(runtime, sandbox, cast, 7)

    with delivering(found):
        found.run()
    rows = found.rows()

    assert sandbox.requests.count(TESTS) == 1
    assert {row.status for row in rows} == {HookStatus.ACTIVE}
    assert [row.latency_ms is not None for row in rows].count(True) == 1
    assert found.plan().card is None
    assert found.actions().count("hook.proved") == 1
    assert found.actions().count("hook.created") == 7


@pytest.mark.parametrize(
    ("answer", "code", "case"),
    [
        ({"status": 422, "body": {"message": "Silent mode enabled"}}, "hook_test_failed", "silent_mode"),
        (
            {"status": 422, "body": {"message": "Failed to open TCP connection to gatehouse:443"}},
            "hook_test_failed",
            "",
        ),
        ({"status": 201, "body": {"message": "201 Created"}}, "hook_test_lost", ""),
    ],
)
def test_failed_proof_stops_the_rest_with_one_clear_error(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, answer: dict[str, object], code: str, case: str
) -> None:
    found = hooked(runtime, sandbox, cast, 7)
    sandbox.faults.add(TESTS, **answer)

    reconcile_hooks(runtime, found.connection_id, proof_seconds=0.2)
    card = found.plan().card
    reconcile_hooks(runtime, found.connection_id, proof_seconds=0.2)
    made = len(found.at_gitlab())
    sandbox.faults.clear()
    with delivering(found):
        found.run()

    assert card
    assert (card["code"], card["params"].get("case", "")) == (code, case)
    assert made == 1
    assert len(found.at_gitlab()) == 7
    assert found.plan().card is None
    assert [row.card for row in found.rows()] == [None] * 7


def test_repository_without_a_commit_proves_nothing_and_another_one_is_tried(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    found = hooked(runtime, sandbox, cast, 3)
    message = {"message": "Ensure the project has at least one commit."}
    sandbox.faults.add(TESTS, status=422, body=message, times=1)

    with delivering(found, tests=2):
        found.run()

    assert sandbox.requests.count(TESTS) == 2
    assert len(found.at_gitlab()) == 3
    assert found.plan().card is None


def test_without_tests_the_first_real_delivery_is_awaited(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    found = hooked(runtime, sandbox, cast, 6, version="16.10.0")

    found.run()

    assert sandbox.requests.count(TESTS) == 0
    assert (found.plan().card or {}).get("code") == "hook_waits_for_first"
    assert len(found.at_gitlab()) == 5
