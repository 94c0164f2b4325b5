"""The portal and a GitLab whose hooks really fire: what drifts is repaired, and no delivery is lost or doubled."""

from __future__ import annotations

import json
import socket
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlmodel import col, select
from sqlmodel import delete as delete_from

from portal.connections.models import Connection
from portal.gitlab.answers import GitLabUnavailable
from portal.gitlab.hooks import Level
from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.models import Repository
from portal.runtime import Runtime
from portal.sandbox.deliveries import LAST_FAILURE
from portal.sandbox.hooks import Hook as AtGitLab
from portal.sandbox.testing import RunningSandbox
from portal.settings import Settings
from portal.webhooks.deliveries import apply_batch
from portal.webhooks.differences import Difference
from portal.webhooks.models import Delivery, HookPlan, HookStatus
from tests.browser.site import serving
from tests.support.people import Cast
from tests.webhooks.hooked import Hooked, hooked
from tests.webhooks.test_reconcile import (
    delete,
    double,
    leave_orphan,
    spoil_address,
    spoil_events,
    spoil_filter,
    spoil_signature,
    spoil_tls,
    spoil_token,
)

HOOKS = 12


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """The socket that the portal answers on; bound first, because the base URL holds its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def settings(listener: socket.socket, tmp_path: Path) -> Settings:
    """Settings of a portal that GitLab reaches."""
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    return Settings(base_url=address, data_dir=tmp_path / "var", allow_http=True)


@pytest.fixture
def served(app: Flask, listener: socket.socket) -> Iterator[None]:
    """The portal, answering."""
    with serving(app, listener):
        yield


def came(found: Hooked, act: Callable[[], None]) -> Counter[tuple[int, str]]:
    """Return how many deliveries of which project, proved how, came of what happens in `act`."""
    with found.runtime.database.reading() as session:
        newest = max(session.exec(select(Delivery.id)).all(), key=int, default=0)
    act()
    assert found.sandbox.world.deliveries.wait()
    with found.runtime.database.reading() as session:
        rows = session.exec(select(Delivery).where(col(Delivery.id) > newest)).all()
    bodies = ((json.loads(zlib.decompress(row.body or b"")), row) for row in rows)
    return Counter((body["project_id"], row.verified_by) for body, row in bodies)


def pushing(found: Hooked, subjects: list[int]) -> Callable[[], None]:
    """Return what pushes once to each of these projects."""

    def push() -> None:
        for subject in subjects:
            found.sandbox.world.activity.push(subject)

    return push


def connected(runtime: Runtime, sandbox: RunningSandbox, cast: Cast, version: str = "19.0.0") -> Hooked:
    """A connection whose hooks are made, the first of them proved by a test that really arrived."""
    sandbox.world.settings.version = version
    found = hooked(runtime, sandbox, cast, HOOKS, version=version)
    found.run()
    assert [row.status for row in found.rows()] == [HookStatus.ACTIVE] * HOOKS
    assert found.plan().card is None
    return found


def disable(found: Hooked, hook: AtGitLab) -> None:
    hook.failures = LAST_FAILURE + 1


def change_secrets(found: Hooked, hook: AtGitLab) -> None:
    hook.token, hook.signing_token = "somebody-elses", "whsec_" + "A" * 43 + "="


DRIFT: tuple[tuple[Callable[[Hooked, AtGitLab], None], Difference], ...] = (
    (delete, Difference.MISSING),
    (disable, Difference.DISABLED),
    (change_secrets, Difference.SECRET),
    (spoil_token, Difference.SECRET),
    (spoil_signature, Difference.SIGNATURE),
    (spoil_address, Difference.URL),
    (spoil_events, Difference.EVENTS),
    (double, Difference.DUPLICATE),
    (leave_orphan, Difference.ORPHAN),
    (spoil_tls, Difference.TLS),
    (spoil_filter, Difference.FILTER),
)


def test_whatever_drifts_is_found_and_repaired_without_doubling_a_delivery(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, served: None
) -> None:
    sandbox.world.settings.auto_disable_hooks = True
    found = connected(runtime, sandbox, cast)
    subjects = [row.subject_id for row in found.rows()]
    each_once = {(subject, "signature"): 1 for subject in subjects}
    before = came(found, pushing(found, subjects))

    for (spoil, _), row in zip(DRIFT, found.rows(), strict=False):
        spoil(found, found.of(row)[0])
    # GitLab delivers with the wrong secret, so the portal knows that it has one.
    came(found, pushing(found, subjects))
    found.run()
    repaired = [row.repairs for row in found.rows()]
    after = came(found, pushing(found, subjects))
    sandbox.requests.clear()
    found.run()

    assert before == each_once
    # A delivery without its signature is refused too, so that one is found for two reasons.
    assert [difference in repairs for (_, difference), repairs in zip(DRIFT, repaired, strict=False)] == [True] * len(
        DRIFT
    )
    assert repaired[len(DRIFT) :] == [[]] * (HOOKS - len(DRIFT))
    assert after == each_once
    assert found.changes_asked() == []


def test_projects_are_told_once_while_their_groups_take_over(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, served: None
) -> None:
    found = connected(runtime, sandbox, cast)
    world, user = sandbox.world, sandbox.world.user_by_username("gatehouse")
    assert user is not None
    for group in world.top_level_groups():
        world.add_member(user, group, 50)
    subjects = [row.subject_id for row in found.rows()]

    read_catalogue(runtime, found.connection_id, "job", lambda *_: None)
    found.change(HookPlan, level=Level.GROUP)
    for _ in range(3):
        found.run()
    levels = Counter(row.level for row in found.rows())
    told = came(found, pushing(found, subjects))

    assert levels[Level.GROUP] >= 1
    assert told == {(subject, "signature"): 1 for subject in subjects}


def effects(found: Hooked) -> Counter[tuple[int | None, str]]:
    """Apply what waits; return how many deliveries of which project had an effect, and how many were known already."""
    while apply_batch(found.runtime):
        pass
    with found.runtime.database.transaction() as session:
        rows = session.exec(select(Delivery)).all()
        counted = Counter((row.gitlab_project_id, "known" if row.effect == "twice" else "new") for row in rows)
        session.exec(delete_from(Delivery))
    return counted


def test_hooks_of_a_group_and_of_its_projects_that_both_fire_have_one_effect_until_one_is_left(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, served: None
) -> None:
    found = connected(runtime, sandbox, cast)
    world, user = sandbox.world, sandbox.world.user_by_username("gatehouse")
    assert user is not None
    for group in world.top_level_groups():
        world.add_member(user, group, 50)
    subjects = [row.subject_id for row in found.rows()]
    once = {(subject, "new"): 1 for subject in subjects}
    read_catalogue(runtime, found.connection_id, "job", lambda *_: None)
    effects(found)

    # GitLab does not let the hooks of projects go, so both fire.
    sandbox.faults.add("/api/v4/projects/*/hooks/*", "DELETE", status=403, body={"message": "403 Forbidden"})
    found.change(HookPlan, level=Level.GROUP)
    for _ in range(2):
        found.run()
    pushing(found, subjects)()
    assert world.deliveries.wait()
    both = effects(found)
    sandbox.faults.clear()
    found.run()
    pushing(found, subjects)()
    assert world.deliveries.wait()
    of_groups = effects(found)

    # The other way round, GitLab has the hooks of projects before those of groups go.
    found.change(HookPlan, level=Level.PROJECT)
    sandbox.faults.add("/api/v4/projects/*/hooks", "POST", status=503, times=4)
    with pytest.raises(GitLabUnavailable):
        found.run()
    pushing(found, subjects)()
    assert world.deliveries.wait()
    between = effects(found)
    sandbox.faults.clear()
    found.run()
    pushing(found, subjects)()
    assert world.deliveries.wait()
    of_projects = effects(found)

    # One that a person copied has no right secret; one of an earlier installation has an address that no row knows.
    row = found.rows()[0]
    with runtime.database.reading() as session:
        path = session.get_one(Repository, row.repository_id).path_with_namespace
    group = world.groups.by_path(path.partition("/")[0])
    assert group is not None
    for url in (row.url, row.url.replace(row.public_id, "x" * len(row.public_id))):
        copied = world.hooks.add(group.id, url, world.now(), "group")
        copied.flags["push_events"], copied.token = True, "somebody-elses"
    pushing(found, [row.subject_id])()
    assert world.deliveries.wait()
    with_copies = effects(found)
    found.run()
    repairs = {item.id: item.repairs for item in found.rows()}

    assert {place: count for place, count in both.items() if place[1] == "new"} == once
    assert sum(both.values()) > len(subjects)
    assert of_groups == between == of_projects == once
    assert with_copies == {(row.subject_id, "new"): 1}
    assert world.hooks.of(group.id, "group") == []
    assert repairs[row.id] == ["inherited"]
    assert [len(found.of(item)) for item in found.rows()] == [1] * HOOKS


def test_no_delivery_is_lost_while_hooks_move_to_signatures(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast, served: None
) -> None:
    found = connected(runtime, sandbox, cast, "18.5.0")
    subjects = [row.subject_id for row in found.rows()]
    is_over, pushed = threading.Event(), Counter[int]()

    def push_on() -> None:
        while not is_over.is_set():
            for subject in subjects:
                sandbox.world.activity.push(subject)
                pushed[subject] += 1
            sandbox.world.deliveries.wait()

    def move() -> None:
        pusher = threading.Thread(target=push_on)
        pusher.start()
        sandbox.world.settings.version = "19.0.0"
        found.change(Connection, version_seen="19.0.0")
        found.run()
        found.change(intent="rotate")
        found.run()
        is_over.set()
        pusher.join()

    told = came(found, move)
    last = came(found, pushing(found, subjects))

    assert [row.uses_signature for row in found.rows()] == [True] * HOOKS
    got = Counter[int]()
    for (subject, _), count in told.items():
        got[subject] += count
    assert got == pushed
    assert last == {(subject, "signature"): 1 for subject in subjects}
