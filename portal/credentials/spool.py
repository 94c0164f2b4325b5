"""Where an answer is kept between GitLab's rotation and our commit, so that a database failure loses nothing.

One file for each intent in the data folder, sealed by the vault. Its space is reserved before anything is asked: on a
full disk no token is spent (S40, fault row 34).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from portal.credentials.retire import Revoker
from portal.gitlab.oauth import TokenAnswer
from portal.logs import get_logger
from portal.private import private_folder
from portal.runtime import Runtime
from portal.vault import Place, Secret, SecretUnreadable
from portal.vault.envelope import key_id_of

log = get_logger(__name__)
FOLDER = "spool"
# Two tokens of at most 4 KiB each, a CA certificate of at most 64 KiB, sealed.
ROOM_BYTES = 96 * 1024
# How an entry begins until it holds an answer, and after what time no one will write one.
NOTHING_YET = bytes(4)
ROOM_SECONDS = 3600.0
TABLE = "spool"


@dataclass(frozen=True)
class Spooled:
    """A pair that GitLab gave and that may not be stored yet.

    Attributes:
        spent: SHA-256 of the refresh token that was spent for it, in hex; it is inside the sealed part.
        sent_at: our clock when the request left; expiry counts from it.
    """

    credential_id: int
    generation: int
    intent_id: str
    spent: str
    tokens: TokenAnswer
    sent_at: datetime
    revoker: Revoker


class Spool:
    """The spool of one data folder."""

    def __init__(self, runtime: Runtime) -> None:
        self._vault = runtime.vault
        self._folder = runtime.settings.data_dir / FOLDER

    def reserve(self, credential_id: int, intent_id: str) -> None:
        """Take the room for one answer.

        Raises:
            OSError: there is none.
        """
        private_folder(self._folder)
        descriptor = os.open(self._path(credential_id, intent_id), os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            # Written, not only allocated: a file system that compresses holes would give the room away again.
            file.write(NOTHING_YET + os.urandom(ROOM_BYTES))
            os.fsync(file.fileno())
        _sync_folder(self._folder)

    def keep(self, entry: Spooled) -> None:
        """Write an answer into its room.

        Raises:
            OSError: it could not be written.
        """
        sealed = self._vault.seal(Secret(_to_text(entry)), _place(entry.credential_id))
        with open(self._path(entry.credential_id, entry.intent_id), "r+b") as file:
            file.write(len(sealed).to_bytes(4, "big") + sealed)
            os.fsync(file.fileno())

    def forget(self, credential_id: int, intent_id: str) -> None:
        """Remove an entry that is stored, or was never used."""
        with suppress(OSError):
            self._path(credential_id, intent_id).unlink(missing_ok=True)

    def entries(self, credential_id: int | None = None) -> Iterator[Spooled]:
        """Yield the answers that processes left behind, for one credential or for all; some may be unreadable."""
        for path in sorted(self._folder.glob(f"credential-{credential_id or '*'}-*")):
            if (entry := self._read(path)) is not None:
                yield entry

    def tidy(self) -> None:
        """Remove rooms that were taken and never used: their process died before GitLab answered."""
        for path in self._folder.glob("credential-*"):
            with suppress(OSError):
                is_empty = path.read_bytes()[: len(NOTHING_YET)] == NOTHING_YET
                if is_empty and time.time() - path.stat().st_mtime > ROOM_SECONDS:
                    path.unlink()

    def _read(self, path: Path) -> Spooled | None:
        try:
            credential_id = int(path.name.split("-")[1])
            sealed = _sealed_in(path)
            return _from_text(self._vault.open(sealed, _place(credential_id)).reveal()) if sealed else None
        except (OSError, SecretUnreadable):
            return None  # Half written, gone in the meantime, or its key is not here now.
        except (ValueError, KeyError, TypeError, IndexError):
            log.error("spool_entry_unknown", file=path.name)  # Another version's; it is kept for that.
            return None

    def _path(self, credential_id: int, intent_id: str) -> Path:
        return self._folder / f"credential-{credential_id}-{intent_id}"


def is_in_use(data_dir: Path) -> bool:
    """Return whether a data folder's spool has an answer, or an entry for one, that has to be processed."""
    return next((data_dir / FOLDER).glob("credential-*"), None) is not None


def sealed_answers(data_dir: Path) -> Iterator[bytes]:
    """Yield every envelope in a data folder's spool; rooms that are only reserved are left out."""
    for path in sorted((data_dir / FOLDER).glob("credential-*")):
        with suppress(OSError):
            sealed = _sealed_in(path)
            if key_id_of(sealed):
                yield sealed


def _sealed_in(path: Path) -> bytes:
    """Return what is kept in a room; empty if it is only taken."""
    with path.open("rb") as file:
        return file.read(int.from_bytes(file.read(4), "big"))


def _place(credential_id: int) -> Place:
    return Place(TABLE, credential_id, "answer")


def _to_text(entry: Spooled) -> str:
    tokens, secret = entry.tokens, entry.revoker.client_secret
    return json.dumps(
        {
            "credential_id": entry.credential_id,
            "generation": entry.generation,
            "intent_id": entry.intent_id,
            "spent": entry.spent,
            "sent_at": entry.sent_at.isoformat(),
            "access_token": tokens.access_token.reveal() if tokens.access_token else None,
            "refresh_token": tokens.refresh_token.reveal() if tokens.refresh_token else None,
            "scopes": tokens.scopes,
            "expires_in": tokens.expires_in,
            "revoker": {**vars(entry.revoker), "client_secret": secret.reveal() if secret else None},
        }
    )


def _from_text(text: str) -> Spooled:
    data = json.loads(text)
    access_token, refresh_token = data["access_token"], data["refresh_token"]
    return Spooled(
        credential_id=data["credential_id"],
        generation=data["generation"],
        intent_id=data["intent_id"],
        spent=data["spent"],
        tokens=TokenAnswer(
            access_token=Secret(access_token) if access_token else None,
            refresh_token=Secret(refresh_token) if refresh_token else None,
            scopes=None if data["scopes"] is None else tuple(data["scopes"]),
            expires_in=data["expires_in"],
        ),
        sent_at=datetime.fromisoformat(data["sent_at"]),
        revoker=_read_revoker(data["revoker"]),
    )


def _read_revoker(data: dict[str, Any]) -> Revoker:
    secret = data["client_secret"]
    return Revoker(**{**data, "client_secret": Secret(secret) if secret else None})


def _sync_folder(folder: Path) -> None:
    # The file's name has to survive a power cut too, not only its content.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
