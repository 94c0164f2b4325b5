"""Everything that matches is changed by a job: whatever else happens to it."""

from __future__ import annotations

from functools import partial

import pytest
from sqlalchemy import delete, func, update
from sqlmodel import col, select

from portal.accounts.models import GroupGrant, Membership
from portal.actor import Principal, Role
from portal.audit.models import AuditEvent
from portal.connections.models import Connection
from portal.errors import Conflict, InvalidInput, NotFound
from portal.jobs.service import request_stop
from portal.jobs.testing import run_pending
from portal.repositories import bulk
from portal.repositories.bulk import load_page, preview, start, start_undo
from portal.repositories.enablement import set_enabled
from portal.repositories.models import BulkChange, Enablement, HeldBack, ItemResult, Namespace, Repository, recount
from portal.repositories.selection import Filters, StateFilter
from portal.runtime import Runtime
from tests.accounts.at_once import crowd
from tests.repositories.catalogue_rows import add_connection
from tests.support.people import Cast, add_actor
from tests.support.walkthrough import principal_of

COUNT = 20
FIRST = Filters(connection="first")


@pytest.fixture
def owner(runtime: Runtime, cast: Cast) -> Principal:
    add_connection(runtime, cast, "first", COUNT)
    return principal_of(runtime, cast.owner)


def begin(runtime: Runtime, principal: Principal, filters: Filters = FIRST, *, enabled: bool = True) -> str:
    found = preview(runtime, principal, filters, enabled=enabled)
    numbers = {"matching": found.matching, "changing": found.changing, "confirmation": str(found.changing)}
    job, _ = start(runtime, principal, filters, enabled=enabled, **numbers)
    return job.public_id


def results(runtime: Runtime, principal: Principal, public_id: str) -> dict[ItemResult, int]:
    return load_page(runtime, principal, public_id).results


def enabled_ids(runtime: Runtime) -> set[int]:
    with runtime.database.reading() as session:
        return set(session.exec(select(Enablement.repository_id)))


def ids(runtime: Runtime) -> list[int]:
    with runtime.database.reading() as session:
        return list(session.exec(select(Repository.id).order_by(col(Repository.path_with_namespace))))


def count_events(runtime: Runtime, action: str) -> int:
    with runtime.database.reading() as session:
        return len(session.exec(select(AuditEvent.number).where(AuditEvent.action == action)).all())


def test_what_cannot_be_enabled_is_named_with_its_reason_and_the_rest_is_enabled(
    runtime: Runtime, owner: Principal
) -> None:
    first, second, *_ = ids(runtime)
    set_enabled(runtime, owner, [second], enabled=True)
    with runtime.database.transaction() as session:
        session.execute(update(Repository).where(col(Repository.id) == first).values(unavailable_reason="archived"))
        recount(session, session.exec(select(Connection.id)).one())
    found = preview(runtime, owner, FIRST, enabled=True)

    assert (found.matching, found.changing, found.already, found.refused) == (COUNT, COUNT - 2, 1, {"archived": 1})
    assert sum(found.groups.values()) == COUNT - 2
    assert {row.repository.id for row in found.rows} == set(ids(runtime)) - {first, second}

    public_id = begin(runtime, owner)
    run_pending(runtime)
    page = load_page(runtime, owner, public_id)

    expected = {ItemResult.CHANGED: COUNT - 2, ItemResult.UNCHANGED: 1, ItemResult.UNAVAILABLE: 1}
    assert page.results == expected
    assert (page.items[0][1].repository.id, page.items[0][0].result) == (first, ItemResult.UNAVAILABLE)
    assert page.sentence == f"{COUNT - 2} enabled, 1 already enabled, 1 can’t be enabled"
    assert page.job.message == page.sentence


def test_numbers_that_have_changed_since_and_a_number_that_was_not_typed_start_nothing(
    runtime: Runtime, cast: Cast, owner: Principal
) -> None:
    set_enabled(runtime, owner, ids(runtime)[:1], enabled=True)
    for matching, changing in ((COUNT, COUNT), (COUNT - 1, COUNT - 1)):
        with pytest.raises(Conflict):
            start(runtime, owner, FIRST, enabled=True, matching=matching, changing=changing)
    with pytest.raises(InvalidInput, match="Nothing"):
        start(runtime, owner, Filters(query="zebra"), enabled=True, matching=0, changing=0)
    many = add_connection(runtime, cast, "second", bulk.TYPED_ABOVE + 1)
    assert many
    numbers = {"matching": bulk.TYPED_ABOVE + 1, "changing": bulk.TYPED_ABOVE + 1}
    for typed in ("", "100", "all"):
        with pytest.raises(InvalidInput) as refused:
            start(runtime, owner, Filters(connection="second"), enabled=True, confirmation=typed, **numbers)
        assert "confirmation" in refused.value.field_errors

    assert run_pending(runtime) == []
    assert len(enabled_ids(runtime)) == 1


def test_two_people_who_start_the_same_get_one_job(runtime: Runtime, cast: Cast, owner: Principal) -> None:
    people = [owner, principal_of(runtime, cast.administrator)]
    numbers = {"matching": COUNT, "changing": COUNT}
    actions = [partial(start, runtime, people[number % 2], FIRST, enabled=True, **numbers) for number in range(4)]
    started = crowd(runtime.database, "job", *actions)

    assert len({job.public_id for job, _ in started}) == 1
    assert [is_new for _, is_new in started].count(True) == 1
    run_pending(runtime)
    assert count_events(runtime, "repository.enabled") == COUNT
    assert count_events(runtime, "repository.bulk_started") == 1


def test_lead_who_loses_a_group_or_the_role_in_the_middle_changes_nothing_more(
    runtime: Runtime, cast: Cast, owner: Principal
) -> None:
    with runtime.database.transaction() as session:
        connection_id = session.exec(select(Connection.id)).one()
        lead = principal_of(runtime, cast.lead)
        session.execute(delete(GroupGrant).where(col(GroupGrant.membership_id) == lead.membership_id))
        for number in (1, 2):
            session.add(
                GroupGrant(membership_id=lead.membership_id, connection_id=connection_id, gitlab_group_id=number)
            )
    public_id = begin(runtime, lead)
    with runtime.database.transaction() as session:
        session.execute(delete(GroupGrant).where(col(GroupGrant.gitlab_group_id) == 2))
    run_pending(runtime)

    page = load_page(runtime, lead, public_id)
    assert page.results == {ItemResult.CHANGED: COUNT // 5, ItemResult.NOT_ALLOWED: COUNT // 5}
    assert {row.repository.namespace_path for _, row in page.items} == {"group-0"}
    other = principal_of(runtime, add_actor(runtime, 1, "Lou Lead", Role.TEAM_LEAD))
    for stranger in (other, principal_of(runtime, cast.outsider)):
        with pytest.raises(NotFound):
            load_page(runtime, stranger, public_id)

    whole = begin(runtime, owner)
    with runtime.database.transaction() as session:
        mine = col(Membership.id) == owner.membership_id
        session.execute(update(Membership).where(mine).values(role=Role.AUDITOR))
    run_pending(runtime)
    assert results(runtime, owner, whole) == {ItemResult.NOT_ALLOWED: COUNT}
    assert len(enabled_ids(runtime)) == COUNT // 5


def test_undo_restores_what_the_job_changed_and_no_one_has_changed_since(runtime: Runtime, owner: Principal) -> None:
    first, second, third, fourth, *rest = ids(runtime)
    set_enabled(runtime, owner, [first], enabled=True)
    set_enabled(runtime, owner, [second], enabled=False)
    before = state(runtime)
    public_id = begin(runtime, owner)
    run_pending(runtime)
    set_enabled(runtime, owner, [third], enabled=False)
    set_enabled(runtime, owner, [fourth], enabled=False)
    set_enabled(runtime, owner, [fourth], enabled=True)

    undo = start_undo(runtime, owner, public_id)
    assert start_undo(runtime, owner, public_id).public_id == undo.public_id
    run_pending(runtime)

    assert results(runtime, owner, undo.public_id) == {ItemResult.CHANGED: COUNT - 3, ItemResult.CHANGED_SINCE: 2}
    after = state(runtime)
    assert {number: after[number] for number in (first, second, *rest)} == {
        number: before[number] for number in (first, second, *rest)
    }
    assert (after[third][0], after[fourth][0] is not None) == (None, True)
    assert not load_page(runtime, owner, public_id).can_undo
    with pytest.raises(Conflict):
        start_undo(runtime, owner, undo.public_id)


def test_undoing_a_disabling_brings_back_who_enabled_it_and_when(runtime: Runtime, owner: Principal) -> None:
    first, second, *_ = ids(runtime)
    set_enabled(runtime, owner, ids(runtime), enabled=True)
    with runtime.database.transaction() as session:
        session.execute(update(Enablement).where(col(Enablement.repository_id) == first).values(rule_id=7))
        session.execute(update(Repository).where(col(Repository.id) == second).values(unavailable_reason="archived"))
    before = state(runtime)
    public_id = begin(runtime, owner, Filters(connection="first", state=StateFilter.ENABLED), enabled=False)
    run_pending(runtime)
    undo = start_undo(runtime, owner, public_id)
    run_pending(runtime)

    assert results(runtime, owner, undo.public_id) == {ItemResult.CHANGED: COUNT}
    assert state(runtime) == before
    with runtime.database.reading() as session:
        kept = session.exec(select(func.sum(Namespace.enabled))).one()
    assert kept == len(enabled_ids(runtime))


def test_stopped_job_leaves_the_rest_as_it_is(runtime: Runtime, owner: Principal) -> None:
    public_id = begin(runtime, owner, Filters())
    with runtime.database.transaction() as session:
        request_stop(session, public_id)
        # Also without a filter it is about the only connection there is, and is erased with that.
        assert session.exec(select(BulkChange.connection_id)).one() == session.exec(select(Connection.id)).one()
    run_pending(runtime)

    assert results(runtime, owner, public_id) == {ItemResult.WAITING: COUNT}
    assert enabled_ids(runtime) == set()


def state(runtime: Runtime) -> dict[int, tuple[object, object]]:
    """Everything about what is wanted of each repository, except for the rows' ids."""
    with runtime.database.reading() as session:
        wanted = {row.repository_id: row.model_dump(exclude={"id"}) for row in session.exec(select(Enablement))}
        held = {row.repository_id: row.model_dump() for row in session.exec(select(HeldBack))}
    return {number: (wanted.get(number), held.get(number)) for number in ids(runtime)}
