"""SIGTERM reaches the application under gunicorn's greenlet worker: no pair is lost, and no refresh begins after it."""

from __future__ import annotations

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from portal.operation.serving import web_arguments
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.settings import Settings
from portal.vault import KeyRing
from tests.crash.test_pause import wait_for
from tests.support.children import CHILD_SECONDS, environment_of
from tests.support.paired import Paired, pair
from tests.support.people import Cast
from tests.support.processes import ending, free_port
from tests.web_server.served import ROOT, Served

TOKEN = "/oauth/token"


@pytest.fixture
def ring(settings: Settings) -> KeyRing:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return KeyRing.create_file(settings.resolved_key_file)


def is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_web_server_finishes_the_refresh_that_is_running_and_begins_no_other(
    paired: Paired, runtime: Runtime, sandbox: RunningSandbox, cast: Cast, tmp_path: Path
) -> None:
    other = pair(runtime, sandbox, cast.owner.organization_id, slug="other")
    paired.make_due()
    other.make_due()
    fault = sandbox.faults.hold(TOKEN)
    port, log = free_port(), tmp_path / "log"
    arguments = web_arguments(runtime.settings, f"127.0.0.1:{port}", 1)
    arguments[arguments.index("portal:create_app()")] = "tests.support.demand_page:application()"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env=environment_of(runtime, sandbox),
            cwd=ROOT,
            stdout=output,
            stderr=output,
            text=True,
        )
    with ending(process), ThreadPoolExecutor(1) as pool:
        wait_for(lambda: is_listening(port))
        path = f"/demand/{paired.connection_id},{other.connection_id}"
        answer = pool.submit(Served(port, process, log).get, path)
        wait_for(lambda: fault.used)

        process.terminate()
        # The worker closes its socket right after its signal handler has run.
        wait_for(lambda: not is_listening(port))
        sandbox.faults.release()

        told = answer.result(CHILD_SECONDS)
        assert b"\r\naccess portal_stopping\r\n" in told, (told, log.read_text())
        assert process.wait(CHILD_SECONDS) == 0
    assert paired.holds_the_last_pair()
    assert (paired.credential.intent_id, other.credential.intent_id) == ("", "")
    assert (paired.token_requests, len(other.issued)) == (1, 1)
