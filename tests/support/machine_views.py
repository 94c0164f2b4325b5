"""Views for programs, as a later capability will have, and a page beside them."""

from __future__ import annotations

import msgspec
from flask import Flask, Response, jsonify, request

from portal.actor import Right
from portal.errors import Conflict, InvalidInput
from portal.web.access import public, requires
from portal.web.machine import Body, machine, read_body

RAW_BYTES = 2 * 1024 * 1024


class Thing(msgspec.Struct):
    """What the JSON view reads."""

    name: str
    count: int = 0


@public
@machine(Body.JSON, max_bytes=10_000, per_minute=60)
def things() -> Response:
    """Return what was sent."""
    thing = read_body(Thing)
    if thing.name == "taken":
        raise Conflict
    if thing.name == "bad":
        raise InvalidInput(field_errors={"name": "It is bad."})
    if thing.name == "broken":
        raise ZeroDivisionError
    return jsonify(name=thing.name, count=thing.count)


@public
@machine(Body.JSON, per_minute=3)
def rare() -> Response:
    """Answer three times a minute."""
    return jsonify(ok=True)


@public
@machine(Body.RAW, max_bytes=RAW_BYTES)
def raw() -> Response:
    """Return how much was sent."""
    return jsonify(size=len(request.get_data()))


@requires(Right.SEE_AUDIT)
@machine(Body.JSON)
def guarded() -> Response:
    """Never answer: a program has no session."""
    raise AssertionError


@public
def page() -> str:
    """Answer a browser, at an address that begins like one for programs."""
    return "page"


def add_machine_views(app: Flask) -> None:
    """Add the views to an application."""
    app._got_first_request = False
    app.add_url_rule("/programs/things", "programs.things", things, methods=["POST"])
    app.add_url_rule("/programs/rare", "programs.rare", rare)
    app.add_url_rule("/programs/raw", "programs.raw", raw, methods=["POST"])
    app.add_url_rule("/programs/guarded", "programs.guarded", guarded)
    app.add_url_rule("/mixed/raw", "mixed.raw", raw, methods=["POST"])
    app.add_url_rule("/mixed/page", "mixed.page", page)
