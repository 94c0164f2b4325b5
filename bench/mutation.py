"""How many small faults the tests find: `python -m bench mutation [TARGET ...] [--all]`.

Each mutant (see `mutants.py`) is written into a copy of the tree, and the tests that run its lines are run there,
quickest first, until one fails. What survives those on SQLite is tried again with the slow ones: PostgreSQL and
processes. Of a target with more than SAMPLE mutants a sample is tried, the same one every time.

Why not cosmic-ray or mutmut (looked at in November 2026, 8.7.0 and 3.8.1): half of what is tried here are tables at the
top of a module (forbidden networks, roles, scopes). mutmut changes function bodies only, and no function with a
decorator; cosmic-ray changes no text and no element of a table (94 mutants of `net/policy.py`, 207 here) and starts a
new interpreter for each.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench.mutants import Mutant, mutants_of

ROOT = Path(__file__).parent.parent
COPIED = (
    "portal",
    "templates",
    "static",
    "tests",
    "bench",
    "docs",
    "pyproject.toml",
    "wsgi.py",
    "Makefile",
    "README.md",
)
OURS = {"portal", "tests", "bench", "wsgi"}
OUTPUT = "output.txt"
SAMPLE = 120
SEED = 6
AT_ONCE = 2
# A mutant may loop for ever: then a test that takes so much longer than usual has found it.
PATIENCE = 30.0
SLOWNESS = 8
# Everything that a portal and its tests import from elsewhere, so that a child need not.
PRELOADED = (
    *("alembic", "authlib", "cryptography.x509", "dbos", "flask_wtf", "html5lib", "httpx2", "hypothesis", "msgspec"),
    *("playwright.sync_api", "psycopg", "pydantic_settings", "sqlmodel", "structlog", "time_machine", "typer"),
)
# Plugins are imported as well, too early for pytest to look into their assertions.
PYTEST = ("-q", "-x", "--timeout=0", "-W", "ignore::pytest.PytestAssertRewriteWarning")


@dataclass(frozen=True)
class Target:
    """Files to be mutated, and the tests that are there for them."""

    files: tuple[str, ...]
    tests: tuple[str, ...]


TARGETS = {
    "vault": Target(
        tuple(f"portal/vault/{name}.py" for name in ("envelope", "keyfile", "keyring", "ring_check", "rotation"))
        + tuple(f"portal/vault/{name}.py" for name in ("secret", "vault", "watched")),
        ("tests/vault", "tests/keys"),
    ),
    "policy": Target(
        ("portal/net/policy.py", "portal/net/embedded.py", "portal/net/resolver.py"),
        tuple(
            f"tests/net/test_{name}.py"
            for name in ("policy", "forbidden_addresses", "resolver", "check_host", "proxy", "guards")
        ),
    ),
    "rights": Target(
        tuple(f"portal/accounts/{name}.py" for name in ("rights", "roles", "principal")),
        (
            *("tests/security/test_rights_matrix.py", "tests/accounts", "tests/audit/test_actions.py"),
            *("tests/repositories/test_grants.py", "tests/repositories/test_views.py"),
        ),
    ),
    "requests": Target(
        tuple(f"portal/security/{name}.py" for name in ("incoming", "register", "addresses", "proxies")),
        tuple(f"tests/security/test_{name}.py" for name in ("csrf", "hosts", "next", "limits", "bodies", "headers")),
    ),
    "callback": Target(
        (
            *("portal/authorization/views.py", "portal/authorization/person.py"),
            *(f"portal/authorization/service/{name}.py" for name in ("attempts", "exchange", "frozen")),
        ),
        (
            *(f"tests/authorization/test_{name}.py" for name in ("attempts", "views", "issuer", "rights")),
            *("tests/gitlab/test_malformed_pages.py", "tests/security/test_attempt_cookie.py"),
        ),
    ),
}


@dataclass
class Score:
    """What became of the mutants of one target."""

    killed: int = 0
    survivors: list[Mutant] = field(default_factory=list)

    @property
    def share(self) -> float:
        return self.killed / max(self.killed + len(self.survivors), 1)


class Watch:
    """A pytest plugin: notes which lines of some files each test runs, and how long it takes."""

    def __init__(self, files: set[str]) -> None:
        self._files = files
        self._lines: set[tuple[str, int]] = set()
        self.by_test: dict[str, dict[str, Any]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._lines, started = set(), time.monotonic()
        threading.settrace(self._enter)
        sys.settrace(self._enter)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
            slow = any(item.iter_markers("postgresql")) or any(item.iter_markers("browser"))
            self.by_test[item.nodeid] = {
                "seconds": time.monotonic() - started,
                "is_slow": slow,
                "lines": sorted(self._lines),
            }

    def _enter(self, frame: Any, event: str, argument: object) -> Callable[..., Any] | None:
        return self._line if frame.f_code.co_filename in self._files else None

    def _line(self, frame: Any, event: str, argument: object) -> Callable[..., Any]:
        self._lines.add((frame.f_code.co_filename, frame.f_lineno))
        return self._line


def run(names: list[str], *, sample: int | None = SAMPLE) -> dict[str, Score]:
    """Measure the targets named, or all of them, and print what survived."""
    for name in PRELOADED:
        importlib.import_module(name)
    scores = {}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        trees = [_copy(Path(folder) / str(number)) for number in range(AT_ONCE)]
        for name in names or list(TARGETS):
            scores[name] = _measure(TARGETS[name], trees, sample)
            score = scores[name]
            total = score.killed + len(score.survivors)
            print(f"mutation {name}: {score.killed} of {total} killed ({score.share:.0%})", flush=True)
    return scores


def _copy(tree: Path) -> Path:
    tree.mkdir()
    for name in COPIED:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy2)(ROOT / name, tree / name)
    return tree


def _measure(target: Target, trees: list[Path], sample: int | None) -> Score:
    mutants = [mutant for path in target.files for mutant in mutants_of(path, (ROOT / path).read_text())]
    if sample and len(mutants) > sample:
        mutants = sorted(random.Random(SEED).sample(mutants, sample), key=lambda one: (one.path, one.first))
    ran = _watch(target, trees[0])
    for tree in trees[1:]:  # Their compiled files, but those of the mutants, may be used again.
        _in_child(tree, lambda: pytest.main([*target.tests, "--collect-only", *PYTEST]), PATIENCE * 10)
    score, waiting = Score(), list(reversed(mutants))
    trials: dict[Path, tuple[Mutant, Iterator[bool | None]]] = {}
    while waiting or trials:
        for tree in trees:
            if tree not in trials and waiting:
                mutant = waiting.pop()
                trials[tree] = (mutant, _try(mutant, ran, tree))
            if tree not in trials:
                continue
            mutant, trial = trials[tree]
            is_killed = next(trial)
            if is_killed is None:
                continue
            trial.close()  # type: ignore[attr-defined]
            del trials[tree]
            score.killed += is_killed
            if not is_killed:
                score.survivors.append(mutant)
                print(f"  survives {mutant.path}:{mutant.text}", flush=True)
        time.sleep(0.01)
    return score


def _watch(target: Target, tree: Path) -> dict[str, dict[str, Any]]:
    """Run the tests once without a fault; return what each of them ran."""
    found = tree / "watched.json"

    def watched() -> int:
        watch = Watch({str(tree / path) for path in target.files})
        code = pytest.main([*target.tests, *PYTEST], plugins=[watch])
        found.write_text(json.dumps(watch.by_test))
        return int(code)

    if _in_child(tree, watched, 3600) != 0:
        raise SystemExit(f"The tests fail without any fault:\n{(tree / OUTPUT).read_text()[-3000:]}")
    by_test: dict[str, dict[str, Any]] = json.loads(found.read_text())
    for told in by_test.values():
        told["lines"] = {(str(Path(path).relative_to(tree)), line) for path, line in told["lines"]}
    return by_test


def _try(mutant: Mutant, ran: dict[str, dict[str, Any]], tree: Path) -> Iterator[bool | None]:
    """Yield None while the tests of a mutant run, then whether one of them found it."""
    lines = {(mutant.path, line) for line in range(mutant.first, mutant.last + 1)}
    reaching = [test for test, told in ran.items() if told["lines"] & lines]
    # What runs at the import is run by no test: any of those that use the file may find it.
    reaching = reaching or [test for test, told in ran.items() if any(path == mutant.path for path, _ in told["lines"])]
    reaching.sort(key=lambda test: ran[test]["seconds"])
    path = tree / mutant.path
    sound = path.read_text()
    path.write_text(mutant.source)
    is_killed = False
    try:
        for is_slow in (False, True):
            tests = [test for test in reaching if ran[test]["is_slow"] == is_slow]
            if not tests or is_killed:
                continue
            patience = PATIENCE + SLOWNESS * sum(ran[test]["seconds"] for test in tests)
            command = [*tests, *PYTEST, "-p", "no:cacheprovider"]
            child = Child(tree, lambda command=command: pytest.main(command), patience)  # type: ignore[misc]
            while (code := child.poll()) is None:
                yield None
            is_killed = code != 0
    finally:
        path.write_text(sound)
    yield is_killed


def _in_child(tree: Path, action: Callable[[], int], patience: float) -> int:
    child = Child(tree, action, patience)
    while (code := child.poll()) is None:
        time.sleep(0.05)
    return code


class Child:
    """A fork of this process that does something in a tree, with a portal that it imports anew."""

    def __init__(self, tree: Path, action: Callable[[], int], patience: float) -> None:
        self._ends = time.monotonic() + patience
        self._pid = os.fork()
        if self._pid == 0:
            _be_child(tree, action)

    def poll(self) -> int | None:
        """Return the exit code once it has ended, 124 if it took too long."""
        done, status = os.waitpid(self._pid, os.WNOHANG)
        if not done and time.monotonic() < self._ends:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)  # With the servers that the tests left behind.
        if done:
            return os.waitstatus_to_exitcode(status)
        os.waitpid(self._pid, 0)
        return 124


def _be_child(tree: Path, action: Callable[[], int]) -> None:
    code = 70
    try:
        os.setsid()
        os.chdir(tree)
        output = os.open(tree / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(tree), "NO_SLOT": "1"}
        sys.dont_write_bytecode = True
        sys.path[:] = [str(tree), *(entry for entry in sys.path if entry not in {"", str(ROOT)})]
        for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
            del sys.modules[name]
        importlib.invalidate_caches()
        code = int(action())
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    run([name for name in sys.argv[1:] if name != "--all"], sample=None if "--all" in sys.argv else SAMPLE)
