"""Access tokens that are tested, refused, linked, replaced or rotated are found nowhere but in the vault."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import delete

from portal.connections.models import OutboundTry
from portal.credentials.access_tokens import rotate_now
from portal.jobs.testing import run_pending
from portal.operation.backup.make import make_backup
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.access_tokens.drafts import token_draft
from tests.browser.canaries import Canaries
from tests.support.linked import new_token
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import principal_of

pytestmark = pytest.mark.usefixtures("no_known_secrets")
SELF = "/api/v4/personal_access_tokens/self"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_thirty_access_tokens_are_found_nowhere_but_sealed(
    runtime: Runtime,
    sandbox: RunningSandbox,
    owner: Visitor,
    cast: Cast,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    slug = token_draft(runtime, sandbox, cast.owner)
    other = token_draft(runtime, sandbox, cast.owner, name="Other")
    page, canaries = f"/connections/{slug}/setup/token", Canaries(runtime, sandbox)
    owner.app.wsgi_app = canaries.watching(owner.app.wsgi_app)
    principal, tokens = principal_of(runtime, cast.owner), sandbox.world.personal_access_tokens

    def send(do: str, *scopes: str, username: str = "gatehouse", htmx: bool = True, **more: str) -> str:
        with runtime.database.transaction() as session:
            session.execute(delete(OutboundTry))
        form = {"access_token": new_token(sandbox, username, *scopes), "do": do, **more}
        answer = owner.post(page, form, htmx=htmx)
        return answer.headers.get("Location", "").rpartition("/")[2] or str(answer.status_code)

    with canaries.listening():
        for fault in ({"status": 500, "html": True}, {"drop": "after"}, {"status": 200, "body": "no"}, {"status": 401}):
            sandbox.faults.add(SELF, times=1, **fault)
            send("test")
        for scopes in (("read_user",), ("read_repository",), ("api",)):
            for do in ("test", "neither"):
                send(do, *scopes, htmx=do == "test")
        send("link", username="root")
        elsewhere = {"access_token": new_token(sandbox), "do": "link", "domain": "other.example.com"}
        owner.post(f"/connections/{other}/setup/token", elsewhere)
        owner.get(page, query_string={"access_token": new_token(sandbox)})
        owner.post(page, {"access_token": new_token(sandbox), "unknown": "field"})
        owner.post(page, {"access_token": new_token(sandbox)}, token="wrong")
        Visitor(owner.app).post(page, {"access_token": new_token(sandbox)})
        for htmx in (False, True):
            owner.post(f"/connections/{slug}/nothing-here", {"access_token": new_token(sandbox)}, htmx=htmx)
        for _ in range(8):
            assert send("link", htmx=False) in {"repositories", slug}
            run_pending(runtime)
        for _ in range(3):
            rotate_now(runtime, principal, slug)
            run_pending(runtime)
        sandbox.faults.lose_rotation()
        rotate_now(runtime, principal, slug)
        run_pending(runtime)
        assert send("link", htmx=False) in {"repositories", slug}
        for path in ("", "/settings", "/activity", "/credential", "/health", "/disconnect", "/setup/token"):
            owner.get(f"/connections/{slug}{path}")
        owner.post("/audit/export", {"format": "json"})
        owner.post(f"/connections/{slug}/health/support-bundle")
        make_backup(runtime, tmp_path / "backup")

    texts = [token.token for token in tokens.all()]
    assert len(texts) >= 30
    files = [path for path in runtime.settings.data_dir.parent.rglob("*") if path.is_file()]
    assert [path.name for path in files if any(text.encode() in path.read_bytes() for text in texts)] == []
    out, err = capfd.readouterr()
    places = [*(body.decode("utf-8", "replace") for body in canaries.bodies), canaries.log.getvalue(), out, err]
    assert [text[-4:] for text in texts for place in places if text in place] == []
    assert canaries.findings() == []
