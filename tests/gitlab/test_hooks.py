"""The client of GitLab's webhooks, against the sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from portal.errors import Card
from portal.gitlab.answers import ForbiddenByRole, GitLabNotFound
from portal.gitlab.hooks import EVENTS, HookClient, HookRefused, Level, Owner, Refusal, TestFailed, Wanted
from portal.net import HostSession, NetworkPolicy, OutboundClient, parse_address
from portal.sandbox.options import SandboxOptions
from portal.sandbox.testing import RunningSandbox
from portal.vault import Secret

TOKEN, SIGNING = Secret("a-token-of-a-hook-0123456789"), Secret("whsec_" + "A" * 43 + "=")
URL = "https://gatehouse.example.com/webhooks/gitlab/aHookOfTheseTestsOnly"


@pytest.fixture(scope="module")
def gitlab() -> Iterator[RunningSandbox]:
    """One GitLab for the file; each test takes a project that no other uses."""
    with RunningSandbox(SandboxOptions(version="19.0.0", with_service_user=True)) as running:
        yield running


@pytest.fixture(scope="module")
def http(gitlab: RunningSandbox) -> Iterator[HostSession]:
    """A session of a client that may only reach this server."""
    address = parse_address(gitlab.url, allow_http=True)
    with OutboundClient(NetworkPolicy(exempt=address)).session(address) as http:
        yield http


def client_of(http: HostSession, gitlab: RunningSandbox, username: str = "root") -> HookClient:
    """Return a client that acts as a user and never waits."""
    return HookClient(http, Secret(gitlab.token(username)), sleep=lambda seconds: None)


def project_of(gitlab: RunningSandbox, number: int) -> Owner:
    """Return one of the projects."""
    return Owner(Level.PROJECT, sorted(project.id for project in gitlab.world.projects.rows)[number])


def test_hook_is_made_found_changed_and_removed(gitlab: RunningSandbox, http: HostSession) -> None:
    client, owner = client_of(http, gitlab), project_of(gitlab, 0)
    wanted = Wanted(URL, frozenset({"push_events", "issues_events"}), TOKEN, SIGNING, "Gatehouse", "Made by Gatehouse")

    made = client.create_hook(owner, wanted)
    listed = client.hooks(owner)
    moved = client.update_hook(owner, made.id, Wanted(URL + "0", frozenset({"tag_push_events"}), TOKEN))
    gone = [client.delete_hook(owner, made.id), client.delete_hook(owner, made.id)]

    assert listed.is_whole
    assert [(hook.id, hook.url, hook.name, hook.description) for hook in listed.found] == [
        (made.id, URL, "Gatehouse", "Made by Gatehouse")
    ]
    assert {name for name, is_on in made.switched(EVENTS).items() if is_on} == {"push_events", "issues_events"}
    assert (made.token_present, made.signing_token_present, made.enable_ssl_verification) == (True, True, True)
    assert (made.alert_status, made.disabled_until) == ("executable", None)
    # What is not sent with a new URL is gone.
    assert (moved.url, moved.token_present, moved.signing_token_present) == (URL + "0", True, False)
    assert {name for name, is_on in moved.switched(EVENTS).items() if is_on} == {"tag_push_events"}
    assert gone == [True, False]
    with pytest.raises(GitLabNotFound):
        client.update_hook(owner, made.id, wanted)


def test_every_page_of_hooks_is_read(gitlab: RunningSandbox, http: HostSession) -> None:
    owner = project_of(gitlab, 1)
    for number in range(130):
        gitlab.world.hooks.add(owner.id or 0, f"https://example.com/{number}", gitlab.world.now())
    gitlab.world.settings.max_per_page = 40
    try:
        listed = client_of(http, gitlab).hooks(owner)
    finally:
        gitlab.world.settings.max_per_page = 100

    assert (len(listed.found), listed.is_whole) == (130, True)


def test_list_that_lost_rows_is_not_whole(gitlab: RunningSandbox, http: HostSession) -> None:
    owner = project_of(gitlab, 2)
    gitlab.world.hooks.add(owner.id or 0, URL, gitlab.world.now())
    path = f"/api/v4{owner.path}"
    gitlab.faults.add(path, status=200, body=[], headers={"X-Total": "1"})
    try:
        listed = client_of(http, gitlab).hooks(owner)
    finally:
        gitlab.faults.clear()

    assert (listed.found, listed.is_whole) == ([], False)


def test_reasons_why_gitlab_refuses_a_hook_are_told_apart(gitlab: RunningSandbox, http: HostSession) -> None:
    client, owner = client_of(http, gitlab), project_of(gitlab, 3)
    gitlab.world.settings.max_project_hooks = 0
    try:
        with pytest.raises(HookRefused) as of_limit:
            client.create_hook(owner, Wanted(URL, frozenset(), TOKEN))
    finally:
        gitlab.world.settings.max_project_hooks = 100
    with pytest.raises(HookRefused) as of_url:
        client.create_hook(owner, Wanted("http://127.0.0.1:8000/webhooks", frozenset(), TOKEN))

    assert (of_url.value.reason, of_url.value.words) == (Refusal.URL, "Invalid url given")
    assert of_limit.value.reason == Refusal.LIMIT
    assert Card("hook_refused", {"case": "limit", "status": 422}).sentence in of_limit.value.sentence


def test_too_low_a_role_and_a_hidden_project_are_told_apart(gitlab: RunningSandbox, http: HostSession) -> None:
    world, owner = gitlab.world, project_of(gitlab, 4)
    project = world.project(owner.id or 0)
    reporter = world.create_user(name="Reporter", username="reporter")
    world.add_member(reporter, project, 20)
    client = client_of(http, gitlab, "reporter")

    with pytest.raises(ForbiddenByRole):
        client.hooks(owner)
    with pytest.raises(GitLabNotFound):
        client.hooks(Owner(Level.PROJECT, 10**9))


@pytest.mark.parametrize(
    ("words", "case"),
    [
        ("Silent mode enabled", "silent_mode"),
        ("Ensure the project has at least one commit.", "no_data"),
        ("Failed to open TCP connection", ""),
    ],
)
def test_reasons_why_a_test_fails_are_told_apart(words: str, case: str) -> None:
    assert TestFailed(words=words).card().params.get("case", "") == case
