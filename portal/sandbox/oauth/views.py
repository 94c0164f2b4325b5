"""Puts the OAuth provider into the sandbox's app."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask

from portal.sandbox.oauth.authorize_views import authorize_blueprint
from portal.sandbox.oauth.server import Provider
from portal.sandbox.oauth.token_views import token_blueprint

if TYPE_CHECKING:
    from portal.sandbox.world import World


def register(app: Flask, world: World) -> None:
    """Mount the provider under the relative root. The pages it shows belong to `portal.sandbox.web`."""
    provider = Provider(world, world.oauth)
    prefix = world.settings.relative_root or None
    app.register_blueprint(token_blueprint(world, provider), url_prefix=prefix)
    app.register_blueprint(authorize_blueprint(world, provider), url_prefix=prefix)
