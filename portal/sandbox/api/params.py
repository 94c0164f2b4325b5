"""Parameters of requests: read from query, form or JSON body, refused in Grape's words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import request

from portal.sandbox.api.answers import ApiError

TRUE_WORDS = frozenset({"true", "1", "t", "on", "yes"})
ACCESS_LEVELS = frozenset({10, 15, 20, 30, 40, 50})
FALSE_WORDS = frozenset({"false", "0", "f", "off", "no"})


def refused(name: str, problem: str = "is invalid") -> ApiError:
    """Return the refusal of one parameter."""
    return ApiError(400, {"error": f"{name} {problem}"})


def text(name: str) -> str:
    """Return a query parameter, or an empty string."""
    return request.args.get(name, "")


def whole_number(name: str) -> int | None:
    """Return a number from the query."""
    value = text(name)
    if not value:
        return None
    try:
        return int(value)
    except ValueError:
        raise refused(name) from None


def access_level(name: str) -> int:
    """Return an access level from the query, 0 if it is not sent; one that GitLab does not have is refused."""
    level = whole_number(name)
    if level is not None and level not in ACCESS_LEVELS:
        raise refused(name, "does not have a valid value")
    return level or 0


def flag(name: str) -> bool | None:
    """Return a boolean from the query, None if it is not sent."""
    value = text(name)
    return None if not value else truth(name, value)


def truth(name: str, value: Any) -> bool:
    """Return a value of any body as a boolean."""
    word = str(value).lower()
    if word not in TRUE_WORDS | FALSE_WORDS:
        raise refused(name)
    return word in TRUE_WORDS


def choice(name: str, choices: Mapping[str, Any] | frozenset[str], default: str) -> str:
    """Return one of the allowed words from the query."""
    value = text(name) or default
    if value not in choices:
        raise refused(name, "does not have a valid value")
    return value


def moment(name: str) -> float | None:
    """Return a time from the query as seconds since 1970; without an offset it is UTC."""
    value = text(name)
    if not value:
        return None
    try:
        # A plus sign that the client forgot to encode arrives as a space, which GitLab does not accept either.
        parsed = datetime.fromisoformat(value)
    except ValueError:
        raise refused(name) from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def body() -> dict[str, Any]:
    """Return the members of a JSON or form body; `name[]` becomes a list called `name`."""
    if request.is_json:
        parsed = request.get_json(silent=True)
        if not isinstance(parsed, dict):
            raise ApiError(400, {"error": "The request body could not be parsed"})
        return parsed
    form: dict[str, Any] = {name: request.form[name] for name in request.form if not name.endswith("[]")}
    form |= {name[:-2]: request.form.getlist(name) for name in request.form if name.endswith("[]")}
    return form


def optional_body() -> dict[str, Any]:
    """Return the members of a body that may be missing."""
    return body() if request.content_length else {}
