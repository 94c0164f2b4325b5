"""Hooks move from a token to signatures, and to new secrets, while GitLab delivers all the time."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections import Counter

from portal.connections.models import Connection
from portal.db import utc_now
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.webhooks.intake import Intake, Taken
from tests.support.people import Cast
from tests.webhooks.hooked import Hooked, hooked

HOOKS = 12


class Gitlab(threading.Thread):
    """Delivers with the secrets that each hook has when its worker takes it up, and only a while later."""

    def __init__(self, found: Hooked) -> None:
        super().__init__()
        self.found, self.results, self.is_over = found, Counter[str](), threading.Event()
        self.rows, self.rounds, self.intake = found.rows(), 0, Intake(found.runtime)

    def run(self) -> None:
        while not self.is_over.is_set():
            taken_up = []
            for row in self.rows:
                (hook,) = self.found.of(row)
                taken_up.append((row, hook.token, hook.signing_token))
            self.is_over.wait(0.005)
            for row, token, signing in taken_up:
                self.deliver(row.public_id, row.subject_id, token, signing)
            self.rounds += 1

    def deliver(self, public_id: str, project_id: int, token: str, signing: str) -> None:
        number = f"{public_id}-{self.rounds}"
        body = json.dumps({"object_kind": "push", "project_id": project_id}).encode()
        # New versions send the first two with every delivery.
        headers = {"webhook-id": number, "webhook-timestamp": str(int(utc_now().timestamp()))}
        headers |= {"x-gitlab-event": "Push Hook", "x-gitlab-token": token, "idempotency-key": number}
        if signing:
            signed = f"{number}.{headers['webhook-timestamp']}.".encode() + body
            digest = hmac.digest(base64.b64decode(signing.removeprefix("whsec_")), signed, hashlib.sha256)
            headers["webhook-signature"] = "v1," + base64.b64encode(digest).decode()
        self.results[self.intake.take(public_id, headers, body)] += 1


def test_no_delivery_is_lost_while_hooks_move_to_signatures_and_to_new_secrets(
    runtime: Runtime, sandbox: RunningSandbox, cast: Cast
) -> None:
    sandbox.world.settings.version = "18.5.0"
    found = hooked(runtime, sandbox, cast, HOOKS, version="18.5.0")
    sandbox.faults.add("*/test/*", status=404, body={"message": "404 Not Found"})
    found.run()
    found.deliver(next(row for row in found.rows() if row.gitlab_hook_id))
    found.run()
    before = found.rows()

    gitlab = Gitlab(found)
    gitlab.start()
    sandbox.world.settings.version = "19.0.0"
    found.change(Connection, version_seen="19.0.0")
    found.run()
    moved = found.rows()
    found.change(intent="rotate")
    found.run()
    rounds = gitlab.rounds
    while gitlab.rounds < rounds + 2:
        gitlab.is_over.wait(0.01)
    gitlab.is_over.set()
    gitlab.join()
    rotated = found.rows()

    assert [(row.uses_signature, row.signing_token_sealed) for row in before] == [(False, None)] * HOOKS
    assert [row.uses_signature for row in moved + rotated] == [True] * 2 * HOOKS
    assert all(new.token_sealed != old.token_sealed for new, old in zip(rotated, moved, strict=True))
    assert gitlab.results == {Taken.STORED: gitlab.rounds * HOOKS}
    assert [row.refused_at for row in rotated] == [None] * HOOKS
