"""Where templates and static files are, and addresses of static files that change with their content."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from flask import Flask, url_for

PACKAGE = Path(__file__).parent
# In a checkout both folders stand beside the package; in the wheel they are inside it.
TEMPLATES = next(path for path in (PACKAGE / "templates", PACKAGE.parent / "templates") if path.is_dir())
STATIC = next(path for path in (PACKAGE / "static", PACKAGE.parent / "static") if path.is_dir())


@cache
def _digest(path: str) -> str:
    return hashlib.sha256((STATIC / path).read_bytes()).hexdigest()[:12]


def asset(path: str) -> str:
    """Return the address of a static file with its content's digest, so that it may be cached for a year."""
    return url_for("static", filename=path, v=_digest(path))


def register(app: Flask) -> None:
    """Give templates `asset()`."""
    app.add_template_global(asset, "asset")
