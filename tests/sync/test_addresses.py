"""Addresses of sites that no page leads to: a clear answer, and never a failure of the portal."""

from __future__ import annotations

import pytest

from portal.sync import git
from tests.support.visitor import Visitor
from tests.sync.synced import Synced

PATHS = (
    *("..", "../x", "/etc/passwd", "/", "//", "a//b", "./index.md", "index.md/", "index.md/x", "docs/../index.md"),
    *(":(glob)**", ":/", "*", "--", "-x", "\\", "docs/", ".", "~", "a\tb", "x" * 5000, "a/" * 2000, "é", "\u202e"),
)


def test_paths_that_no_page_leads_to_are_answered_without_a_failure(site: Synced, owner: Visitor) -> None:
    found = {}
    for path in PATHS:
        for page in ("", "/file", "/raw", "/history", "/edit"):
            found[page, path] = owner.get(f"/sites/{site.slug}{page}", query_string={"path": path}).status_code
        sent = {"path": path, "expected": "x"}
        found["delete", path] = owner.post(f"/sites/{site.slug}/delete-file", sent).status_code
    for before in ("x", "0" * 40, "f" * 40):
        found["before", before] = owner.get(f"/sites/{site.slug}/history?before={before}").status_code

    assert {request: status for request, status in found.items() if status >= 500} == {}
    assert found["/file", ".."] == 404


def test_missing_git_is_told_on_the_page(site: Synced, owner: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "version", lambda: (2, 30))

    answer = owner.post("/sites/new", {"name": "Another"})

    assert answer.status_code == 503
    assert "older than 2.38" in answer.text
