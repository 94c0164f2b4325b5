"""From a push at GitLab to the files here, with webhooks: the real intake, the real worker, real git."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

from sqlmodel import select

from bench.figures import console
from bench.intake import ROOT, Line, environment_of, web_server
from bench.portal_setup import fresh_runtime
from bench.refresh import make_table, on_both_databases
from bench.sync_kills import prepare
from portal.connections.models import Connection
from portal.db import utc_now
from portal.gitlab.hooks import Level
from portal.net import origin_of
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.sync.models import Site
from portal.sync.store import HERE, repository_of
from portal.webhooks.desired import fingerprint_of
from portal.webhooks.keys import make_keys, open_key
from portal.webhooks.models import Hook, HookPlan, HookStatus

PATIENCE_SECONDS = 30.0
PAUSE_SECONDS = 0.4


def run(pushes: int) -> None:
    """Measure on both databases and print."""
    table = make_table(f"{pushes:,} pushes to GitLab, until they are here", ("p50 ms", "p95 ms", "longest ms", "late"))
    on_both_databases(lambda name, url: table.add_row(name, *_measure(url, pushes)))
    console.print(table)


def _measure(url: str, pushes: int) -> list[str]:
    with (
        RunningSandbox(with_service_user=True, project_count=40) as sandbox,
        fresh_runtime(sandbox.url, url) as runtime,
    ):
        prepare(runtime, sandbox)
        with runtime.database.reading() as session:
            site = session.exec(select(Site)).one()
        environment = {**environment_of(runtime), "GATEHOUSE_SANDBOX_ORIGIN": sandbox.url}
        log = runtime.settings.data_dir / "worker.log"
        hook = _add_hook(runtime, site)
        with web_server(runtime, "portal:create_app()", "", "--preload") as server, log.open("w") as output:
            arguments = [sys.executable, "-m", "portal", "worker"]
            worker = subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=output, stderr=output)
            try:
                while "worker_started" not in log.read_text():
                    time.sleep(0.1)
                line = Line(server.port)
                seconds = [_push(runtime, sandbox, site, hook, line, number) for number in range(pushes)]
            finally:
                worker.terminate()
                worker.wait()
    told = sorted(second * 1000 for second in seconds)
    late = sum(value >= PATIENCE_SECONDS * 1000 for value in told)
    p95 = told[int(len(told) * 0.95)]
    return [f"{statistics.median(told):.0f}", f"{p95:.0f}", f"{told[-1]:.0f}", str(late)]


def _push(
    runtime: Runtime, sandbox: RunningSandbox, site: Site, hook: tuple[str, str], line: Line, number: int
) -> float:
    """Push, deliver the webhook as GitLab does, and return the seconds until the files are here."""
    time.sleep(PAUSE_SECONDS)
    own, project_id = repository_of(runtime, site), site.gitlab_project_id or 0
    began = time.monotonic()
    commit = sandbox.world.git.commit(project_id, {"index.md": f"push {number}\n".encode()})
    body = json.dumps(
        {"object_kind": "push", "project_id": project_id, "ref": "refs/heads/main", "after": commit, "commits": []}
    ).encode()
    public_id, token = hook
    head = (
        f"POST /webhooks/gitlab/{public_id} HTTP/1.1\r\nHost: {runtime.settings.base_url.removeprefix('http://')}\r\n"
        "User-Agent: GitLab/18.5.0\r\nContent-Type: application/json\r\nX-Gitlab-Event: Push Hook\r\n"
        f"X-Gitlab-Instance: {sandbox.url}\r\nX-Gitlab-Token: {token}\r\nIdempotency-Key: push-{number}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    status = line.ask(head.encode() + body)
    assert status == 200, status
    while own.head(HERE) != commit and time.monotonic() - began < PATIENCE_SECONDS:
        time.sleep(0.01)
    return time.monotonic() - began


def _add_hook(runtime: Runtime, site: Site) -> tuple[str, str]:
    """Store a proved webhook, and return the part of its address and its secret."""
    with runtime.database.transaction() as session:
        connection_id, repository_id = site.connection_id or 0, site.repository_id
        hook = Hook(connection_id=connection_id, subject_id=site.gitlab_project_id or 0, repository_id=repository_id)
        hook.level, hook.status, hook.proved_at = Level.PROJECT, HookStatus.ACTIVE, utc_now()
        session.add(hook)
        session.flush()
        make_keys(runtime, hook, origin_of(session.get_one(Connection, connection_id).api_url), with_signature=False)
        connection = session.get_one(Connection, connection_id)
        connection.hooks_wanted = True
        session.flush()
        # Compared just now: nothing listens at this portal's address.
        fingerprint = fingerprint_of(runtime, session, connection)
        session.add(HookPlan(connection_id=connection_id, fingerprint=fingerprint, compared_at=utc_now()))
        key = open_key(runtime, hook, "token_sealed")
        assert key is not None
        return hook.public_id, key.reveal()
