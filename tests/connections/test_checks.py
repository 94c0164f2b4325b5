"""A check's wording is made when it is shown, from a code and parameters."""

from __future__ import annotations

import ast
from pathlib import Path

from portal.connections.checks import NOTES, Check, Checklist, CheckState, note_text
from portal.db import utc_now
from portal.gitlab.answers import GitLabUnavailable

AT = "2026-11-27T12:38:00+00:00"
WHY = GitLabUnavailable(status=502).card().to_json()
EVERYTHING = {
    **dict.fromkeys(("until", "since", "by", "at"), AT),
    **dict.fromkeys(("told", "entered", "api_url", "address", "base"), "https://gitlab.example.com"),
    **dict.fromkeys(("username", "before", "scopes", "edition"), "x"),
    "version": "12.9.0",
    "days": 3,
    "seconds": 90,
    "why": WHY,
}


def codes_used() -> set[str]:
    """Return the codes that the checks use, read from their source."""
    found = set()
    for path in ("connections/checklist.py", "health/probe.py", "webhooks/status.py"):
        for node in ast.walk(ast.parse((Path("portal") / path).read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"passed", "warned", "skipped"}:
                for value in node.args[1:2]:
                    found |= {str(part.value) for part in ast.walk(value) if isinstance(part, ast.Constant)}
    return found


def test_every_note_that_a_check_gives_has_a_sentence_and_no_sentence_is_left_over() -> None:
    assert codes_used() == set(NOTES)
    assert [code for code in NOTES if not note_text(code, EVERYTHING)] == []
    assert note_text("version", EVERYTHING).startswith("12.9.0 x. Before 12.10 there is no scope read_api")
    assert (
        note_text("renewed", EVERYTHING) == "Renewed 27 Nov 2026, 12:38 UTC; renewed again by 27 Nov 2026, 12:38 UTC."
    )


def test_note_of_another_version_says_nothing() -> None:
    assert note_text("of_a_version_to_come", {}) == ""
    assert note_text("valid_until", {}) == ""
    assert note_text("issuer_inner", {"told": "x"}) == ""


def test_checklist_is_stored_as_codes() -> None:
    check = Check("clock", CheckState.WARN, "clock_skew", {"seconds": 90})
    stored = Checklist([check], [], utc_now()).to_json()

    assert "seconds behind" not in str(stored)
    (read,) = Checklist.from_json(stored).checks
    assert read.detail == "GitLab's clock is 90 seconds behind this portal's. Tokens may end too early."
