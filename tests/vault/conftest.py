from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from portal.vault import KeyRing, Vault

MakeRing = Callable[..., KeyRing]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def key_ring(key_file: Path) -> KeyRing:
    return KeyRing.create_file(key_file)


@pytest.fixture
def vault(key_ring: KeyRing) -> Vault:
    return Vault(key_ring)


def ring_text(*keys: tuple[str, bytes]) -> str:
    """Return a key ring in its file's form, the sealing key first."""
    items = [{"id": key_id, "key": base64.b64encode(material).decode()} for key_id, material in keys]
    return json.dumps({"version": 1, "keys": items})


def ring_of(*keys: tuple[str, bytes]) -> KeyRing:
    return KeyRing.from_text(ring_text(*keys), "the test")


def without_audit_key(path: Path) -> None:
    """Turn a key file into one of the first version."""
    data = json.loads(path.read_text())
    del data["audit"]
    path.write_text(json.dumps(data))
