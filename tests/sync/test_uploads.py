"""A file is uploaded as it is; only this page accepts one."""

from __future__ import annotations

import io
from typing import Any

from portal.runtime import Runtime
from portal.sandbox.git import PNG
from portal.sync import files
from portal.sync.files import Kind
from portal.sync.store import create_site, get_site
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.support.walkthrough import principal_of


def test_upload_keeps_every_byte_and_replaces_only_what_it_is_told_to(
    runtime: Runtime, cast: Cast, owner: Visitor
) -> None:
    principal = principal_of(runtime, cast.owner)
    slug = create_site(runtime, principal, "Handbook").slug
    address = f"/sites/{slug}/upload"

    def send(body: bytes, name: str, **fields: str) -> Any:
        return owner.post(address, {"file": (io.BytesIO(body), name), **fields})

    def read(path: str) -> tuple[files.Content, bytes]:
        return files.read_file(runtime, get_site(runtime, principal, slug).site, path)

    first = send(PNG, "logo.png", folder="images/")
    twice = send(b"other", "logo.png", folder="images")
    kept = read("images/logo.png")
    replaced = send(b"\x00\x01binary\r\n", "logo.png", folder="images", replace="1")
    hostile = {name: send(b"x", name).status_code for name in ("../../x", ".git", "a\\..\\b.md", "n" * 300)}
    nothing = owner.post(address, {"folder": ""})
    wrong = owner.post(address, {"folder": "", "other": (io.BytesIO(b"x"), "x")})
    two = owner.post(address, {"file": [(io.BytesIO(b"x"), "x"), (io.BytesIO(b"y"), "y")]})
    elsewhere = owner.post(f"/sites/{slug}/sync", {"file": (io.BytesIO(b"x"), "x")})
    shown = owner.get(f"/sites/{slug}/raw?path=images/logo.png")

    assert (first.status_code, kept[0].kind, kept[1]) == (303, Kind.IMAGE, PNG)
    assert twice.status_code == 409
    assert (replaced.status_code, read("images/logo.png")[1]) == (303, b"\x00\x01binary\r\n")
    assert (shown.data, shown.headers["Content-Type"]) == (b"\x00\x01binary\r\n", "application/octet-stream")
    assert shown.headers["Content-Disposition"].startswith("attachment")
    assert hostile == {"../../x": 303, ".git": 422, "a\\..\\b.md": 303, "n" * 300: 422}
    assert {item.path for item in files.list_folder(runtime, get_site(runtime, principal, slug).site)} == {
        "images",
        "x",
        "a..b.md",
    }
    assert (nothing.status_code, wrong.status_code, two.status_code, elsewhere.status_code) == (303, 400, 400, 400)
