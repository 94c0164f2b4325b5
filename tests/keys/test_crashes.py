from __future__ import annotations

import os
from pathlib import Path

import pytest

from portal import crash_points
from portal.db import Database
from portal.operation.keys.manage import list_keys, rotate
from portal.runtime import Runtime
from portal.settings import Settings
from portal.vault.rotation import BATCH
from tests.keys.conftest import add_secrets, open_all, runtime_on

POINTS = [point for point in crash_points.POINTS if point.startswith("rotate:")]
# More than a rotation of these secrets passes any point.
MOST_PASSES = 40


def rotate_in_child(settings: Settings, point: str, number: int) -> bool:
    """Rotate in a separate process that dies at a point; return whether it got that far."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            crash_points._chosen, crash_points._count = point, str(number)
            rotate(runtime_on(settings, Database(settings.resolved_database_url)))
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {0, crash_points.EXIT_CODE}
    return code == crash_points.EXIT_CODE


@pytest.mark.parametrize("point", POINTS)
def test_rotation_that_dies_anywhere_is_finished_by_the_next_one(runtime: Runtime, point: str, key_file: Path) -> None:
    stored = add_secrets(runtime, BATCH + 1)
    runtime.database.close()
    passes = 0

    while rotate_in_child(runtime.settings, point, passes + 1):
        passes += 1
        assert passes < MOST_PASSES
        runtime = runtime_on(runtime.settings, Database(runtime.settings.resolved_database_url))
        assert open_all(runtime) == stored
        keys_before = runtime.vault.ring.key_ids
        rotate(runtime)
        (used,) = [use for use in list_keys(runtime) if use.total]
        assert used.is_newest
        assert open_all(runtime) == stored
        # A rotation that had begun is finished, not started again.
        assert runtime.vault.ring.key_ids == keys_before or point in {"rotate:before_batch", "rotate:batch_stored"}
        runtime.database.close()

    assert passes >= 1
