"""A GitLab that is slow, or whose clock differs from ours."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime

import pytest
from flask import Flask

from portal.db import utc_now
from portal.runtime import Runtime
from tests.connections.drafts import draft
from tests.connections.peers import Peer, serving
from tests.support.people import Cast
from tests.support.visitor import Visitor


@dataclass
class Slow(Peer):
    """Answers when told to."""

    was_asked: threading.Event = field(default_factory=threading.Event)
    may_answer: threading.Event = field(default_factory=threading.Event)

    def answer(self, path: str) -> tuple[int, str, str]:
        self.was_asked.set()
        self.may_answer.wait(30)
        return super().answer(path)


def test_gitlab_that_keeps_one_waiting_holds_up_nobody_else(
    app: Flask, runtime: Runtime, cast: Cast, owner: Visitor
) -> None:
    """No transaction and no lock is held while GitLab is asked: SQLite would let no one else write."""
    path, slow = f"/connections/{draft(owner)}/setup/instance", Slow()
    other = Visitor(app).sign_in(cast.administrator)
    other.csrf_token()
    with serving(runtime, slow):
        owner.post(path, {"domain": slow.url})
        waiting = threading.Thread(target=lambda: owner.post(f"{path}/checks", htmx=True))
        waiting.start()
        assert slow.was_asked.wait(30)
        written = other.post("/profile/name", {"name": "Another"})
        read = other.get("/connections/")
        was_waiting = waiting.is_alive()
        slow.may_answer.set()
        waiting.join()

    assert (written.status_code, read.status_code, was_waiting) == (303, 200, True)


@pytest.mark.parametrize(("minutes", "way"), [(-10, "behind"), (10, "ahead of")])
def test_clocks_that_differ_are_told(owner: Visitor, runtime: Runtime, minutes: int, way: str) -> None:
    slug = draft(owner)
    date = format_datetime(utc_now() + timedelta(minutes=minutes), usegmt=True)
    with serving(runtime, Peer(date=date)) as peer:
        owner.post(f"/connections/{slug}/setup/instance", {"domain": peer.url})
        found = owner.post(f"/connections/{slug}/setup/instance/checks", htmx=True).text

    assert "GitLab&#39;s clock is " in found
    assert f"seconds {way} this portal&#39;s" in found
