"""Turns errors into a page, a fragment or JSON, in one place."""

from __future__ import annotations

from flask import Flask, Response, make_response, render_template, request
from flask.globals import request_ctx
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException, InternalServerError

from portal import errors
from portal.errors import PortalError
from portal.failures import surface_of_job
from portal.logs import get_logger
from portal.requestinfo import current_request_info, loggable_path
from portal.storage import LASTING, card_of, trouble_of
from portal.web.htmx import wants_fragment
from portal.web.machine import machine_of_request, problem

log = get_logger(__name__)

RETRY_SECONDS = 5
# Not "nothing was changed": a connection may break during its commit.
DATABASE_AWAY = "The database is busy or does not answer. Try again in a few seconds."

_OF_DATABASE = (DBAPIError, PoolTimeout)

_BY_STATUS: dict[int, type[PortalError]] = {
    400: errors.BadRequest,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    422: errors.InvalidInput,
    429: errors.RateLimited,
    503: errors.Unavailable,
}


class MethodNotAllowed(PortalError):
    """The address exists, but not for this method."""

    status = 405
    code = "method_not_allowed"
    title = "That is not possible here"
    sentence = "This address does not accept that kind of request."


class TooLarge(PortalError):
    """The request body is larger than any form of ours."""

    status = 413
    code = "too_large"
    title = "That is too large"
    sentence = "What was sent is larger than this page accepts."


class TooSlow(PortalError):
    """The request body did not arrive in time."""

    status = 408
    code = "too_slow"
    title = "That took too long"
    sentence = "Not all of the request arrived in time. Nothing was changed; try again."


class UnsupportedType(PortalError):
    """The request body has a type that the address does not accept."""

    status = 415
    code = "unsupported_type"
    title = "That type is not accepted"
    sentence = "This address does not accept a body of this type."


def register(app: Flask) -> None:
    """Answer every error through `answer`, and let pages show failures."""
    app.add_template_filter(errors.Card.from_json, "as_card")
    app.add_template_global(surface_of_job)
    app.register_error_handler(PortalError, answer_portal_error)
    app.register_error_handler(HTTPException, answer_http_exception)
    app.register_error_handler(Exception, _answer_unexpected)
    for kind in _OF_DATABASE:
        app.register_error_handler(kind, _answer_database_error)


def answer_portal_error(error: PortalError) -> Response:
    """Log one of our own errors, and answer."""
    if error.status >= 500:
        log.warning("request_failed", error_code=error.code, path=loggable_path(request.path), status=error.status)
    return answer(error)


def answer_http_exception(error: HTTPException) -> Response:
    """Answer what Flask and Werkzeug refuse, with our own texts."""
    if error.response is not None or (error.code or 500) < 400:
        return make_response(error.get_response())
    if isinstance(error, InternalServerError):
        # Also errors before a view is found, such as while reading the session.
        cause = error.original_exception
        return _answer_database_error(cause) if isinstance(cause, _OF_DATABASE) else _answer_unexpected(error)
    kinds = {**_BY_STATUS, 405: MethodNotAllowed, 408: TooSlow, 413: TooLarge, 415: UnsupportedType}
    failure = kinds.get(error.code or 500, errors.BadRequest)()
    failure.status = error.code or 400
    response = answer(failure)
    for name in ("Allow", "Retry-After"):
        for value in [v for k, v in error.get_headers() if k == name]:
            response.headers[name] = value
    return response


def _answer_unexpected(error: Exception) -> Response:
    # The last resort: the log has the traceback, the page has its request id and nothing else.
    log.error("unexpected_error", path=loggable_path(request.path), exc_info=error)
    return answer(PortalError())


def _answer_database_error(error: SQLAlchemyError) -> Response:
    trouble = trouble_of(error)
    if trouble is None:
        return _answer_unexpected(error)
    log.error("database_away", path=loggable_path(request.path), trouble=trouble, exc_info=error)
    unavailable: PortalError = errors.Unavailable(DATABASE_AWAY)
    if trouble in LASTING:
        # Only signed-in people are told exactly where that is.
        unavailable = errors.NothingStored(card_of(trouble, "Gatehouse's database"))
    response = answer(unavailable)
    response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def answer(error: PortalError) -> Response:
    """Render one error in the form the request wants."""
    if machine_of_request():
        return problem(error)
    if request_ctx.url_adapter is None:  # The Host header is not a name: no address can be built, so there is no page.
        return Response(f"{error.title}. {error.sentence}\n", error.status, mimetype="text/plain")
    context = {
        "error": error,
        "card": getattr(error, "card", None),
        "request_id": current_request_info().request_id,
    }
    template = "errors/_alert.html" if wants_fragment() else "errors/page.html"
    response = make_response(render_template(template, **context), error.status)
    if isinstance(error, errors.RateLimited):
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    if wants_fragment():
        response.headers["HX-Retarget"] = "#alerts"
        response.headers["HX-Reswap"] = "innerHTML"
    return response
