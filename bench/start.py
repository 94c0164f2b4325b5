"""From starting the process to the first response: Gatehouse under gunicorn compared with a bare Flask application."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from bench.figures import measure, show
from bench.portal_setup import fresh_runtime

BARE = "bench.bare:app"


def run(runs: int) -> None:
    """Measure and print."""
    with fresh_runtime() as runtime:
        environment = {**os.environ, "GATEHOUSE_DATA_DIR": str(runtime.settings.data_dir)}
        figures = measure(
            {
                "Gatehouse": lambda: first_response("portal:create_app()", "/healthz", environment),
                "bare Flask": lambda: first_response(BARE, "/", environment),
            },
            runs,
        )
    show("Start to first response (gunicorn, 1 process)", figures)


def first_response(application: str, path: str, environment: dict[str, str]) -> None:
    """Start a server and wait for its first answer."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    arguments = ["-m", "gunicorn", "--config=python:gatehouse_gunicorn", application, f"--bind=127.0.0.1:{port}"]
    arguments += ["--log-level=error"]
    root = Path(__file__).parent.parent
    environment = {**environment, "GATEHOUSE_BASE_URL": f"http://127.0.0.1:{port}"}
    with subprocess.Popen([sys.executable, *arguments], env=environment, cwd=root) as process:
        while not _answers(port, path):
            time.sleep(0.005)
        process.terminate()


def _answers(port: int, path: str) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
