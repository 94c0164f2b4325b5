"""A database that is busy or gone is no one's mistake: the page says so, and when to try again."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from flask import Flask
from sqlalchemy import create_engine, event

from portal.runtime import Runtime
from tests.support.visitor import Visitor


@pytest.mark.parametrize("htmx", [False, True])
def test_locked_database_is_unavailable_for_a_moment(
    app: Flask, runtime: Runtime, owner: Visitor, *, htmx: bool
) -> None:
    owner.csrf_token()
    engine = runtime.database.engine
    event.listen(engine, "checkout", lambda connection, *_: connection.execute("PRAGMA busy_timeout=20") and None)
    with closing(sqlite3.connect(str(engine.url.database), isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        answer = owner.post("/sign-out", htmx=htmx)

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert ("<html" in answer.text) is not htmx
    assert owner.get("/profile").status_code == 200


@pytest.mark.parametrize("htmx", [False, True])
def test_database_that_is_gone_is_unavailable_on_every_page(
    app: Flask, runtime: Runtime, owner: Visitor, monkeypatch: pytest.MonkeyPatch, *, htmx: bool
) -> None:
    monkeypatch.setattr(runtime.database, "engine", create_engine("postgresql+psycopg://nobody@127.0.0.1:1/gone"))
    app.config["PROPAGATE_EXCEPTIONS"] = False

    assert Visitor(app).get("/healthz").status_code == 200
    for path in ("/connections/", "/profile", "/sign-in", "/readyz"):
        answer = owner.get(path, htmx=htmx)
        assert (path, answer.status_code, answer.headers["Retry-After"]) == (path, 503, "5")
        assert ("<html" in answer.text) is not htmx
        assert "does not answer" in answer.text
        assert "127.0.0.1:1" not in answer.text
    assert Visitor(app).get("/readyz").status_code == 503
