from __future__ import annotations

import pytest

from portal.accounts.first_run import ensure_setup_link
from portal.accounts.members import invite
from portal.runtime import Runtime
from tests.conftest import BASE_URL
from tests.security.conftest import World
from tests.security.rights_matrix import ROWS
from tests.security.tables import digests
from tests.support.people import Actor
from tests.support.visitor import Visitor
from tests.support.walkthrough import principal_of

GETS = [row for row in ROWS if row.method == "GET"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("name", ["owner", "lead", "auditor", "visitor"])
def test_no_address_changes_anything_by_being_read(world: World, name: str, method: str) -> None:
    actor: Actor | None = getattr(world.cast, name, None)
    visitor = world.signed_in(actor) if actor else Visitor(world.app)
    names = world.names(actor or world.cast.owner, "own")
    before = digests(world.runtime.database)

    for row in GETS:
        path = row.path.format(**names)
        for headers in ({}, {"HX-Request": "true"}):
            answer = visitor.http.open(
                path, method=method, query_string={"q": "x"}, base_url=BASE_URL, headers=headers, buffered=True
            )
            assert answer.status_code < 500

    assert digests(world.runtime.database) == before


def test_one_time_links_survive_being_read(world: World) -> None:
    link = invite(world.runtime, principal_of(world.runtime, world.cast.owner), "new@example.com", "auditor")
    before = digests(world.runtime.database)

    for _ in range(2):
        assert Visitor(world.app).get(link.removeprefix(BASE_URL)).status_code == 200

    assert digests(world.runtime.database) == before


def test_setup_link_survives_being_read(app, runtime: Runtime) -> None:
    link = ensure_setup_link(runtime)
    assert link is not None
    before = digests(runtime.database)

    for _ in range(2):
        assert Visitor(app).get(link.removeprefix(BASE_URL)).status_code == 200

    assert digests(runtime.database) == before


def test_unknown_callback_changes_nothing(world: World) -> None:
    before = digests(world.runtime.database)

    for query in ("code=x&state=y", "error=access_denied&state=y", "code=x", "state=a&state=b&code=x"):
        assert world.signed_in().get(f"/oauth/callback/gitlab?{query}").status_code == 400

    assert digests(world.runtime.database, frozenset({"session"})) == {
        name: digest for name, digest in before.items() if name != "session"
    }
