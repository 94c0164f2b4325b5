"""A sandbox in its own process, so that it does not share the interpreter with what is measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

USER = "root"


@dataclass(frozen=True)
class Served:
    """Where it answers, and tokens of its service user and of its administrator."""

    url: str
    token: str
    root_token: str


@contextmanager
def sandbox_of(projects: int) -> Iterator[Served]:
    """Run a sandbox with this many projects while the block runs."""
    arguments = [sys.executable, "-m", "bench.sandbox_process", str(projects)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdin
        yield Served(*process.stdout.readline().split())
        process.stdin.close()
        process.wait(10)


def main() -> None:
    """Serve until standard input ends."""
    from portal.sandbox.testing import RunningSandbox

    with RunningSandbox(project_count=int(sys.argv[1]), with_service_user=True) as sandbox:
        sandbox.world.settings.allow_local_hooks = True
        print(sandbox.url, sandbox.token("gatehouse"), sandbox.token("root"), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
