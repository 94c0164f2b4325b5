"""Static files are few and sent compressed; pages, which hold secrets, are never compressed."""

from __future__ import annotations

import gzip
import re

import pytest

from portal.web.assets import STATIC
from tests.support.visitor import Visitor

SHEET = "/static/css/base.css"
PACKED = {"Accept-Encoding": "gzip, deflate, br"}
# For the sign-in page with everything it loads; it was 1.0 MB in 27 requests.
FIRST_PAGE_BYTES = 250_000
FIRST_PAGE_REQUESTS = 12


def test_static_file_is_sent_as_the_browser_can_read_it(visitor: Visitor) -> None:
    content = (STATIC / "css" / "base.css").read_bytes()

    packed, plain = visitor.get(SHEET, headers=PACKED), visitor.get(SHEET, headers={"Accept-Encoding": "gzip;q=0"})

    assert (packed.headers["Content-Encoding"], gzip.decompress(packed.data)) == ("gzip", content)
    assert ("Content-Encoding" in plain.headers, plain.data) == (False, content)
    assert packed.vary.as_set() == plain.vary.as_set() >= {"accept-encoding"}
    assert packed.get_etag() != plain.get_etag()
    assert packed.mimetype == "text/css"


def test_file_that_the_browser_has_is_not_sent_again(visitor: Visitor) -> None:
    etag = visitor.get(SHEET, headers=PACKED).headers["ETag"]

    again = visitor.get(SHEET, headers={**PACKED, "If-None-Match": etag})

    assert (again.status_code, again.data) == (304, b"")


def test_bundle_is_its_files_one_after_the_other(visitor: Visitor) -> None:
    parts = [(STATIC / "js" / f"{name}.js").read_bytes() for name in ("copy", "menu")]

    assert visitor.get("/static/js/copy+menu.js").data == b"\n".join(parts)


@pytest.mark.parametrize(
    "path",
    [
        "js/copy+nothing.js",
        "js/copy+.js",
        "js/+.js",
        "js/copy+..%2F..%2F..%2Fwsgi.py",
        "js",
        "x" * 5000,
    ],
)
def test_what_is_no_file_of_ours_is_not_found(visitor: Visitor, path: str) -> None:
    assert visitor.get(f"/static/{path}", headers=PACKED).status_code == 404


def test_first_page_is_small_and_is_itself_not_compressed(visitor: Visitor) -> None:
    page = visitor.get("/sign-in", headers=PACKED)
    addresses = set(re.findall(r'(?:src|href)="(/static/[^"#]+)', page.text))

    answers = [visitor.get(address, headers=PACKED) for address in addresses]

    assert "Content-Encoding" not in page.headers
    assert all("immutable" in answer.headers["Cache-Control"] for answer in answers)
    assert len(answers) < FIRST_PAGE_REQUESTS
    assert sum(len(answer.data) for answer in [page, *answers]) < FIRST_PAGE_BYTES
