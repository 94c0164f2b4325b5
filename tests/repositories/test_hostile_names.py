"""Names that people and attackers choose: shown, sorted, and found by people who paste GitLab's own."""

from __future__ import annotations

import re

import pytest
from sqlmodel import select

from portal.audit.models import AuditEvent
from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.models import GitLabGroup, Repository
from portal.repositories.selection import MAX_DEPTH
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.connected import connect
from tests.support.people import Cast
from tests.support.visitor import Visitor

PROJECTS = "/api/v4/projects"
DEEP = "/".join(f"level-{number}" for number in range(100))
TINY = "/".join("abc"[number % 3] for number in range(300))
NAMES = {
    "decomposed": "Gro\u0308\u00dfe u\u0308ber alles",
    "right_to_left": "\u05e9\u05dc\u05d5\u05dd \u202etxt.exe\u202c",
    "persian": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "family": "\U0001f469\u200d\U0001f469\u200d\U0001f467 family",
    "flag": "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f team",
    "hidden": "pay\u200bpal \ufeffinvoice",
    "two_lines": "two\nlines\tand more",
    "long": "long " * 120,
    "capitals": "\u0130" * 500,
}


@pytest.fixture
def told(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> int:
    """Read what GitLab reports; return the connection's id."""
    connection_id = connect(runtime, sandbox, cast.owner)
    paths = [f"{DEEP}/project", f"{TINY}/project", "flat/project", *(f"names/{key}" for key in NAMES)]
    names = ["Deep", "Tiny", "Flat", *NAMES.values()]
    projects = [
        {
            "id": number,
            "name": name,
            "path_with_namespace": path,
            "permissions": {"project_access": {"access_level": 40}},
        }
        for number, (path, name) in enumerate(zip(paths, names, strict=True), start=1)
    ]
    groups = [
        {"id": 1000 + number, "name": name, "full_path": path}
        for number, (path, name) in enumerate([(DEEP, "Deep"), (TINY, "Tiny"), *NAMES.items()])
    ]
    sandbox.faults.add(PROJECTS, query_pattern="*sort=desc*", body=projects[-1:])
    sandbox.faults.add(PROJECTS, query_pattern="*id_after=0*", body=projects)
    sandbox.faults.add(PROJECTS, body=[])
    sandbox.faults.add("/api/v4/groups", body=groups)
    assert read_catalogue(runtime, connection_id, "job", lambda *_: None).projects_seen == len(projects)
    return connection_id


def found(runtime: Runtime, text: str) -> set[str]:
    numbers = [int(number) for number in re.findall(r'<tr id="repository-(\d+)"', text)]
    with runtime.database.reading() as session:
        return {session.get_one(Repository, number).path_with_namespace for number in numbers}


def test_path_of_300_levels_is_shown_and_sorted_and_its_tree_is_no_deeper_than_gitlabs(
    runtime: Runtime, owner: Visitor, administrator: Visitor, cast: Cast, told: int
) -> None:
    answer = owner.get("/repositories/")

    assert answer.status_code == 200
    assert {f"{DEEP}/project", f"{TINY}/project"} <= found(runtime, answer.text)
    depth = deepest = 0
    chosen = owner.get("/repositories/", query_string={"group": DEEP})
    tree = re.search(r'<nav class="gh-tree".*?</nav>', chosen.text, re.DOTALL)[0]
    for tag in re.findall(r"</?ul\b", tree):
        depth += -1 if tag == "</ul" else 1
        deepest = max(deepest, depth)
    assert deepest == MAX_DEPTH + 1  # The rest of a longer path is one group below.
    for path in (DEEP, TINY, "/".join(DEEP.split("/")[:MAX_DEPTH])):
        within = owner.get("/repositories/", query_string={"group": path})
        assert found(runtime, within.text) == {f"{TINY if path == TINY else DEEP}/project"}
    assert administrator.get(f"/members/{cast.lead.membership_id}/groups").status_code == 200
    for page in ("/connections/gitlab", "/connections/gitlab/health", "/connections/gitlab/disconnect"):
        assert owner.get(page).status_code == 200


def test_name_that_is_pasted_from_gitlab_finds_it(
    runtime: Runtime, owner: Visitor, administrator: Visitor, cast: Cast, told: int
) -> None:
    for key, name in NAMES.items():
        for question in (name, f"  {name.lower()}\n"):
            answer = owner.get("/repositories/", query_string={"q": question})
            assert found(runtime, answer.text) == {f"names/{key}"}

        with runtime.database.reading() as session:
            group = session.exec(select(GitLabGroup).where(GitLabGroup.full_path == key)).one()
        for question in (key, name):
            groups = administrator.get(f"/members/{cast.lead.membership_id}/groups", query_string={"q": question})
            assert f'name="group_id" value="{group.id}"' in groups.text, question


def test_path_that_is_pasted_from_gitlab_finds_its_audit_row(runtime: Runtime, owner: Visitor, told: int) -> None:
    with runtime.database.transaction() as session:
        row = session.exec(select(Repository).where(Repository.path_with_namespace == "names/family")).one()
        row.path_with_namespace = f"names/{NAMES['family']}"
    owner.post("/repositories/enable", {"repository_id": str(row.id)})

    answer = owner.get("/audit", query_string={"object": f"names/{NAMES['family']}"})

    with runtime.database.reading() as session:
        event = session.exec(select(AuditEvent).where(AuditEvent.action == "repository.enabled")).one()
    assert f"/audit/{event.number}" in answer.text


def test_many_words_are_no_heavier_than_some(owner: Visitor, administrator: Visitor, cast: Cast, told: int) -> None:
    for question in ("a " * 500, "\U0001f468\u200d" * 100, "%" * 1000, "x" * 3000):
        assert owner.get("/repositories/", query_string={"q": question}).status_code == 200
        page = f"/members/{cast.lead.membership_id}/groups"
        assert administrator.get(page, query_string={"q": question}).status_code == 200
