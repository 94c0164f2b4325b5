"""People who may not see all repositories learn nothing of the others; `python -m bench rights` asks 5,000 times."""

from __future__ import annotations

from flask import Flask

from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.support.foreign_requests import ForeignRequests
from tests.support.people import Cast


def test_no_answer_names_a_repository_that_its_reader_may_not_see(
    app: Flask, runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    requests = ForeignRequests(app, runtime, sandbox, cast)

    found = requests.ask(150, seed=11)
    changed = requests.changed()

    assert (found.foreign, found.failed) == ([], [])
    assert found.own > 300
    assert {path.partition("/")[0] for path in changed.pop("lea@example.com", set())} <= {"data"}
    assert {path.partition("/")[0] for path in changed.pop("lou@example.com", set())} <= {"web"}
    assert changed.keys() <= {"jobs"}
