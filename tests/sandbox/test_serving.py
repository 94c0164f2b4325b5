"""The server itself: where it listens, what it records, how it ends."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from portal.sandbox import create_sandbox
from portal.sandbox.options import SandboxOptions
from portal.sandbox.server import NotLoopback, SandboxServer
from portal.sandbox.testing import RunningSandbox
from tests.sandbox.rest import api
from tests.support.processes import ending, lines_until

SERVE = """
import sys
from portal.sandbox.options import SandboxOptions
from portal.sandbox.serve import serve
serve(SandboxOptions(port=0), ready=lambda url: print(url, flush=True))
"""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gitlab.example.com", ""])
def test_only_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(NotLoopback):
        SandboxServer(SandboxOptions(host=host, port=0)).start()


def test_both_loopbacks_answer_on_one_port(sandbox: RunningSandbox) -> None:
    hosts = ["127.0.0.1", "localhost"]
    with socket.socket(socket.AF_INET6) as probe:
        if probe.connect_ex(("::1", sandbox.port)) == 0:
            hosts.append("[::1]")

    for host in hosts:
        assert httpx2.get(f"http://{host}:{sandbox.port}/api/v4/projects", trust_env=False).status_code == 200


def test_taken_port_is_an_error(sandbox: RunningSandbox) -> None:
    with pytest.raises(OSError, match="in use"):
        SandboxServer(SandboxOptions(port=sandbox.port)).start()


def test_port_is_free_again_after_stopping() -> None:
    with RunningSandbox() as first:
        port = first.port
        kept_open = httpx2.Client(trust_env=False)
        kept_open.get(f"{first.api}/projects")
    with RunningSandbox(port=port) as second:
        assert second.port == port
        assert kept_open.get(f"{second.api}/projects").status_code == 200
    kept_open.close()


def test_many_sandboxes_are_independent() -> None:
    with RunningSandbox() as first, RunningSandbox() as second:
        first.world.add_project("web/only-here", visibility="public")

        counts = [len(httpx2.get(f"{one.api}/projects", trust_env=False).json()) for one in (first, second)]

    assert counts == [4, 3]


def test_request_log_keeps_what_was_sent(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        client.post("/projects/1/hooks?x=1", data={"url": "https://portal.example.com/", "token": "t"})
        client.post("/projects/1/hooks", json={"url": "nowhere"})
    form, body = sandbox.requests.all("/api/v4/projects/*/hooks", "POST")

    assert (form.query, form.form["token"], form.status, form.json) == ({"x": "1"}, "t", 201, None)
    assert form.headers["private-token"].startswith("glpat-")
    assert (body.json, body.form, body.status) == ({"url": "nowhere"}, {}, 422)
    assert form.seconds is not None
    assert sandbox.requests.last().path == "/api/v4/projects/1/hooks"


def test_request_log_counts_what_runs_at_once(sandbox: RunningSandbox) -> None:
    sandbox.faults.hold("/api/v4/projects", times=None)
    with ThreadPoolExecutor(4) as pool:
        waiting = pool.map(lambda _: httpx2.get(f"{sandbox.api}/projects", trust_env=False, timeout=30), range(4))
        sandbox.requests.wait_for("*/projects", 4, timeout_seconds=30)
        sandbox.faults.release()
        answers = list(waiting)

    assert [answer.status_code for answer in answers] == [200] * 4
    assert sandbox.requests.most_at_once == 4
    sandbox.requests.clear()
    assert (sandbox.requests.count(), sandbox.requests.most_at_once) == (0, 0)


def test_waiting_for_a_request_ends_when_it_comes_or_in_time(sandbox: RunningSandbox) -> None:
    with pytest.raises(TimeoutError, match="0 of 1"):
        sandbox.requests.wait_for("/never", timeout_seconds=0.01)
    thread = threading.Thread(target=lambda: httpx2.get(f"{sandbox.api}/version", trust_env=False))
    thread.start()

    assert sandbox.requests.wait_for("*/version")[0].method == "GET"
    thread.join()


def test_chunked_and_oversized_bodies_are_refused(sandbox: RunningSandbox) -> None:
    url = f"{sandbox.api}/projects/1/hooks"
    with httpx2.Client(trust_env=False) as client:
        chunked = client.post(url, content=(part for part in (b"{", b"}")))
    with socket.create_connection(("127.0.0.1", sandbox.port)) as raw:
        raw.sendall(b"POST /api/v4/x HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        oversized = raw.recv(100)

    assert chunked.status_code == 411
    assert oversized.startswith(b"HTTP/1.1 413 ")


def test_json_is_compressed_when_switched_on(sandbox: RunningSandbox) -> None:
    with api(sandbox) as client:
        plain = client.get("/projects")
        sandbox.world.settings.gzip = True
        compressed = client.get("/projects")
        refused = client.get("/projects", headers={"Accept-Encoding": "identity"})

    assert plain.json() == compressed.json() == refused.json()
    assert (compressed.headers["content-encoding"], "content-encoding" in refused.headers) == ("gzip", False)
    assert int(compressed.headers["content-length"]) < int(plain.headers["content-length"]) / 4


def test_control_is_off_unless_asked_for() -> None:
    with RunningSandbox() as sandbox:
        answer = httpx2.post(f"{sandbox.url}/-/sandbox/settings", json={"maintenance": True}, trust_env=False)

    assert answer.status_code == 404


def test_control_sets_faults_and_switches_and_reads_the_log() -> None:
    with RunningSandbox(control=True) as sandbox, httpx2.Client(base_url=sandbox.url, trust_env=False) as client:
        fault = {"path_pattern": "/api/v4/version", "status": 418, "times": 1}
        assert client.post("/-/sandbox/faults", json=fault).status_code == 204
        assert client.get("/api/v4/version").status_code == 418
        assert client.get("/api/v4/version").status_code == 401
        client.post("/-/sandbox/faults", json={"path_pattern": "*", "drop": "before"})
        assert client.post("/-/sandbox/settings", json={"maintenance": True}).status_code == 204
        assert client.post("/-/sandbox/settings", json={"no_such_switch": 1}).status_code == 422
        assert client.post("/-/sandbox/faults", json={"nonsense": 1}).status_code == 422
        seen = client.get("/-/sandbox/requests", params={"path": "*/version"}).json()
        assert client.delete("/-/sandbox/requests").status_code == 204
        assert client.delete("/-/sandbox/faults").status_code == 204

    assert [row["status"] for row in seen] == [418, 401]
    assert sandbox.world.settings.maintenance is True


def test_control_takes_no_form_from_a_foreign_page() -> None:
    with RunningSandbox(control=True) as sandbox:
        answer = httpx2.post(f"{sandbox.url}/-/sandbox/settings", data={"maintenance": "1"}, trust_env=False)

    assert answer.status_code == 415


def test_application_can_be_built_without_a_server() -> None:
    client = create_sandbox(SandboxOptions()).test_client()

    assert client.get("/api/v4/projects").status_code == 200


def test_serve_answers_until_it_is_told_to_end() -> None:
    process = subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, text=True)
    with ending(process):
        url = lines_until(process, "http")[-1].strip()
        answer = httpx2.get(f"{url}/api/v4/projects", trust_env=False)

    assert (answer.status_code, process.returncode) == (200, 0)


@pytest.mark.parametrize("root", ["gitlab", "/gitlab/", "/"])
def test_relative_root_must_be_well_formed(root: str) -> None:
    with pytest.raises(ValueError, match="relative_root"):
        SandboxOptions(relative_root=root)
