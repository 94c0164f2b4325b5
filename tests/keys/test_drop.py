from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlmodel import select

from portal.audit.models import AuditEvent
from portal.credentials.models import Credential
from portal.credentials.revocation import Revoker
from portal.credentials.store import Spool, Spooled
from portal.db import utc_now
from portal.errors import Conflict, NotFound
from portal.gitlab.oauth import TokenAnswer
from portal.operation.keys.manage import drop, list_keys, rotate
from portal.runtime import Runtime
from portal.vault import Place, Secret
from portal.vault.keyring import KEYS_VARIABLE
from portal.vault.models import VaultKey
from tests.keys.conftest import ORIGIN, add_secrets, open_all

LONG_AGO = "2025-01-01T00:00:00+00:00"


@pytest.fixture
def backend() -> str:
    """One database: Python decides what is refused here."""
    return "sqlite"


def let_settle(key_file: Path) -> None:
    """Make every key of the ring an old one."""
    data = json.loads(key_file.read_text())
    for key in data["keys"]:
        key["created_at"] = LONG_AGO
    key_file.write_text(json.dumps(data))


def key_ids(runtime: Runtime) -> list[str]:
    return [use.key_id for use in list_keys(runtime)]


def test_key_that_nothing_uses_is_dropped_for_ever(runtime: Runtime, key_file: Path) -> None:
    stored = add_secrets(runtime, 1)
    old = runtime.vault.ring.newest.key_id
    rotate(runtime)
    let_settle(key_file)

    drop(runtime, old)

    assert old not in key_file.read_text()
    assert old not in key_ids(runtime)
    assert open_all(runtime) == stored
    with runtime.database.reading() as session:
        assert session.get(VaultKey, old) is None
        assert session.exec(select(AuditEvent.object_id).where(AuditEvent.action == "key.dropped")).all() == [old]


def test_key_that_seals_is_kept(runtime: Runtime, key_file: Path) -> None:
    let_settle(key_file)

    with pytest.raises(Conflict, match="rotate"):
        drop(runtime, runtime.vault.ring.newest.key_id)


def test_key_of_a_single_stored_secret_is_kept(runtime: Runtime, key_file: Path) -> None:
    add_secrets(runtime, 1)
    old = runtime.vault.ring.newest.key_id
    before = runtime.vault.seal(Secret("late"), Place("credential", 1, "access_token_sealed"))
    rotate(runtime)
    let_settle(key_file)
    with runtime.database.transaction() as session:
        session.get_one(Credential, 1).access_token_sealed = before

    with pytest.raises(Conflict, match=r"1 in credential\.access_token_sealed"):
        drop(runtime, old)

    assert old in key_file.read_text()


def test_key_of_an_answer_that_waits_in_the_spool_is_kept(runtime: Runtime, key_file: Path) -> None:
    old = runtime.vault.ring.newest.key_id
    spool = Spool(runtime)
    tokens = TokenAnswer(access_token=Secret("a" * 64), refresh_token=None, scopes=(), expires_in=7200)
    for intent in ("kept", "reserved"):
        spool.reserve(1, intent)
    revoker = Revoker(1, 1, "GitLab", ORIGIN, {}, None)
    spool.keep(Spooled(1, 1, "kept", "0" * 64, tokens, utc_now(), revoker))
    rotate(runtime)
    let_settle(key_file)

    with pytest.raises(Conflict, match="1 in spool"):
        drop(runtime, old)


def test_key_is_kept_while_its_successor_may_not_be_known_everywhere(runtime: Runtime) -> None:
    old = runtime.vault.ring.newest.key_id
    rotate(runtime)

    with pytest.raises(Conflict, match="younger than 60 s"):
        drop(runtime, old)


def test_unknown_key_is_refused(runtime: Runtime) -> None:
    with pytest.raises(NotFound):
        drop(runtime, "nothing")


def test_ring_from_the_environment_is_sealed_with_but_not_changed(
    runtime: Runtime, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = add_secrets(runtime, 1)
    content = key_file.read_text()
    monkeypatch.setenv(KEYS_VARIABLE, content)

    rotation = rotate(runtime)

    assert not rotation.is_new
    assert open_all(runtime) == stored
    assert key_file.read_text() == content
    with pytest.raises(Conflict):
        drop(runtime, runtime.vault.ring.newest.key_id)


def test_file_that_cannot_be_replaced_leaves_no_row_that_says_it_was(
    runtime: Runtime, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_secrets(runtime, 1)
    old = runtime.vault.ring.newest.key_id
    rotate(runtime)
    let_settle(key_file)

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(Exception, match="Read-only"):
        drop(runtime, old)

    assert old in key_ids(runtime)
    with runtime.database.reading() as session:
        assert session.exec(select(AuditEvent).where(AuditEvent.action == "key.dropped")).all() == []
