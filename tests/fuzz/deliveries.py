"""Deliveries from hell: headers and bodies that someone with the secrets of a hook may send, and someone without.

All of them are applied afterwards: whatever was stored, none may stay waiting.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import time
from collections import Counter
from copy import deepcopy
from typing import Any

from flask import Flask
from sqlalchemy import delete
from sqlmodel import select
from werkzeug.test import create_environ, run_wsgi_app

from portal.db import utc_now
from portal.gitlab.hooks import Level
from portal.net import origin_of
from portal.repositories.models import Repository
from portal.runtime import Runtime
from portal.webhooks.deliveries import apply_batch
from portal.webhooks.keys import make_keys, open_key
from portal.webhooks.models import Delivery, Hook, Mode, Verdict
from tests.fuzz.world import BLOCK, Found, catching_errors

NAMES = (
    "Push Hook",
    "Tag Push Hook",
    "Merge Request Hook",
    "Note Hook",
    "System Hook",
    "Member Hook",
    "Émoji",
    "x" * 9000,
)
KINDS = (
    *("push", "tag_push", "merge_request", "issue", "work_item", "note", "pipeline", "emoji", "repository_update"),
    *("project_create", "project_destroy", "project_rename", "project_transfer", "project_update", "group_rename"),
    *("user_add_to_team", "user_remove_from_team", "user_rename", "subgroup_create", "", "p" * 70_000),
)
ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 1.5, 2**31, 2**63 - 1, 2**63, 10**30, "1", "", "\0", "\ud800", "é" * 300, [], [[1]], {}),
    *({"id": 1}, "2026-11-28T10:00:00Z", "2026-11-28 10:00:00 UTC", "9999-12-31T23:59:59Z", "0000-00-00", "now"),
)
BODIES = (
    *(
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe{}",
        b'{"a":1,"a":2}',
        b'{"object_kind":NaN}',
        b"\xef\xbb\xbf{}",
        b"1" * 5000,
    ),
    *(b"[" * 100_000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b'"' + b"\\" * 99_999, b"{" + b" " * 1_000_000 + b"}"),
    b'{"object_kind":"push","project_id":' + b"9" * 4000 + b"}",
)
TYPES = (
    "application/json",
    "application/json; charset=utf-16",
    "text/json",
    "",
    "text/plain",
    "\xe9",
    "application/x+json",
)
VALUES = (
    "",
    "1",
    "v1,",
    "v1," + "A" * 44,
    "\xe9\xff",
    "a\tb",
    "x" * 60_000,
    "v1,A v2,B " * 500,
    "-1",
    "9" * 30,
    "1e9",
    "\x7f",
)


class DeliveryWorld:
    """Four hooks of one connection: one that signs, one with a token only, one of a group, one made by hand."""

    def __init__(self, app: Flask, runtime: Runtime, connection_id: int, max_seconds: float) -> None:
        self._app, self._runtime, self._max_seconds = app, runtime, max_seconds
        self._host = runtime.settings.base_url.partition("//")[2]
        self._keys: list[tuple[str, str, bytes]] = []
        hooks = (
            Hook(connection_id=connection_id, subject_id=901, uses_signature=True, signed_from=utc_now()),
            Hook(connection_id=connection_id, subject_id=902),
            Hook(connection_id=connection_id, subject_id=903, level=Level.GROUP),
            Hook(connection_id=connection_id, subject_id=904, mode=Mode.BY_HAND),
        )
        for hook in hooks:
            with runtime.database.transaction() as session:
                session.add(hook)
                session.flush()
                make_keys(runtime, hook, origin_of("http://127.0.0.1:1"), with_signature=True)
                path = f"fuzz/{hook.subject_id}"
                named = {"path_with_namespace": path, "namespace_path": "fuzz", "name": path, "search_text": path}
                session.add(Repository(connection_id=connection_id, gitlab_project_id=hook.subject_id, **named))
            keys = [open_key(runtime, hook, column) for column in ("token_sealed", "signing_token_sealed")]
            token, signing = (key.reveal() if key else "" for key in keys)
            self._keys.append((hook.public_id, token, base64.b64decode(signing.removeprefix("whsec_"))))

    def run_block(self, seed: int, number: int, size: int = BLOCK) -> Found:
        """Send a block of deliveries, and apply them."""
        found = Found()
        with self._runtime.database.transaction() as session:
            session.execute(delete(Delivery))
        with catching_errors() as errors:
            for index in range(size):
                name = f"deliveries {seed}:{number}:{index}"
                made = random.Random(name)
                body = _body(made)
                environ = self._environ(made, body)
                started, worked = time.perf_counter(), time.thread_time()
                _, status, _ = run_wsgi_app(self._app, environ, buffered=True)
                took, work = time.perf_counter() - started, time.thread_time() - worked
                self._judge(found, f"{name}: {body[:300]!r}", int(status[:3]), took, work, errors.texts)
            started, worked = time.perf_counter(), time.thread_time()
            while apply_batch(self._runtime):
                pass
            took, work = (time.perf_counter() - started) / size, (time.thread_time() - worked) / size
            self._judge(found, f"applying deliveries {seed}:{number}", 0, took, work, errors.texts)
        with self._runtime.database.reading() as session:
            verdicts = Counter(session.exec(select(Delivery.verdict)))
        if verdicts[Verdict.WAITING]:
            found.failures.append(f"deliveries {seed}:{number}: {verdicts[Verdict.WAITING]} still wait")
        found.requests -= 1
        del found.statuses[0]
        return found

    def _judge(self, found: Found, shown: str, status: int, took: float, work: float, errors: list[str]) -> None:
        found.requests += 1
        found.statuses[status] += 1
        found.longest = (max(found.longest[0], took), max(found.longest[1], work))
        wrong = [*errors, *([f"status {status}"] if status >= 500 else [])]
        wrong += [f"{work:.1f} s of work"] if work > self._max_seconds else []
        errors.clear()
        if wrong:
            found.failures.append(f"{'; '.join(wrong)}: {shown}")

    def _environ(self, made: random.Random, body: bytes) -> dict[str, Any]:
        public_id, token, key = made.choice(self._keys)
        if made.random() < 0.03:
            public_id = made.choice(("", "x", "%00", "../..", "é" * 50, "a" * 5000, public_id.lower(), f"{public_id}/"))
        message_id = made.choice((f"m{made.random()}", "m1", "\xe9", "a" * 101, ""))
        headers = {
            "User-Agent": made.choice(("GitLab/19.0.0", "GitLab/" + "9" * 90 + ".1", "\xff", "")),
            "Host": self._host,
        }
        headers |= {"X-Gitlab-Event": made.choice(NAMES), "Idempotency-Key": message_id}
        if made.random() < 0.6:
            timestamp = str(int(time.time()) + made.choice((0, 0, 0, 0, -299, -400, 400)))
            digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode("latin-1") + body, hashlib.sha256)
            headers |= {"Webhook-Id": message_id, "Webhook-Timestamp": timestamp}
            headers["Webhook-Signature"] = "v1," + base64.b64encode(digest).decode()
        if made.random() < 0.6:
            headers["X-Gitlab-Token"] = token
        while made.random() < 0.2:
            name = made.choice(
                (*headers, "Webhook-Signature", "X-Gitlab-Token", "Content-Encoding", "X-Gitlab-Instance")
            )
            if name != "Host":
                headers[name] = made.choice(VALUES)
        kind = TYPES[0] if made.random() < 0.9 else made.choice(TYPES)
        environ = create_environ("/", method="POST", data=body, content_type=kind)
        # As gunicorn passes them on: bytes as Latin-1.
        environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
        environ["PATH_INFO"] = f"/webhooks/gitlab/{public_id}".encode().decode("latin-1")
        environ["RAW_URI"] = "/webhooks/gitlab/x"
        return environ


def _body(made: random.Random) -> bytes:
    if made.random() < 0.1:
        return made.choice(BODIES)
    body: dict[str, Any] = {"object_kind": made.choice(KINDS), "project_id": made.choice((901, 902, 903, 904, 905))}
    if made.random() < 0.3:
        body["event_name"] = body.pop("object_kind")
    if made.random() < 0.5:
        at = made.choice(("2026-11-28T10:00:00Z", "2026-11-28 10:00:00 UTC"))
        body["object_attributes"] = {"id": 1, "updated_at": at, "target_project_id": 901, "action": "open"}
        body["project"] = {"id": body["project_id"], "path_with_namespace": "fuzz/901"}
    for _ in range(made.randrange(4)):
        inner = made.choice([body, *(item for item in body.values() if isinstance(item, dict))])
        inner[made.choice((*inner, "project", "object_attributes", "object_kind", "x"))] = deepcopy(made.choice(ODD))
    encoded = json.dumps(body).encode()
    if made.random() < 0.1:
        at_byte = made.randrange(len(encoded))
        encoded = encoded[:at_byte] + made.randbytes(made.randrange(4)) + encoded[at_byte + made.randrange(3) :]
    return encoded
