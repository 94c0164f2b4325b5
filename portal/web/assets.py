"""Where templates and static files are, and how static files are sent: compressed once, and cached for a year.

Pages are not compressed: they hold secrets next to text that an attacker can choose, and the length of a compressed
response would leak them (BREACH).
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from flask import Flask, Response, g, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.security import safe_join

PACKAGE = Path(__file__).parent.parent
# In a checkout both folders are next to the package; in the wheel they are inside it.
TEMPLATES = next(path for path in (PACKAGE / "templates", PACKAGE.parent / "templates") if path.is_dir())
STATIC = next(path for path in (PACKAGE / "static", PACKAGE.parent / "static") if path.is_dir())

COMPRESSIBLE = frozenset({"text/css", "text/javascript", "image/svg+xml", "text/plain", "text/markdown"})
JOINT = "+"
# More than there are files and bundles; anything else is made-up addresses.
KEPT = 128
MAX_PARTS = 40


@dataclass(frozen=True)
class StaticFile:
    """What is sent for one address, both ways. `packed` is empty where compression gains nothing."""

    mimetype: str
    content: bytes
    packed: bytes
    digest: str


def asset(path: str) -> str:
    """Return the address of a static file with its content's digest, so that it may be cached for a year."""
    if path not in (made := g.setdefault("asset_addresses", {})):  # A list has the address of its icons in every row.
        made[path] = url_for("static", filename=path, v=_load(path).digest)
    address: str = made[path]
    return address


def bundle(folder: str, suffix: str, *names: str) -> str:
    """Return one address for several files of a folder, such as `css/base+pages.css`; they are sent joined."""
    return asset(f"{folder}/{JOINT.join(names)}.{suffix}")


def register(app: Flask) -> None:
    """Serve static files, and give templates `asset()` and `bundle()`."""
    app.add_url_rule("/static/<path:filename>", "static", send)
    app.add_template_global(asset, "asset")
    app.add_template_global(bundle, "bundle")


def send(filename: str) -> Response:
    """Send a static file, or several joined, packed if the browser takes that."""
    try:
        file = _load(filename)
    except OSError:  # It does not exist, or no file can have that name.
        raise NotFound from None
    is_packed = bool(file.packed) and request.accept_encodings["gzip"] > 0
    response = Response(file.packed if is_packed else file.content, mimetype=file.mimetype)
    response.set_etag(f"{file.digest}-gzip" if is_packed else file.digest)
    if file.packed:
        response.vary.add("Accept-Encoding")
    if is_packed:
        response.content_encoding = "gzip"
    response.make_conditional(request)
    return response


@lru_cache(maxsize=KEPT)
def _load(filename: str) -> StaticFile:
    folder, slash, last = filename.rpartition("/")
    stem, dot, suffix = last.rpartition(".")
    names = [f"{folder}{slash}{part}{dot}{suffix}" for part in stem.split(JOINT, MAX_PARTS)]
    paths = [safe_join(str(STATIC), name) for name in names]
    if not all(path and Path(path).is_file() for path in paths):
        raise FileNotFoundError(filename)
    content = b"\n".join(Path(str(path)).read_bytes() for path in paths)
    mimetype = mimetypes.guess_type(filename)[0] or "application/octet-stream"
    packed = gzip.compress(content, 9, mtime=0) if mimetype in COMPRESSIBLE else b""
    return StaticFile(
        mimetype=mimetype,
        content=content,
        packed=packed if len(packed) < len(content) else b"",
        digest=hashlib.sha256(content).hexdigest()[:12],
    )
