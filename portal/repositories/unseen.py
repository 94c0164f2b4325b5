"""Repositories that a read no longer saw, so many that someone has to say whether they are gone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, func
from sqlmodel import Session, col, select

from portal import audit
from portal.actor import Principal
from portal.connections.models import Connection, end_attention
from portal.connections.store import get_connection_for_admin
from portal.db import utc_now
from portal.errors import Conflict
from portal.repositories.catalogue.rows import mark_unseen_as_gone
from portal.repositories.catalogue.run import latest_run
from portal.repositories.models import CatalogueRun, Doubt, Enablement, Repository
from portal.runtime import Runtime

NAMED = 20
PLACES = 50
CHANGED = "Another read has ended since this page was loaded. Nothing was changed; check the numbers again."


class Answer(StrEnum):
    """What a person says about them; the value is the form's."""

    GONE = "gone"
    KEEP = "keep"


@dataclass(frozen=True)
class Unseen:
    """The question, as the page shows it.

    Attributes:
        count: how many repositories it is about.
        known: how many there were before.
        enabled: how many of them are enabled.
        named: paths of some of them, enabled ones first.
        places: top-level namespaces with how many of them are in each, the largest first.
    """

    run: CatalogueRun
    count: int
    known: int
    enabled: int
    named: list[tuple[str, bool]]
    places: list[tuple[str, int]]


def load_unseen(runtime: Runtime, principal: Principal, slug: str) -> tuple[Connection, Unseen | None]:
    """Return the question about a connection's last complete read; None if there is none.

    Raises:
        NotFound: the principal may not manage it.
    """
    with runtime.database.reading() as session:
        connection = get_connection_for_admin(session, principal, slug)
        run = latest_run(session, connection.id or 0)
        if run is None or not run.projects_unseen or run.doubt in {Doubt.NONE, Doubt.APPLIED}:
            return connection, None
        own = _own(connection)
        path = col(Repository.path_with_namespace)
        is_enabled = col(Enablement.id).is_not(None)
        with_enablement = select(path, is_enabled).outerjoin(
            Enablement, col(Enablement.repository_id) == col(Repository.id)
        )
        rows = session.exec(with_enablement.where(*own).order_by(path)).all()
    places: dict[str, int] = {}
    for name, _ in rows:
        top = name.partition("/")[0]
        places[top] = places.get(top, 0) + 1
    named = sorted(rows, key=lambda row: not row[1])[:NAMED]
    largest = sorted(places.items(), key=lambda item: (-item[1], item[0]))[:PLACES]
    enabled = sum(1 for _, is_one in rows if is_one)
    return connection, Unseen(run, len(rows), run.projects_known, enabled, list(named), largest)


def decide(runtime: Runtime, principal: Principal, slug: str, answer: Answer, *, promised: int) -> int:
    """Mark them as gone, or keep them as they are until a read misses others too; return how many they are.

    Args:
        runtime: of this process.
        principal: who decides.
        slug: of the connection.
        answer: what was decided.
        promised: how many the person saw.

    Raises:
        NotFound: the principal may not manage it.
        Conflict: the question has changed since; nothing is done.
    """
    with runtime.database.transaction() as session:
        connection = get_connection_for_admin(session, principal, slug, is_locked=True)
        assert connection.id is not None
        run = latest_run(session, connection.id)
        count = _count(session, connection)
        if run is None or run.doubt not in {Doubt.ASKED, Doubt.KEPT} or count != promised:
            raise Conflict(CHANGED)
        run.doubt = Doubt.APPLIED if answer == Answer.GONE else Doubt.KEPT
        end_attention(connection, {"repositories_unseen"})
        if answer == Answer.GONE:
            mark_unseen_as_gone(session, connection.id, utc_now())
        action = "catalogue.unseen_gone" if answer == Answer.GONE else "catalogue.unseen_kept"
        audit.record(session, principal.actor, action, connection.target, count=count)
    return count


def _own(connection: Connection) -> tuple[ColumnElement[bool], ...]:
    return (
        col(Repository.connection_id) == connection.id,
        col(Repository.unseen_since).is_not(None),
        col(Repository.missing_since).is_(None),
    )


def _count(session: Session, connection: Connection) -> int:
    return session.exec(select(func.count()).select_from(Repository).where(*_own(connection))).one()
