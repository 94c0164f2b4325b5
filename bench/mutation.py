"""How many small faults the tests find: `python -m bench mutation [TARGET ...] [--all | --sample=N]`.

A process runs the tests of a target once, and records which test runs which lines. Then it forks for each mutant (see
`mutants.py`): the child puts the fault into the live module and runs the tests that reach it, quickest first, until
one fails. What survives that, and what cannot be injected this way, is written into a copy of the tree and tried in a
separate process, with PostgreSQL and the tests that start programs. Of a target with more than SAMPLE mutants a sample
is tried, the same one every time. `docs/mutation.md` has the results and says for each survivor why it is harmless.

Why not cosmic-ray or mutmut (looked at in November 2026, 8.7.0 and 3.8.1): a third of what is tried here are tables at
the top of a module (forbidden networks, roles, scopes). mutmut changes function bodies only, and no function with a
decorator; cosmic-ray changes no text and no element of a table (94 mutants of `net/policy.py`, 207 here), and starts an
interpreter for each, which takes four seconds for this portal.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from bench.mutants import Mutant, mutants_of

ROOT = Path(__file__).parent.parent
COPIED = ("portal", "templates", "static", "tests", "bench", "docs")
COPIED += ("pyproject.toml", "requirements.txt", "requirements-dev.txt", "wsgi.py", "Makefile", "README.md")
SAMPLE = 100
SEED = 6
AT_ONCE = 2
# A mutant may loop forever: a test that takes this much longer than usual has found it.
PATIENCE = 20.0
SLOWNESS = 8
KILLED, SURVIVED, NOT_TRIED = 1, 0, 7


@dataclass(frozen=True)
class Target:
    """Files to be mutated, and the tests that are there for them."""

    files: tuple[str, ...]
    tests: tuple[str, ...]


def _files(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{folder}{name}.py" for name in names)


TARGETS = {
    "vault": Target(
        _files(
            "portal/vault/", "envelope", "keyfile", "keyring", "ring_check", "rotation", "secret", "vault", "watched"
        ),
        ("tests/vault", *_files("tests/keys/test_", "rotation", "drop", "signing", "crashes")),
    ),
    "policy": Target(
        _files("portal/net/", "policy", "embedded", "resolver"),
        _files("tests/net/test_", "policy", "forbidden_addresses", "resolver", "check_host", "proxy"),
    ),
    "rights": Target(
        ("portal/actor.py", "portal/web/access.py", "portal/accounts/principal.py"),
        (
            *("tests/security/test_rights_matrix.py", "tests/accounts", "tests/audit/test_actions.py"),
            *("tests/authorization/test_rights.py", "tests/repositories/test_grants.py"),
            *("tests/repositories/test_views.py", "tests/audit/test_refusals.py"),
        ),
    ),
    "requests": Target(
        _files("portal/web/", "request_checks", "register", "addresses", "proxies"),
        _files("tests/security/test_", "csrf", "hosts", "next", "limits", "bodies", "headers"),
    ),
    "refresh": Target(
        _files("portal/credentials/", "machine", "methods", "refresh", "store"),
        (
            *_files("tests/authorization/test_", "machine", "machine_sequences"),
            *_files("tests/authorization/test_", "refresh", "refresh_corners", "refresh_iam", "refused"),
        ),
    ),
    "callback": Target(
        (*_files("portal/authorization/", "views", "attempts", "exchange"),),
        (
            *_files("tests/authorization/test_", "attempts", "views", "issuer", "rights"),
            *("tests/gitlab/test_malformed_pages.py", "tests/security/test_attempt_cookie.py"),
        ),
    ),
}


@dataclass
class Score:
    """The outcome for the mutants of one target."""

    killed: int = 0
    survivors: list[Mutant] = field(default_factory=list)


class Session:
    """A pytest plugin that, in place of running the tests once, runs them once and then for each mutant in a fork."""

    def __init__(self, target: Target, sample: int | None) -> None:
        mutants = [mutant for path in target.files for mutant in mutants_of(path, (ROOT / path).read_text())]
        if sample and len(mutants) > sample:
            mutants = random.Random(SEED).sample(mutants, sample)
        self._mutants = sorted(mutants, key=lambda one: (one.path, one.first))
        self._files = {str(ROOT / path): path for path in target.files}
        self._lines: set[tuple[str, int]] = set()
        self.ran: dict[pytest.Item, tuple[float, set[tuple[str, int]]]] = {}
        self.total = len(self._mutants)
        self.killed = 0
        self.waiting: list[tuple[Mutant, list[str]]] = []
        self.failing: list[str] = []
        self._progress = os.dup(2)  # pytest captures what is written while it runs.

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests; called by pytest once they are collected."""
        items = session.items
        for number, item in enumerate(items):
            self._lines, started = set(), time.monotonic()
            with self._watching():
                # What tests share stays for the forks: there is always a next test.
                reports = runtestprotocol(item, log=False, nextitem=items[(number + 1) % len(items)])
            if any(report.failed for report in reports):
                self.failing.append(item.nodeid)
            else:
                self.ran[item] = (time.monotonic() - started, self._lines)
        running: dict[int, tuple[Mutant, list[pytest.Item], float]] = {}
        queue = list(reversed(self._mutants))
        while queue or running:
            while queue and len(running) < AT_ONCE:
                self._begin(queue.pop(), running)
            self._reap(running)
            time.sleep(0.005)
        return True

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        threading.settrace(self._enter)
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]

    def _enter(self, frame: Any, event: str, argument: object) -> Callable[..., Any] | None:
        return self._line if frame.f_code.co_filename in self._files else None

    def _line(self, frame: Any, event: str, argument: object) -> Callable[..., Any]:
        self._lines.add((self._files[frame.f_code.co_filename], frame.f_lineno))
        return self._line

    def _begin(self, mutant: Mutant, running: dict[int, tuple[Mutant, list[pytest.Item], float]]) -> None:
        lines = {(mutant.path, line) for line in range(mutant.first, mutant.last + 1)}
        reaching = [item for item, (_, seen) in self.ran.items() if seen & lines]
        # No test runs what runs at import: any of those that use the file may find it.
        reaching = reaching or [
            item for item, (_, seen) in self.ran.items() if mutant.path in {path for path, _ in seen}
        ]
        reaching.sort(key=lambda item: self.ran[item][0])
        # Two forks would work in one and the same database of the server.
        quick = [item for item in reaching if not item.get_closest_marker("postgresql")]
        patience = PATIENCE + SLOWNESS * sum(self.ran[item][0] for item in quick)
        child = os.fork()
        if child == 0:
            _be_child(mutant, quick)
        running[child] = (mutant, reaching, time.monotonic() + patience)

    def _reap(self, running: dict[int, tuple[Mutant, list[pytest.Item], float]]) -> None:
        for child, (mutant, reaching, ends) in list(running.items()):
            done, status = os.waitpid(child, os.WNOHANG)
            if not done and time.monotonic() < ends:
                continue
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # With the servers that the tests left behind.
            if not done:
                os.waitpid(child, 0)
            del running[child]
            left = self.total - self.killed - len(self.waiting) - 1
            if left % 20 == 0:
                os.write(self._progress, f"  {left} mutants left, {self.killed} killed\n".encode())
            if done and os.waitstatus_to_exitcode(status) in {SURVIVED, NOT_TRIED}:
                self.waiting.append((mutant, [item.nodeid for item in reaching]))
            else:
                self.killed += 1


def _be_child(mutant: Mutant, items: list[pytest.Item]) -> None:
    code = KILLED
    try:
        os.setsid()
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        if not _put_in(mutant):
            os._exit(NOT_TRIED)
        code = SURVIVED
        for number, item in enumerate(items):
            following = items[number + 1] if number + 1 < len(items) else item
            if any(report.failed for report in runtestprotocol(item, log=False, nextitem=following)):
                code = KILLED
                break
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _put_in(mutant: Mutant) -> bool:
    """Put a fault into the module that is imported; return whether that can be done."""
    module = sys.modules[mutant.path.removesuffix(".py").replace("/", ".")]
    code = compile(mutant.source, module.__file__ or "", "exec")
    if not mutant.function:
        return _put_values_in(module, code)
    owner: Any = module
    *outer, name = mutant.function.split(".")
    for part in outer:
        owner = vars(owner)[part]
        code = next(one for one in code.co_consts if isinstance(one, types.CodeType) and one.co_name == part)
    found = vars(owner)[name]
    for inner in ("__func__", "fget", "__wrapped__", "__wrapped__"):
        found = getattr(found, inner, None) or found
    wanted = [one for one in code.co_consts if isinstance(one, types.CodeType) and one.co_name == name]
    if not isinstance(found, types.FunctionType) or len(wanted) != 1 or found.__code__.co_name != name:
        return False
    if wanted[0].co_freevars != found.__code__.co_freevars:
        return False
    found.__code__ = wanted[0]
    return True


def _put_values_in(module: types.ModuleType, code: types.CodeType) -> bool:
    """Run the whole module again and take its tables (not its classes) from there, also where others imported them."""
    if "SQLModel" in vars(module):
        return False
    fresh: dict[str, Any] = {**vars(module)}
    exec(code, fresh)
    is_changed = False
    for name, value in fresh.items():
        old = vars(module).get(name)
        if value is old or isinstance(value, (type, types.FunctionType, types.ModuleType)) or name.startswith("__"):
            continue
        if repr(value) != repr(old):
            is_changed = True
        for other in list(sys.modules.values()):
            if isinstance(other, types.ModuleType) and vars(other).get(name, module) is old:
                setattr(other, name, value)
    return is_changed


def run(names: list[str], *, sample: int | None = SAMPLE) -> None:
    """Measure the targets named, or all of them, each in its own process, and print what survived."""
    for name in names or list(TARGETS):
        options = [f"--one={name}", f"--sample={sample}" if sample else "--all"]
        result = subprocess.run([sys.executable, "-m", "bench.mutation", *options], check=False, cwd=ROOT)
        if result.returncode:
            raise SystemExit(result.returncode)


def run_one(name: str, sample: int | None) -> Score:
    """Measure one target in this process, which imports the portal for that."""
    target = TARGETS[name]
    session = Session(target, sample)
    options = ("-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--timeout=0", "-m", "not browser")
    if pytest.main([*options, *target.tests], plugins=[session]) != 0:
        raise SystemExit(f"The tests of {name} could not be run.")
    for test in session.failing:
        print(f"  left out, because it fails without any fault: {test}", flush=True)
    print(f"  {session.killed} of {session.total} killed in forks; {len(session.waiting)} are tried alone", flush=True)
    score = Score(killed=session.killed)
    with tempfile.TemporaryDirectory() as folder:
        tree = _copy(Path(folder) / "tree")
        for mutant, tests in session.waiting:
            if tests and _is_killed_alone(mutant, tests, tree):
                score.killed += 1
            else:
                score.survivors.append(mutant)
                print(f"  survives {mutant.path}:{mutant.text}{'' if tests else '  (no test runs it)'}", flush=True)
    total = score.killed + len(score.survivors)
    print(f"mutation {name}: {score.killed} of {total} killed ({score.killed / max(total, 1):.0%})", flush=True)
    return score


def _copy(tree: Path) -> Path:
    tree.mkdir()
    for name in COPIED:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy2)(ROOT / name, tree / name)
    return tree


def _is_killed_alone(mutant: Mutant, tests: list[str], tree: Path) -> bool:
    path = tree / mutant.path
    sound = path.read_text()
    path.write_text(mutant.source)
    environ = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", *tests, "-q", "-x", "-p", "no:cacheprovider"]
    try:
        result = subprocess.run(command, cwd=tree, env=environ, capture_output=True, timeout=900, check=False)
        return result.returncode != 0
    except subprocess.TimeoutExpired:
        return True
    finally:
        path.write_text(sound)


def main() -> None:
    """Read the command line."""
    named = [name for name in sys.argv[1:] if not name.startswith("--")]
    given = {name: value for name, _, value in (word.partition("=") for word in sys.argv[1:] if word.startswith("--"))}
    sample = None if "--all" in given else int(given.get("--sample", SAMPLE))
    if "--one" in given:
        run_one(given["--one"], sample)
    else:
        run(named, sample=sample)


if __name__ == "__main__":
    main()
