"""A one-time token is used and forgotten: a search of everything that lasts finds none of thirty."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import delete

from portal.connections.models import OutboundTry
from portal.jobs.testing import run_pending
from portal.operation.backup.make import make_backup
from tests.browser.canaries import Canaries
from tests.provisioning.conftest import SETUP, SLUG, Draft
from tests.support.walkthrough import authorize

pytestmark = pytest.mark.usefixtures("no_known_secrets")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


def test_thirty_tokens_are_found_nowhere_but_in_gitlab(
    draft: Draft, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sandbox, owner = draft.sandbox, draft.owner
    canaries = Canaries(draft.runtime, sandbox)
    owner.app.wsgi_app = canaries.watching(owner.app.wsgi_app)
    tokens: list[str] = []

    def token(username: str = "root") -> str:
        tokens.append(sandbox.token(username))
        return tokens[-1]

    with canaries.listening():
        # Each way in which one is refused, lost or used.
        sandbox.faults.add("/api/v4/user", status=401, body={"message": "401 Unauthorized"}, times=1)
        for fault in ({"status": 500, "html": True}, {"drop": "after"}, {"status": 400, "body": {"message": "no"}}, {}):
            if fault:
                sandbox.faults.add("/api/v4/users", "POST", times=1, **fault)
            forget_tries(draft)
            draft.create(token(), groups="web")
        for form in ({"service_username": "!"}, {"groups": "nowhere"}, {"one_time_token": ""}, {"unknown": "field"}):
            forget_tries(draft)
            owner.post(f"{SETUP}/create", {"one_time_token": token(), "shown": "", **form})
            owner.post(f"{SETUP}/create/groups", {"one_time_token": token(), **form})
        forget_tries(draft)
        draft.create(token("dev"), "create-own")
        for htmx in (False, True):
            owner.post(f"{SETUP}/create", {"one_time_token": token()}, token="wrong", htmx=htmx)
            owner.post(f"{SETUP}/create/progress", {"one_time_token": token()}, htmx=htmx)
            owner.get(f"{SETUP}/create", query_string={"one_time_token": token()}, htmx=htmx)
        assert authorize(owner, sandbox, SLUG).status_code == 303
        for do in ("verify", "renew", "neither"):
            forget_tries(draft)
            owner.post(f"/connections/{SLUG}/application", {"one_time_token": token(), "do": do, "revoke": "1"})
        visitor = type(owner)(owner.app)
        for path in ("setup/create", "setup/create-own", "application"):
            visitor.post(f"/connections/{SLUG}/{path}", {"one_time_token": token(), "do": "verify"})
        for path in ("setup/create", "setup/create-own", "setup/create/groups", "setup/create/plan", "nothing-here"):
            owner.post(f"/connections/{SLUG}/{path}", {"one_time_token": token()})
        run_pending(draft.runtime)
        for path in ("", "/settings", "/activity", "/application", "/health", "/setup/create"):
            owner.get(f"/connections/{SLUG}{path}")
        owner.post("/audit/export", {"format": "json"})
        make_backup(draft.runtime, tmp_path / "backup")

    assert len(tokens) >= 30
    files = [path for path in draft.runtime.settings.data_dir.parent.rglob("*") if path.is_file()]
    assert [path.name for path in files if any(one.encode() in path.read_bytes() for one in tokens)] == []
    out, err = capfd.readouterr()
    places = [*(body.decode("utf-8", "replace") for body in canaries.bodies), canaries.log.getvalue(), out, err]
    assert [one[-4:] for one in tokens for place in places if one in place] == []
    # Columns, logs and argument lists once more, by what the process itself counts as a secret.
    assert canaries.findings() == []


def forget_tries(draft: Draft) -> None:
    """Let the next run begin at once: five a minute are allowed."""
    with draft.runtime.database.transaction() as session:
        session.execute(delete(OutboundTry))
