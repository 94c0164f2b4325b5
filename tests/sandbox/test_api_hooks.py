"""Project hooks over REST."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from portal.sandbox.testing import RunningSandbox
from tests.sandbox.rest import api

URL = "https://portal.example.com/webhooks/1"


def hooks_of(sandbox: RunningSandbox, path: str = "web/shop/storefront") -> str:
    return f"/projects/{sandbox.world.project(path).id}/hooks"


def create(client: httpx2.Client, address: str, **members: Any) -> dict[str, Any]:
    answer = client.post(address, json={"url": URL} | members)
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


def test_hook_is_created_listed_shown_and_deleted(sandbox: RunningSandbox) -> None:
    address = hooks_of(sandbox)
    with api(sandbox) as client:
        hook = create(client, address, token="s3cret", merge_requests_events=True, name="Portal")
        listed = client.get(address)
        deleted = client.delete(f"{address}/{hook['id']}")
        again = client.delete(f"{address}/{hook['id']}")

    assert (hook["url"], hook["push_events"], hook["merge_requests_events"], hook["name"]) == (
        URL,
        True,
        True,
        "Portal",
    )
    assert hook["alert_status"] == "executable"
    assert "token" not in hook
    assert (listed.json(), listed.headers["x-total"]) == ([hook], "1")
    assert deleted.status_code == 204
    assert (again.status_code, again.json()) == (404, {"message": "404 Not found"})


def test_duplicate_hooks_are_allowed(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        first, second = create(client, hooks_of(sandbox)), create(client, hooks_of(sandbox))

    assert first["id"] != second["id"]


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://127.0.0.1:8000/x",
            "http://localhost/x",
            "http://[::1]/x",
            "http://10.1.2.3/x",
            "http://169.254.1.1/",
        ),
        *(
            "https://nowhere.invalid/",
            "ftp://portal.example.com/",
            "portal.example.com",
            "https://",
            "http://100.64.0.1/",
        ),
    ],
)
def test_address_gitlab_will_not_call_is_refused_without_a_reason(sandbox: RunningSandbox, url: str) -> None:
    with api(sandbox) as client:
        answer = client.post(hooks_of(sandbox), json={"url": url})

    assert (answer.status_code, answer.json()) == (422, {"error": "Invalid url given"})


def test_local_addresses_are_allowed_once_the_administrator_says_so(sandbox: RunningSandbox) -> None:
    sandbox.world.change_settings(allow_local_hooks=True)
    with api(sandbox) as client:
        assert create(client, hooks_of(sandbox), url="http://127.0.0.1:8000/x")["id"]


@pytest.mark.parametrize(
    ("url", "entries", "is_allowed"),
    [
        ("http://127.0.0.1:8000/x", {"127.0.0.1:8000"}, True),
        ("http://127.0.0.1:8001/x", {"127.0.0.1:8000"}, False),
        ("http://10.1.2.3/x", {"10.0.0.0/8"}, True),
        ("https://portal.example.com/x", {"other.example.com"}, False),
        ("https://portal.example.com/x", {"portal.example.com"}, True),
        ("https://nowhere.invalid/x", {"nowhere.invalid"}, True),
    ],
)
def test_allowlist_covers_names_ports_and_ranges(
    sandbox: RunningSandbox, url: str, entries: set[str], is_allowed: bool
) -> None:
    sandbox.world.change_settings(outbound_allowlist=frozenset(entries), block_other_outbound=True)
    with api(sandbox) as client:
        answer = client.post(hooks_of(sandbox), json={"url": url})

    assert answer.status_code == (201 if is_allowed else 422)


def test_name_that_leads_to_a_local_address_is_refused_once_it_does(sandbox: RunningSandbox) -> None:
    sandbox.world.settings.resolver["portal.example.com"] = "10.1.2.3"
    with api(sandbox) as client:
        assert client.post(hooks_of(sandbox), json={"url": URL}).status_code == 422


def test_names_the_resolver_does_not_know_can_be_chosen(sandbox: RunningSandbox) -> None:
    sandbox.world.settings.unresolvable_hosts = frozenset({"portal.example.com"})
    with api(sandbox) as client:
        assert client.post(hooks_of(sandbox), json={"url": URL}).status_code == 422


@pytest.mark.parametrize(
    ("username", "path", "status", "message"),
    [
        ("dev", "web/shop/storefront", 403, "403 Forbidden"),
        ("gatehouse", "partners/handover/integration-guide", 403, "403 Forbidden"),
        ("gatehouse", "security/key-ceremony", 404, "404 Project Not Found"),
    ],
)
def test_hooks_need_a_maintainer(sandbox: RunningSandbox, username: str, path: str, status: int, message: str) -> None:
    with api(sandbox, username) as client:
        for answer in (client.post(hooks_of(sandbox, path), json={"url": URL}), client.get(hooks_of(sandbox, path))):
            assert (answer.status_code, answer.json()) == (status, {"message": message})


def test_changing_the_address_forgets_the_token(sandbox: RunningSandbox) -> None:
    world, address = sandbox.world, hooks_of(sandbox)
    with api(sandbox) as client:
        hook = create(client, address, token="s3cret")
        stored = world.hooks.find(hook["project_id"], hook["id"])
        client.put(f"{address}/{hook['id']}", json={"push_events": False})
        kept = stored.token
        changed = client.put(f"{address}/{hook['id']}", json={"url": URL + "0"})

    assert (kept, stored.token) == ("s3cret", "")
    assert (changed.status_code, changed.json()["url"], changed.json()["push_events"]) == (200, URL + "0", False)


def test_empty_change_is_refused(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        address = f"{hooks_of(sandbox)}/{create(client, hooks_of(sandbox))['id']}"
        answer = client.put(address, json={})

    assert (answer.status_code, answer.json()) == (400, {"error": "No parameters provided"})


def test_form_bodies_work_too(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        answer = client.post(hooks_of(sandbox), data={"url": URL, "tag_push_events": "true"})

    assert (answer.status_code, answer.json()["tag_push_events"]) == (201, True)


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({}, 400, "url is missing"),
        ({"url": URL, "push_events": "perhaps"}, 400, "push_events is invalid"),
        ({"url": URL, "push_events_branch_filter": "no good"}, 422, "Invalid branch filter given"),
        ({"url": URL, "custom_headers": [{"key": "", "value": "x"}]}, 422, "Custom headers validation failed"),
        ({"url": URL, "custom_headers": [{"key": f"X-{n}", "value": ""} for n in range(21)]}, 422, None),
    ],
)
def test_bad_members_are_refused(sandbox: RunningSandbox, body: dict[str, Any], status: int, error: str | None) -> None:
    with api(sandbox) as client:
        answer = client.post(hooks_of(sandbox), json=body)

    assert answer.status_code == status
    assert error in (None, answer.json()["error"])


def test_number_of_hooks_is_limited(sandbox: RunningSandbox) -> None:
    sandbox.world.settings.max_project_hooks = 1
    with api(sandbox) as client:
        create(client, hooks_of(sandbox))

        assert client.post(hooks_of(sandbox), json={"url": URL}).status_code == 422


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ("15.1.0", set()),
        ("16.11.0", {"url_variables", "custom_webhook_template", "custom_headers"}),
        ("17.11.0", {"url_variables", "custom_webhook_template", "custom_headers", "name", "description"}),
        (
            "19.0.0",
            {"url_variables", "custom_webhook_template", "custom_headers", "name", "description", "token_present"}
            | {"signing_token_present"},
        ),
    ],
)
def test_members_this_version_does_not_know_are_dropped_in_silence(version: str, known: set[str]) -> None:
    newer = {"name", "description", "custom_headers", "url_variables", "custom_webhook_template"}
    newer |= {"token_present", "signing_token_present"}
    with RunningSandbox(version=version, with_service_user=True) as sandbox, api(sandbox) as client:
        hook = create(
            client,
            hooks_of(sandbox),
            name="Portal",
            signing_token="whsec_" + "A" * 43 + "=",
            custom_headers=[{"key": "X-Portal", "value": "hidden"}],
        )

    assert newer & set(hook) == known
    assert hook.get("signing_token_present", False) is (version == "19.0.0")
    if "custom_headers" in known:
        assert hook["custom_headers"] == [{"key": "X-Portal"}]
