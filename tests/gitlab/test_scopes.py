from __future__ import annotations

import pytest

from portal.gitlab.identification import Version, missing_scopes, scopes_for, unused_scopes

OLD = ("api", "read_user", "read_repository", "sudo", "openid")
WITHOUT_HOOKS, WITH_HOOKS = ["read_api", "read_user", "read_repository"], ["api", "read_user", "read_repository"]


@pytest.mark.parametrize(
    ("supported", "version", "hooks_wanted", "expected"),
    [
        ((), None, False, WITHOUT_HOOKS),
        ((), Version(12, 10), False, WITHOUT_HOOKS),
        ((), Version(12, 9), False, WITH_HOOKS),
        # What GitLab says about itself counts for more than what its version implies.
        ((*OLD, "read_api"), Version(12, 9), False, WITHOUT_HOOKS),
        (OLD, Version(13, 0), False, WITH_HOOKS),
        (OLD, None, True, WITH_HOOKS),
        (("api", "openid"), None, False, ["api"]),
        # An issuer that names only what OpenID Connect needs says nothing about the API.
        (("openid", "profile"), None, False, WITHOUT_HOOKS),
    ],
)
def test_only_scopes_that_this_gitlab_has_are_asked_for(
    supported: tuple[str, ...], version: Version | None, hooks_wanted: bool, expected: list[str]
) -> None:
    found = scopes_for(["repositories"], hooks_wanted=hooks_wanted, supported=supported, version=version)

    assert [item.scope for item in found] == expected


@pytest.mark.parametrize(
    ("granted", "wanted", "missing", "unused"),
    [
        (["api"], WITHOUT_HOOKS, [], ["api"]),
        (["read_api", "read_repository"], WITHOUT_HOOKS, [], []),
        (["read_api", "read_user"], WITH_HOOKS, ["api", "read_repository"], ["read_api"]),
        (["read_repository"], WITHOUT_HOOKS, ["read_api", "read_user"], []),
        (["granular"], WITH_HOOKS, [], []),
        ([], ["read_user"], ["read_user"], []),
    ],
)
def test_wide_scopes_cover_narrow_ones(
    granted: list[str], wanted: list[str], missing: list[str], unused: list[str]
) -> None:
    assert (missing_scopes(granted, wanted), unused_scopes(granted, wanted)) == (missing, unused)
