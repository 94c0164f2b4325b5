"""A world for requests that do not change it: one application for a whole file, its objects created as needed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from portal import CAPABILITIES, create_app
from portal.db import Database
from portal.net import NetworkPolicy, OutboundClient
from portal.runtime import Runtime
from portal.settings import Settings
from portal.vault import KeyRing, Vault
from tests.conftest import BASE_URL
from tests.security.objects import MISSING, make_objects
from tests.security.rights_matrix import Row
from tests.support.people import Actor, Cast, make_cast
from tests.support.visitor import Visitor


@dataclass
class World:
    """The application with its cast; objects are created again for each request, because responses use them up."""

    app: Flask
    runtime: Runtime
    cast: Cast

    def names(self, actor: Actor, state: str) -> dict[str, str]:
        """Return placeholders for objects that are `own`, `foreign` or `missing` to someone."""
        if state == "missing":
            return MISSING
        owns = state == "own"
        organization_id = actor.organization_id if owns else 3 - actor.organization_id
        other = self.cast.outsider if organization_id == 2 else self.cast.owner
        return make_objects(self.runtime, organization_id, actor.user_id if owns else other.user_id).names

    @cached_property
    def untouched(self) -> dict[str, str]:
        """Placeholders for objects of the owner's organization, for requests that must change nothing."""
        return self.names(self.cast.owner, "own")

    def ask(self, row: Row, visitor: Visitor, names: dict[str, str], **details: Any) -> TestResponse:
        """Send the request of a row."""
        path = (row.path + row.query).format(**names)
        details["buffered"] = True
        if row.method == "POST":
            return visitor.post(path, self.form(row, names), **details)
        details.pop("token", None)
        return visitor.get(path, **details)

    def form(self, row: Row, names: dict[str, str]) -> dict[str, str]:
        """Return what the request of a row sends."""
        return {name: value.format(**names) for name, value in row.form.items()}

    def signed_in(self, actor: Actor | None = None) -> Visitor:
        """Return a new session of someone, the owner by default."""
        return Visitor(self.app).sign_in(actor or self.cast.owner)


def make_world(settings: Settings, migrated_file: Path, ring: KeyRing) -> World:
    """Build its own application, with the cast, on a copy of the migrated database."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    shutil.copy(migrated_file, settings.data_dir / "gatehouse.db")
    outbound = OutboundClient(NetworkPolicy(ports=settings.outbound_ports, own_origin=settings.base_url))
    database = Database(settings.resolved_database_url)
    runtime = Runtime(
        settings=settings, database=database, vault=Vault(ring), outbound=outbound, capabilities=CAPABILITIES
    )
    app = create_app(runtime=runtime)
    app.testing = True
    app.config["PROPAGATE_EXCEPTIONS"] = False
    return World(app, runtime, make_cast(runtime))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path, ring: KeyRing) -> Iterator[World]:
    """One application for the file: for tests that change nothing the next one checks."""
    settings = Settings(base_url=BASE_URL, data_dir=tmp_path_factory.mktemp("world"))
    world = make_world(settings, migrated_file, ring)
    yield world
    world.runtime.database.close()
