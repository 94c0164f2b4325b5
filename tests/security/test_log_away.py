"""The log cannot be written: pages continue. The audit log cannot: nothing is changed (tests/audit/test_chain.py)."""

from __future__ import annotations

import errno
import io
import logging
from pathlib import Path

from flask import Flask
from sqlmodel import select

from portal.audit.head import Head, write_head
from portal.connections.models import Connection
from portal.runtime import Runtime
from tests.security.logged import catching_lines
from tests.support.people import Cast
from tests.support.visitor import Visitor


class Full(io.StringIO):
    """A file on a disk without room."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_log_on_a_full_disk_stops_no_page_and_no_change(app: Flask, runtime: Runtime, cast: Cast) -> None:
    owner = Visitor(app).sign_in(cast.owner)
    with catching_lines():
        (handler,) = logging.getLogger().handlers
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(Full())
        page = owner.get("/connections/")
        made = owner.post("/connections/new", {"display_name": "GitLab", "method": "oauth", "services": "repositories"})

    assert (page.status_code, made.status_code) == (200, 303)
    with runtime.database.reading() as session:
        assert session.exec(select(Connection)).one().display_name == "GitLab"


def test_head_file_that_cannot_be_written_is_a_line_in_the_log(tmp_path: Path) -> None:
    with catching_lines() as lines:
        write_head(tmp_path / "no" / "folder" / "head", Head(7, "ab"))

    assert [line["error"] for line in lines.named("audit_head_not_written")] == ["No such file or directory"]
