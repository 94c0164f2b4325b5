from __future__ import annotations

from http.cookies import SimpleCookie
from pathlib import Path

from portal.settings import Settings
from portal.vault import KeyRing
from tests.security.conftest import make_world
from tests.support.people import PASSWORD
from tests.support.visitor import Visitor


def test_cookie_of_an_authorization_is_bound_to_the_host_and_closed(
    tmp_path: Path, migrated_file: Path, ring: KeyRing
) -> None:
    world = make_world(Settings(base_url="https://portal.example.com", data_dir=tmp_path), migrated_file, ring)
    slug = world.names(world.cast.owner, "own")["slug"]

    owner = Visitor(world.app)
    owner.post("/sign-in", {"email": world.cast.owner.email, "password": PASSWORD})
    answer = owner.post(f"/connections/{slug}/authorization")
    world.runtime.database.close()

    (header,) = (text for text in answer.headers.getlist("Set-Cookie") if "oauth" in text)
    ((name, cookie),) = SimpleCookie(header).items()
    assert name.startswith("__Host-oauth-")
    assert len(cookie.value) >= 43
    assert cookie["secure"]
    assert cookie["httponly"]
    assert (cookie["path"], cookie["domain"], cookie["samesite"]) == ("/", "", "Lax")
    assert int(cookie["max-age"]) <= 600
