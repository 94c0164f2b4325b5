"""What an upgrade changes: which changes concern which connection, and that the table agrees with docs/gitlab.md."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from portal.gitlab.identification import Version
from portal.gitlab.version_changes import CHANGES, NEWEST, Effect, Facts, changes_between, later_versions

DOCUMENT = Path(__file__).parents[2] / "docs" / "gitlab.md"
OAUTH = Facts(
    is_token=False,
    scopes=frozenset({"read_api", "read_user", "read_repository"}),
    is_endless=False,
    services=frozenset({"repositories"}),
    hooks_wanted=False,
    edition="EE",
)
TOKEN = replace(OAUTH, is_token=True, token_kind="personal")


def titles(facts: Facts, now: str, then: str, effect: Effect | None = None) -> list[str]:
    versions = [Version(*map(int, text.split("."))) for text in (now, then)]
    forecast = changes_between(versions[0], versions[1], facts)
    return [change.title for change in forecast.changes if effect in (None, change.effect)]


def test_changes_are_in_order_and_their_versions_are_documented() -> None:
    assert [change.since for change in CHANGES] == sorted(change.since for change in CHANGES)
    assert len({change.title for change in CHANGES}) == len(CHANGES)
    assert all(Version(9, 0) < change.since <= NEWEST for change in CHANGES)
    documented = set(re.findall(r"^\| (?:about )?(\d+\.\d+) \|", DOCUMENT.read_text(), re.M))
    assert {str(change.since) for change in CHANGES} <= documented


@pytest.mark.parametrize(
    ("facts", "now", "then", "to_do"),
    [
        (OAUTH, "9.0", "19.6", []),
        (replace(OAUTH, is_endless=True), "14.10", "15.0", ["OAuth access tokens must expire"]),
        (replace(OAUTH, is_endless=True), "15.0", "19.6", []),
        (TOKEN, "15.11", "16.0", []),
        (replace(TOKEN, is_endless=True), "15.11", "16.0", ["Access tokens must expire"]),
        (replace(TOKEN, is_endless=None), "15.4", "19.1", ["Access tokens must expire"]),
        (TOKEN, "19.1", "19.2", ["Legacy tokens can be forbidden"]),
        (replace(TOKEN, token_kind="project"), "9.0", "19.6", []),
        (replace(TOKEN, scopes=frozenset({"granular"})), "19.1", "19.2", []),
        (replace(TOKEN, scopes=None), "19.1", "19.2", ["Legacy tokens can be forbidden"]),
    ],
)
def test_someone_has_to_do_something_only_if_the_connection_is_concerned(
    facts: Facts, now: str, then: str, to_do: list[str]
) -> None:
    assert titles(facts, now, then, Effect.TO_DO) == to_do


@pytest.mark.parametrize(
    ("facts", "now", "then", "listed"),
    [
        (replace(OAUTH, scopes=frozenset({"api"})), "12.9", "12.10", ["The scope read_api"]),
        (replace(OAUTH, scopes=frozenset({"api"}), hooks_wanted=True), "12.9", "12.10", []),
        (replace(TOKEN, scopes=frozenset({"api"})), "12.9", "12.10", ["The scope read_api for access tokens"]),
        (replace(OAUTH, services=frozenset({"issues"})), "16.8", "16.9", []),
        (OAUTH, "16.8", "16.9", ["GitLab says which repositories use SHA-256"]),
        (replace(OAUTH, hooks_wanted=True), "17.3", "17.4", ["Webhook deliveries carry a key"]),
        (replace(TOKEN, scopes=frozenset({"api"})), "16.9", "16.10", ["An access token can rotate itself"]),
        (TOKEN, "16.9", "16.10", []),
        (TOKEN, "17.8", "17.9", ["The scope self_rotate"]),
        (replace(OAUTH, edition="CE"), "17.11", "18.0", ["Deleted projects stay for some time in every edition"]),
    ],
)
def test_each_change_is_listed_for_whom_it_concerns(facts: Facts, now: str, then: str, listed: list[str]) -> None:
    found = titles(facts, now, then)

    assert [title for title in found if title != "GitLab can limit how often projects are listed"] == listed


def test_what_is_not_known_is_said() -> None:
    def unknown(facts: Facts, then: Version = NEWEST) -> str:
        return " ".join(changes_between(Version(18, 0), then, facts).unknown)

    assert "new token service" in unknown(OAUTH)
    assert "new token service" not in unknown(TOKEN)
    assert "Which scopes this token has" in unknown(replace(TOKEN, scopes=None))
    assert "Whether this token ever expires" in unknown(replace(TOKEN, is_endless=None))
    assert "after 19.6" in unknown(OAUTH, Version(20, 1))


def test_versions_to_choose_are_those_after_todays() -> None:
    found = later_versions(Version(18, 10))

    assert {major: [str(version) for version in versions] for major, versions in found.items()} == {
        19: ["19.6", "19.5", "19.4", "19.3", "19.2", "19.1", "19.0"],
        18: ["18.11"],
    }
    assert later_versions(NEWEST) == {}
