"""A person decides about a file that was changed in both places, as one commit in their name."""

from __future__ import annotations

import pytest

from portal.errors import Conflict, InvalidInput, NotFound
from portal.sync import conflicts
from portal.sync.models import Resolution
from portal.sync.store import HERE
from tests.sync.synced import Synced

BASE = "# On call\n\n## At night\nCall the desk first: 555 0142.\nThen write what you did.\n\n## By day\nAsk.\nWait.\n"


def conflicting(site: Synced) -> conflicts.Comparison:
    """Two passages that differ on both sides, and one that only one side changed."""
    site.write("docs/on-call.md", BASE)
    site.sync()
    site.write("docs/on-call.md", BASE.replace("555 0142", "555 0177").replace("Wait.", "Wait an hour."))
    site.push(
        {
            "docs/on-call.md": BASE.replace("the desk", "the team")
            .replace("Wait.", "Never wait.")
            .replace("# On", "# Being on")
        }
    )
    site.sync()
    (row,) = site.conflicts()
    return conflicts.load_comparison(site.runtime, site.principal, site.slug, row.id or 0)


def test_passages_are_decided_one_by_one(site: Synced) -> None:
    found = conflicting(site)
    here, gitlab = found.hunks[1].sides

    assert found.to_decide == 2
    assert [piece.text for line in here for piece in line if piece.is_marked] == ["desk", "0177"]
    assert (found.hunks[1].here, found.hunks[1].gitlab) == (
        ("Call the desk first: 555 0177.",),
        ("Call the team first: 555 0142.",),
    )
    assert any(piece.is_marked and piece.text == "team" for line in gitlab for piece in line)
    about = (site.runtime, site.principal, site.slug, found.conflict.id or 0, found.digest)
    with pytest.raises(InvalidInput):
        conflicts.resolve(*about, {"hunk-1": "here"})
    conflicts.resolve(*about, {"hunk-1": "own", "text-1": "Call both.\r\n", "hunk-2": "both"})
    site.sync()

    text = BASE.replace("Call the desk first: 555 0142.", "Call both.").replace("# On", "# Being on", 1)
    text = text.replace("## By day\nAsk.\nWait.\n", "## By day\nAsk.\nWait an hour.\nNever wait.\n")
    assert site.here("docs/on-call.md") == site.there("docs/on-call.md") == text
    assert site.sandbox.world.git.run(site.project, "log", "-1", "--format=%an", "main") == "Olga Owner"
    with pytest.raises(NotFound):
        conflicts.load_comparison(site.runtime, site.principal, site.slug, found.conflict.id or 0)


def test_version_that_changed_meanwhile_is_not_overwritten(site: Synced) -> None:
    found = conflicting(site)
    site.push({"docs/on-call.md": "Something else.\n"})
    site.sync()
    head = site.own.head(HERE)

    with pytest.raises(Conflict):
        conflicts.resolve(
            site.runtime, site.principal, site.slug, found.conflict.id or 0, found.digest, {"all": "here"}
        )

    assert site.own.head(HERE) == head
    assert site.conflicts()[0].resolution == Resolution.OPEN


@pytest.mark.parametrize(("side", "text"), [("here", "here\n"), ("gitlab", "there\n")])
def test_whole_file_of_one_side(site: Synced, side: str, text: str) -> None:
    site.write("new.md", "here\n")
    site.push({"new.md": "there\n"})
    site.sync()
    (row,) = site.conflicts()
    found = conflicts.load_comparison(site.runtime, site.principal, site.slug, row.id or 0)

    conflicts.resolve(site.runtime, site.principal, site.slug, row.id or 0, found.digest, {"all": side})
    site.sync()

    assert site.here("new.md") == site.there("new.md") == text
    assert site.conflicts()[0].resolution == side
    assert site.there("new.md", "refs/heads/gatehouse/conflict-1") == "here\n"


def test_file_that_looks_like_a_conflict_is_only_text(site: Synced) -> None:
    marks = "<<<<<<< here\nmine\n=======\ntheirs\n>>>>>>> gitlab\n" + "<" * 61 + " here\n"
    site.write("marks.md", f"{marks}base\n")
    site.sync()
    site.write("marks.md", f"{marks}here\n")
    site.push({"marks.md": f"{marks}there\n"})
    site.sync()
    (row,) = site.conflicts()

    found = conflicts.load_comparison(site.runtime, site.principal, site.slug, row.id or 0)
    conflicts.resolve(site.runtime, site.principal, site.slug, row.id or 0, found.digest, {"hunk-1": "here"})

    assert found.to_decide == 1
    assert site.here("marks.md") == f"{marks}here\n"
