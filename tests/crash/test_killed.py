"""A process is killed between its token request and GitLab's answer: the old token shows whether GitLab acted."""

from __future__ import annotations

import pytest

from portal.credentials.models import CredentialState
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from tests.crash.test_pause import CHILD, wait_for
from tests.support.children import start_child
from tests.support.paired import Paired

TOKEN = "/oauth/token"


@pytest.mark.parametrize("acts", [True, False])
def test_process_is_killed_while_gitlab_answers(
    paired: Paired, runtime: Runtime, sandbox: RunningSandbox, *, acts: bool
) -> None:
    paired.make_due()
    fault = sandbox.faults.add(TOKEN, delay_seconds=1.0, times=1, drop=None if acts else "before")
    child = start_child(runtime, sandbox, CHILD, {"connection_id": paired.connection_id})
    wait_for(lambda: fault.used)
    child.kill()
    child.wait()
    wait_for(lambda: len(paired.issued) == 2 or not acts)

    if acts:
        assert paired.refusal().card.code == "credential_lost"
        assert paired.credential.state == CredentialState.LOST
        assert paired.token_requests == 1
    else:
        assert paired.demand() == paired.issued[-1].access_token
        assert paired.holds_the_last_pair()
        assert paired.token_requests == 1  # The old token is good, and is used until shortly before its end.
    assert paired.spent_posts == 0
