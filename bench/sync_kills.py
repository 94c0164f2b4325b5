"""Random edits on both sides of a site while a random process is killed every second: no commit is lost.

One child edits files here, as pages do, another one is the portal's worker; each is killed at any moment. At GitLab
commits are pushed with real git. Whoever made a commit says so only once it is done, and at the end each of these
commits must be reachable on both sides.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

from sqlmodel import col, select

from bench.figures import console
from bench.intake import ROOT, environment_of
from bench.portal_setup import authorized_connection, fresh_runtime
from bench.refresh import make_table, on_both_databases
from portal.accounts.models import Membership, User
from portal.accounts.principal import load_principal
from portal.db import utc_now
from portal.jobs.testing import run_pending
from portal.repositories.catalogue.run import read_catalogue
from portal.repositories.models import Enablement, Repository
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.sync import connecting
from portal.sync.models import Site, SiteConflict, SiteState
from portal.sync.store import HERE, create_site, get_site, path_of, repository_of

EVERY_SECONDS = 1.0
DRAIN_SECONDS = 300.0
FILES = 12
PROJECT = "platform/infrastructure/ansible-playbooks"
EDITOR = "bench.sync_editor"


def run(edits: int) -> None:
    """Measure on both databases and print."""
    table = make_table(
        f"{edits:,} edits on both sides, a kill every {EVERY_SECONDS:g} s",
        (
            "here",
            "at GitLab",
            "editor kills",
            "worker kills",
            "conflicts",
            "lost",
            "sides differ",
            "lock files",
            "seconds",
        ),
    )
    on_both_databases(lambda name, url: table.add_row(name, *_measure(url, edits)))
    console.print(table)


def _measure(url: str, edits: int) -> list[str]:
    started = time.monotonic()
    with (
        RunningSandbox(with_service_user=True, project_count=40) as sandbox,
        fresh_runtime(sandbox.url, url) as runtime,
    ):
        slug, project_id, membership = prepare(runtime, sandbox)
        store = sandbox.world.git
        store.protected[project_id] = {"main": 30}
        environment = {**environment_of(runtime), "GATEHOUSE_SANDBOX_ORIGIN": sandbox.url}
        with _Killer(runtime, environment, slug, membership) as killer:
            there: list[str] = []
            while len(killer.made) + len(there) < edits:
                name, text = f"file-{random.randrange(FILES)}.md", f"there {random.random()}\n"
                there.append(store.commit(project_id, {name: text.encode()}))
                # The editor here is killed and started again, so it is slower.
                while len(there) > len(killer.made) + 20 and len(killer.made) + len(there) < edits:
                    time.sleep(0.05)
            killer.stop_killing()
            end = time.monotonic() + DRAIN_SECONDS
            while not _is_in_step(runtime, sandbox, slug, project_id) and time.monotonic() < end:
                time.sleep(0.5)
        with runtime.database.reading() as session:
            site = session.exec(select(Site)).one()
            conflicts = len(session.exec(select(SiteConflict.id)).all())
        own = repository_of(runtime, site)
        head, project = own.head(HERE) or "", sandbox.world.project(project_id)
        reachable = set(own.run("rev-list", head).decode().split())
        at_gitlab = set(store.run(project, "rev-list", "--branches").split())
        lost = [commit for commit in (*killer.made, *there) if commit not in reachable or commit not in at_gitlab]
        differ = head != store.refs(project)["refs/heads/main"]
        locks = list(path_of(runtime, site).rglob("*.lock"))
    figures = (len(killer.made), len(there), killer.kills["editor"], killer.kills["worker"], conflicts, len(lost))
    return [*(f"{number:,}" for number in figures), str(differ), str(len(locks)), f"{time.monotonic() - started:.0f}"]


def prepare(runtime: Runtime, sandbox: RunningSandbox) -> tuple[str, int, tuple[int, int]]:
    """Connect a site, and return its slug, GitLab's id of the project, and who edits it."""
    connection_id = authorized_connection(runtime, sandbox.url, sandbox.access_token("gatehouse"))
    read_catalogue(runtime, connection_id, "job", lambda *_: None)
    with runtime.database.transaction() as session:
        user = User(email="priya@example.com", name="Priya Raman")
        session.add(user)
        session.flush()
        repository = session.exec(select(Repository).where(col(Repository.path_with_namespace) == PROJECT)).one()
        session.add(Membership(organization_id=1, user_id=user.id, role="owner"))
        session.add(Enablement(repository_id=repository.id or 0, connection_id=connection_id))
        ids = (user.id or 0, 1)
    with runtime.database.reading() as session:
        principal = load_principal(session, *ids)
    assert principal is not None
    slug = create_site(runtime, principal, "Handbook").slug
    job = connecting.request_preview(runtime, principal, slug, repository.id or 0, "main", "")
    run_pending(runtime)
    preview = connecting.compare(runtime, get_site(runtime, principal, slug).site, job)
    connecting.connect(runtime, principal, slug, job.public_id, preview.digest, keeps=True)
    run_pending(runtime)
    return slug, repository.gitlab_project_id, ids


def _is_in_step(runtime: Runtime, sandbox: RunningSandbox, slug: str, project_id: int) -> bool:
    with runtime.database.transaction() as session:
        site = session.exec(select(Site).where(Site.slug == slug)).one()
        here = repository_of(runtime, site).head(HERE)
        there = sandbox.world.git.refs(sandbox.world.project(project_id))["refs/heads/main"]
        if here == there and site.state == SiteState.IN_STEP:
            return True
        site.check_at = site.due_at = utc_now()
    return False


class _Killer(threading.Thread):
    """Runs the editor and the worker, and kills one of them every second."""

    def __init__(self, runtime: Runtime, environment: dict[str, str], slug: str, ids: tuple[int, int]) -> None:
        super().__init__(daemon=True)
        self._environment, self._arguments = environment, [slug, *map(str, ids)]
        self._log = runtime.settings.data_dir / "worker.log"
        self._is_over = threading.Event()
        self.kills, self.made = Counter[str](), list[str]()
        self._children: dict[str, subprocess.Popen[str]] = {}
        self._readers: list[threading.Thread] = []

    def __enter__(self) -> _Killer:
        for kind in ("editor", "worker"):
            self._begin(kind)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_killing()
        for child in self._children.values():
            child.terminate()
            child.wait()
        for reader in self._readers:
            reader.join()

    def stop_killing(self) -> None:
        """Let the worker finish; the editor stops."""
        self._is_over.set()
        self.join()
        self._children["editor"].terminate()
        self._children["editor"].wait()

    def run(self) -> None:
        """Kill until the end."""
        while not self._is_over.wait(EVERY_SECONDS):
            # One that is still being started does nothing that could be interrupted.
            ready = ["editor"] if self._has_begun else []
            if self._log.read_text().count("worker_started") > self.kills["worker"]:
                ready.append("worker")
            if not ready:
                continue
            kind = random.choice(ready)
            self.kills[kind] += 1
            os.kill(self._children[kind].pid, signal.SIGKILL)
            self._children[kind].wait()
            self._begin(kind)

    def _begin(self, kind: str) -> None:
        module = ["portal", "worker"] if kind == "worker" else [EDITOR, *self._arguments]
        with self._log.open("a") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", *module],
                cwd=ROOT,
                env=self._environment,
                stdout=subprocess.PIPE if kind == "editor" else output,
                stderr=output,
                text=True,
            )
        self._children[kind] = child
        if kind == "editor":
            self._has_begun = False
            reader = threading.Thread(target=self._read, args=(child,), daemon=True)
            reader.start()
            self._readers.append(reader)

    def _read(self, child: subprocess.Popen[str]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            self._has_begun = True
            self.made.append(line.strip())
