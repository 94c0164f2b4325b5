"""Requests from other programs: a view says what it accepts.

    @blueprint.post("/v1/things")
    @public  # It checks its own credentials.
    @machine(Body.JSON, max_bytes=64 * 1024, per_minute=300)
    def add_thing() -> Response:
        entered = read_body(ThingBody)

Such a view has no session, no cookie, no CSRF check, and its own limits of size and rate. Every error is problem
details (RFC 9457), even for an address that does not exist. Everything else keeps the checks for pages.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Any, TypeVar

from flask import Flask, Response, current_app, json, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, UnsupportedMediaType

from portal.errors import BadRequest, InvalidInput, PortalError, RateLimited
from portal.net.json_reader import JSONRefused, read_json
from portal.requestinfo import current_request_info, network_of
from portal.web.request_checks import MAX_BODY_BYTES, SAFE_METHODS, check_arrived

View = TypeVar("View", bound=Callable[..., Any])
T = TypeVar("T")
# How many callers each process remembers; the one that has been idle longest is dropped.
MAX_CALLERS = 10_000
# Where the application stores how often each caller asked.
RATE = "gatehouse_rate"
# What a program is told if an error's words are only meant for people.
DETAILS = {
    400: "The request cannot be understood.",
    401: "This address needs credentials, and the request has no valid ones.",
    403: "The request was refused.",
    404: "There is nothing at this address, or the caller may not see it.",
    405: "This address does not accept this method.",
    408: "Not all of the request arrived in time. Nothing was changed.",
    409: "It changed in the meantime. Nothing was overwritten.",
    413: "The request is larger than this address accepts.",
    415: "This address does not accept a body of this type.",
    422: "Something in the request cannot be accepted.",
    429: "Too many requests.",
    500: "Something failed in Gatehouse. Its logs have this request's id.",
    503: "Not available at the moment. Nothing was changed.",
}


class Body(StrEnum):
    """What a machine view reads."""

    JSON = "json"
    # Bytes of any type, as sent: `request.get_data()`.
    RAW = "raw"


@dataclass(frozen=True)
class Machine:
    """What a view accepts: kind and size of a body, and how many requests a minute from one network (per process)."""

    body: Body
    max_bytes: int
    per_minute: int


def machine(body: Body, *, max_bytes: int = MAX_BODY_BYTES, per_minute: int = 600) -> Callable[[View], View]:
    """Let a view answer programs instead of browsers."""

    def declare(view: View) -> View:
        view.machine = Machine(body, max_bytes, per_minute)  # type: ignore[attr-defined]
        return view

    return declare


def machine_of_view(app: Flask, endpoint: str | None) -> Machine | None:
    """Return what the view of an endpoint accepts; None if it is a page or does not exist."""
    found: Machine | None = getattr(app.view_functions.get(endpoint or ""), "machine", None)
    return found


def machine_of_request() -> Machine | None:
    """Return what the current request's view accepts; None if the caller is a browser.

    An address without a view belongs to programs if it accepts another method from them, or if only machine views share
    its beginning.
    """
    if request.endpoint is not None:
        return machine_of_view(current_app, request.endpoint)
    error = request.routing_exception
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        try:
            endpoint, _ = current_app.url_map.bind("").match(request.path, method=next(iter(error.valid_methods)))
        except HTTPException:
            return None
        return machine_of_view(current_app, endpoint)
    return max(_machines_below(current_app, request.path), key=lambda found: found.max_bytes, default=None)


def body_limit(app: Flask, path: str) -> int:
    """Return how much of a body the web server reads before it calls the application."""
    return max([MAX_BODY_BYTES, *(found.max_bytes for found in _machines_below(app, path))])


def _machines_below(app: Flask, path: str) -> list[Machine]:
    """Return what the views that share the first part of a path accept; nothing if one is a page."""
    first = path.split("/")[1:2]
    below = [rule for rule in app.url_map.iter_rules() if rule.rule.split("/")[1:2] == first]
    found = [accepts for rule in below if (accepts := machine_of_view(app, rule.endpoint))]
    return found if len(found) == len(below) else []


class Rate:
    """How often each caller may ask: a bucket that refills with time. Only in this process."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.now = now
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, name: str, caller: str, per_minute: int) -> None:
        """Count one request.

        Raises:
            RateLimited: it is over the limit.
        """
        with self._lock:
            now = self.now()
            left, at = self._buckets.pop((name, caller), (float(per_minute), now))
            left = min(per_minute, left + (now - at) * per_minute / 60)
            is_allowed = left >= 1
            self._buckets[name, caller] = (left - 1 if is_allowed else left, now)
            if len(self._buckets) > MAX_CALLERS:
                self._buckets.popitem(last=False)
        if not is_allowed:
            raise RateLimited(DETAILS[429], retry_after_seconds=math.ceil((1 - left) * 60 / per_minute))


def check_machine(accepts: Machine, rate: Rate) -> None:
    """Check what all programs' requests have in common, before the view.

    Raises:
        BadRequest: it is incomplete, or has an unexpected body.
        RateLimited: its network sends too many requests.
        UnsupportedMediaType: the view reads JSON, and the body has another type.
    """
    rate.take(request.endpoint or "", network_of(current_request_info().source_address), accepts.per_minute)
    check_arrived()
    request.max_content_length = accepts.max_bytes
    is_there = bool(request.content_length) or "Transfer-Encoding" in request.headers
    if is_there and request.method in SAFE_METHODS:
        raise BadRequest(f"A {request.method} request has no body.")
    # Where the method or the address is wrong, that is what the caller is told.
    is_found = request.endpoint is not None
    if is_found and accepts.body == Body.JSON and request.method not in SAFE_METHODS and not request.is_json:
        raise UnsupportedMediaType


def read_body(shape: type[T]) -> T:
    """Return the JSON body of the current request as a msgspec struct, or a type made of them.

    Raises:
        BadRequest: it is not JSON.
        InvalidInput: it does not have this shape.
    """
    try:
        return read_json(request.get_data(), "application/json", shape)
    except JSONRefused as error:
        if error.code == "wrong_shape":
            raise InvalidInput("The body does not have the fields and types that this address expects.") from None
        raise BadRequest("The body is not valid JSON in UTF-8.") from None


def problem(error: PortalError) -> Response:
    """Render an error as problem details (RFC 9457); `instance` is the request's id, which is in the logs."""
    is_worded = error.sentence != type(error).sentence
    told: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.sentence if is_worded else DETAILS.get(error.status, error.sentence),
        "instance": current_request_info().request_id,
        "code": error.code,
    }
    if isinstance(error, InvalidInput) and error.field_errors:
        told["errors"] = error.field_errors
    response = Response(json.dumps(told) + "\n", error.status, content_type="application/problem+json")
    if isinstance(error, RateLimited):
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    if error.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
