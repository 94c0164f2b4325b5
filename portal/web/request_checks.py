"""What a request may contain: a UTF-8 form from one of our pages, or nothing. All else is refused (S9, S99)."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import IO, Any, TypeVar
from urllib.parse import unquote_to_bytes, urlsplit

from flask import current_app, request
from htmx_flask.requests import HtmxAwareRequest
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout
from werkzeug.formparser import FormDataParser

from portal.errors import BadRequest, Forbidden
from portal.settings import Settings

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITES = frozenset({"same-origin", "none"})
FORM_TYPES = frozenset({"", "application/x-www-form-urlencoded", "multipart/form-data"})
MAX_BODY_BYTES = 1024 * 1024
MAX_QUERY_LENGTH = 8192
MAX_FORM_PARTS = 2000
# The web worker reads bodies before a thread handles them, and records here what went wrong.
BODY_PROBLEM = "gatehouse.body_problem"
BODY_TOO_SLOW, BODY_BROKEN, BODY_TOO_LARGE = "slow", "broken", "large"
# What Werkzeug could not decode becomes this.
UNDECODED = "\ufffd"
View = TypeVar("View", bound=Callable[..., Any])
_LONE_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class FormRequest(HtmxAwareRequest):  # type: ignore[misc,unused-ignore]
    """A request whose body has to be a complete form of text fields."""

    max_content_length = MAX_BODY_BYTES
    max_form_memory_size = MAX_BODY_BYTES
    max_form_parts = MAX_FORM_PARTS

    def make_form_data_parser(self) -> FormDataParser:
        """Return a parser that raises ValueError for what it cannot read, instead of calling it an empty form."""
        parser: FormDataParser = super().make_form_data_parser()
        parser.silent = False
        return parser

    def _get_file_stream(self, *_args: Any, **_names: Any) -> IO[bytes]:
        if file_field_of(self.endpoint) is None:
            raise BadRequest("This page does not accept a file. Send text fields only.")
        return io.BytesIO()  # The body as a whole is limited.


def accepts_file(field: str) -> Callable[[View], View]:
    """Let a view accept one file, in this field, within the limit of every body."""

    def declare(view: View) -> View:
        view.file_field = field  # type: ignore[attr-defined]
        return view

    return declare


def file_field_of(endpoint: str | None) -> str | None:
    """Return the field in which the view of an endpoint accepts a file; None if it accepts none."""
    found: str | None = getattr(current_app.view_functions.get(endpoint or ""), "file_field", None)
    return found


def check_target(settings: Settings) -> None:
    """Refuse a request for another host; links are made from the base URL, never from this header.

    Raises:
        BadRequest: the Host header, or the absolute form of the address, does not match the base URL.
    """
    target = str(request.environ.get("RAW_URI", "/"))
    hosts = [request.headers.get("Host", "")]
    if not target.startswith("/"):  # RFC 9112, 3.2.2: then its host counts, not the header's.
        try:
            hosts.append(urlsplit(target).netloc)
        except ValueError:
            hosts.append("")
    if any(host.lower() not in settings.hosts for host in hosts):
        raise BadRequest(f"This portal can only be reached at {settings.base_url}.")


def check_size(max_bytes: int = MAX_BODY_BYTES) -> None:
    """Refuse an address longer than any of the portal's, or a body whose declared length is over the limit."""
    if len(request.query_string) > MAX_QUERY_LENGTH or (request.content_length or 0) > max_bytes:
        raise RequestEntityTooLarge


def check_arrived() -> None:
    """Refuse a body that the web server could not read.

    Raises:
        BadRequest: it is incomplete.
        RequestTimeout: it did not arrive in time.
        RequestEntityTooLarge: it is too long.
    """
    problem = request.environ.get(BODY_PROBLEM)
    if problem == BODY_TOO_SLOW:
        raise RequestTimeout
    if problem == BODY_TOO_LARGE:
        raise RequestEntityTooLarge
    if problem == BODY_BROKEN:
        raise BadRequest("The request ended early, or its length is not what it says.")


def check_body() -> None:
    """Refuse a body that is not a form, or has anything but named text fields.

    Raises:
        BadRequest: it is so.
    """
    is_there = bool(request.content_length) or "Transfer-Encoding" in request.headers
    if is_there and request.method in SAFE_METHODS:
        raise BadRequest(f"A {request.method} request has no body.")
    # The form library would read JSON too, without any of our limits. A body without a type is not a form either.
    is_known = request.mimetype in FORM_TYPES and request.headers.get("Content-Type", "").isascii()
    if not is_known or (is_there and not request.mimetype):
        raise BadRequest("This portal reads forms only.")
    if request.mimetype == "application/x-www-form-urlencoded":
        check_encoded(request.get_data(cache=True, parse_form_data=False))
    try:
        fields = list(request.form.items(multi=True))
    except ValueError:
        raise BadRequest("The form that was sent cannot be read.") from None
    files = list(request.files.items(multi=True))
    if len(files) > 1 or any(name != file_field_of(request.endpoint) for name, _ in files):
        raise BadRequest("The request has a file that this page does not accept.")
    fields += [(name, sent.filename or "") for name, sent in files]
    for name, value in fields:
        if name is None or not isinstance(value, str):
            raise BadRequest("A part of the form has no name.")
        check_text(name, value)


def check_address() -> None:
    """Refuse an address whose path or query is not UTF-8 text.

    Raises:
        BadRequest: it is not.
    """
    check_encoded(request.query_string)
    check_text(request.path, *request.args.keys(), *request.args.values())


def check_encoded(encoded: bytes) -> None:
    """Refuse percent-encoding that is not well formed or does not encode UTF-8.

    Raises:
        BadRequest: it is one of these.
    """
    if _LONE_PERCENT.search(encoded):
        raise BadRequest("There is a % that is not followed by two hexadecimal digits. A plain % is written as %25.")
    try:
        unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError:
        raise BadRequest("The request has bytes that are not UTF-8 text.") from None


def check_text(*texts: str) -> None:
    """Refuse NUL, which PostgreSQL cannot store in text, and what could not be decoded.

    Raises:
        BadRequest: there is one.
    """
    if any("\0" in text or UNDECODED in text for text in texts):
        raise BadRequest("The request has a character that is not allowed in text.")


def check_origin(settings: Settings) -> None:
    """Refuse a change that another site asks for: Fetch Metadata decides, or `Origin` if a browser sends none.

    Raises:
        Forbidden: it comes from elsewhere.
    """
    if request.method in SAFE_METHODS:
        return
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None and site not in OWN_SITES:
        raise Forbidden
    if site is None and origin is not None and origin != settings.base_url:
        raise Forbidden
