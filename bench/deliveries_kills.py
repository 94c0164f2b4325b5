"""Deliveries while a random process is killed every second: each one answered with 2xx has exactly one effect.

The real web server takes them in, with the application loaded before it forks, because two cores could not start one
process a second otherwise; a real worker applies them. A delivery whose connection breaks is sent again under
the same key, as a person resends it in GitLab. The database itself counts effects: a trigger writes a row whenever a
delivery stops waiting, in the transaction that applies it.
"""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from sqlalchemy import text
from sqlmodel import select

from bench.figures import console
from bench.intake import ROOT, Line, Sender, Server, environment_of, make_senders, web_server
from bench.portal_setup import fresh_runtime
from bench.refresh import make_table, on_both_databases
from portal.connections.models import Connection
from portal.db import utc_now
from portal.repositories.models import Repository
from portal.runtime import Runtime
from portal.webhooks.deliveries import has_waiting
from portal.webhooks.models import Delivery

HOOKS = 100
AT_ONCE = 16
EVERY_SECONDS = 1.0
# What is left is applied undisturbed, because a busy machine starts a worker more slowly than this kills it.
KILLS_AFTER_SECONDS = 30
DRAIN_SECONDS = 600
COUNT_ON_SQLITE = """
CREATE TRIGGER bench_count AFTER UPDATE OF verdict ON delivery
BEGIN INSERT INTO bench_effect (delivery_id) VALUES (NEW.id); END
"""
COUNT_ON_POSTGRESQL = """
CREATE FUNCTION bench_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO bench_effect (delivery_id) VALUES (NEW.id); RETURN NULL; END $$;
CREATE TRIGGER bench_count AFTER UPDATE OF verdict ON delivery FOR EACH ROW EXECUTE FUNCTION bench_count()
"""


def run(deliveries: int) -> None:
    """Measure on both databases and print."""
    table = make_table(
        f"{deliveries:,} deliveries, a kill every {EVERY_SECONDS:g} s",
        (
            *(
                "web kills",
                "worker kills",
                "none ready",
                "sent again",
                "answered 2xx",
                "lost",
                "without effect",
                "with two",
                "5xx",
            ),
            "seconds",
        ),
    )
    on_both_databases(lambda name, url: table.add_row(name, *_measure(url, deliveries)))
    console.print(table)


def _measure(url: str, deliveries: int) -> list[str]:
    started = time.monotonic()
    with fresh_runtime("", url) as runtime:
        senders = make_senders(runtime, HOOKS)
        _prepare(runtime)
        with web_server(runtime, "portal:create_app()", "", "--preload") as server, _Killer(runtime, server) as killer:
            client = _Client(server.port, runtime.settings.base_url.removeprefix("http://"), senders, deliveries)
            client.run()
            killer.end_at = time.monotonic() + KILLS_AFTER_SECONDS
            end = time.monotonic() + DRAIN_SECONDS
            while has_waiting(runtime) and time.monotonic() < end:
                time.sleep(0.2)
        with runtime.database.reading() as session:
            stored = {key: number for number, key in session.exec(select(Delivery.id, Delivery.key))}
            effects = Counter(session.execute(text("SELECT delivery_id FROM bench_effect")).scalars())
    lost = [key for key in client.answered if key not in stored]
    counts = [effects[number] for number in stored.values()]
    figures = (
        *(
            killer.kills["web"],
            killer.kills["worker"],
            killer.kills["none"],
            client.again,
            len(client.answered),
            len(lost),
        ),
        *(sum(count == 0 for count in counts), sum(count > 1 for count in counts), client.errors),
    )
    return [*(f"{number:,}" for number in figures), f"{time.monotonic() - started:.0f}"]


def _prepare(runtime: Runtime) -> None:
    with runtime.database.transaction() as session:
        connection_id = session.exec(select(Connection.id)).one()
        assert connection_id is not None
        for number in range(1, HOOKS + 1):
            path = f"group/project-{number}"
            about = {"path_with_namespace": path, "namespace_path": "group", "name": path, "search_text": path}
            session.add(
                Repository(connection_id=connection_id, gitlab_project_id=number, last_activity_at=utc_now(), **about)
            )
        session.execute(text("CREATE TABLE bench_effect (delivery_id BIGINT NOT NULL)"))
        session.execute(text(COUNT_ON_SQLITE if runtime.database.is_sqlite else COUNT_ON_POSTGRESQL))


class _Client:
    """GitLab, with several connections; each delivery is sent until it is answered."""

    def __init__(self, port: int, host: str, senders: list[Sender], count: int) -> None:
        self._port, self._host, self._senders = port, host, senders
        self._numbers = iter(range(count))
        self._lock = threading.Lock()
        self.answered: list[str] = []
        self.again = self.errors = 0

    def run(self) -> None:
        """Send everything."""
        threads = [threading.Thread(target=self._send) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _send(self) -> None:
        line = Line(self._port)
        while True:
            with self._lock:
                number = next(self._numbers, None)
            if number is None:
                line.close()
                return
            key = f"delivery-{number}"
            while (status := line.ask(self._senders[number % HOOKS].request(key, self._host))) != 200:
                with self._lock:
                    self.again += 1
                    self.errors += status >= 500
                if status == 0:
                    time.sleep(0.05)
            with self._lock:
                self.answered.append(key)


class _Killer(threading.Thread):
    """Kills one of the web workers or the background worker every second, and starts the latter again."""

    def __init__(self, runtime: Runtime, server: Server) -> None:
        super().__init__(daemon=True)
        self._server, self._environment = server, environment_of(runtime)
        self._log = runtime.settings.data_dir / "worker.log"
        self._is_over = threading.Event()
        self.kills = Counter[str]()
        self.end_at = math.inf

    def __enter__(self) -> _Killer:
        self._begin()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self.join()
        self._worker.terminate()
        self._worker.wait()

    def _begin(self) -> None:
        with self._log.open("a") as output:
            arguments = [sys.executable, "-m", "portal", "worker"]
            self._worker = subprocess.Popen(arguments, cwd=ROOT, env=self._environment, stdout=output, stderr=output)

    def run(self) -> None:
        """Kill until the end."""
        while not self._is_over.wait(EVERY_SECONDS) and time.monotonic() < self.end_at:
            children = Path(f"/proc/{self._server.pid}/task/{self._server.pid}/children").read_text().split()
            # One that is still being started holds nothing. It has its threads once it has answered something.
            ready = [("web", int(child)) for child in children if _threads_of(child) > 1]
            if self._log.read_text().count("worker_started") > self.kills["worker"]:
                ready.append(("worker", self._worker.pid))
            kind, pid = random.choice(ready or [("none", 0)])
            self.kills[kind] += 1
            if pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if kind == "worker":
                self._worker.wait()
                self._begin()


def _threads_of(pid: str) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except FileNotFoundError:
        return 0
