"""How the API tests call the sandbox."""

from __future__ import annotations

import httpx2

from portal.sandbox.testing import RunningSandbox


def api(sandbox: RunningSandbox, username: str = "gatehouse", *scopes: str) -> httpx2.Client:
    """Return a client of the REST API with a new personal access token (scope `api` unless named)."""
    headers = {"PRIVATE-TOKEN": sandbox.token(username, *scopes)}
    return httpx2.Client(base_url=sandbox.api, headers=headers, trust_env=False, timeout=60)


def with_token(sandbox: RunningSandbox, token: str) -> httpx2.Client:
    """Return a client of the REST API that sends this token as Bearer."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx2.Client(base_url=sandbox.api, headers=headers, trust_env=False, timeout=60)


def anonymous(sandbox: RunningSandbox) -> httpx2.Client:
    """Return a client of the REST API without any credential."""
    return with_token(sandbox, "")


def ids(answer: httpx2.Response) -> list[int]:
    """Return the ids of a list."""
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()]
