"""What the API answers with: JSON bodies, and refusals raised from anywhere."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Response

CONTENT_TYPE = "application/json"

encode = msgspec.json.Encoder().encode


class ApiError(Exception):
    """A refusal with its JSON body, raised by any part of the API."""

    def __init__(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    return raw_answer(encode(body), status, headers)


def raw_answer(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a response whose JSON is already encoded."""
    response = Response(body, status, content_type=CONTENT_TYPE)
    response.headers.update(headers or {})
    return response


def no_content() -> Response:
    """Return 204."""
    return Response(status=204)


def not_found(what: str = "") -> ApiError:
    """Return the refusal for a record that does not exist or may not be seen; `what` as in `404 Project Not Found`."""
    return ApiError(404, {"message": f"404 {what} Not Found" if what else "404 Not found"})


def no_route() -> ApiError:
    """Return the refusal for an address this version does not have."""
    return ApiError(404, {"error": "404 Not Found"})


def forbidden() -> ApiError:
    """Return the refusal for a role that is too low."""
    return ApiError(403, {"message": "403 Forbidden"})


def bad_request(reason: str) -> ApiError:
    """Return the refusal of a request that GitLab understands but will not do."""
    return ApiError(400, {"message": f"400 Bad request - {reason}"})
