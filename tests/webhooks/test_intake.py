"""Deliveries: who may send them, that each counts once, and what they change."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event
from sqlmodel import col, delete, select
from werkzeug.test import TestResponse

from portal.db import utc_now
from portal.gitlab.hooks import Level
from portal.jobs.models import Job
from portal.jobs.testing import run_pending
from portal.repositories.catalogue.run import READ_CATALOGUE
from portal.repositories.models import Repository
from portal.runtime import Runtime
from portal.sandbox.testing import RunningSandbox
from portal.vault import Place, Secret
from portal.webhooks.deliveries import apply_batch, has_waiting, has_work
from portal.webhooks.intake import PER_MINUTE
from portal.webhooks.keys import make_keys, open_key
from portal.webhooks.models import Delivery, DeliveryCount, Hook, HookStatus, Mode, Outcome, Verdict
from portal.webhooks.projects import READ_PROJECTS
from portal.webhooks.verify import verify_delivery
from portal.webhooks.views import MAX_BODY_BYTES
from tests.conftest import BASE_URL
from tests.support.people import Cast
from tests.support.visitor import Visitor
from tests.webhooks.hooked import Hooked, hooked


class Dies(BaseException):
    """The process ends here."""


AT = utc_now().replace(microsecond=0)
NOTE = {"object_kind": "note", "object_attributes": {"id": 1, "updated_at": AT.strftime("%Y-%m-%d %H:%M:%S UTC")}}
PUSH = {"object_kind": "push", "before": "0" * 40, "after": "a" * 40, "ref": "refs/heads/main"}


@pytest.fixture
def found(runtime: Runtime, sandbox: RunningSandbox, cast: Cast) -> Hooked:
    """Two hooks that are signed from now on."""
    found = hooked(runtime, sandbox, cast, 2)
    found.run()
    found.change(Repository, last_activity_at=utc_now() - timedelta(days=1), is_empty=False)
    return found


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """GitLab."""
    return app.test_client()


def key_of(found: Hooked, row: Hook, column: str) -> str:
    key = open_key(found.runtime, row, column)
    return key.reveal() if key else ""


def send(
    client: FlaskClient,
    row: Hook,
    body: bytes,
    name: str = "Note Hook",
    kind: str = "application/json",
    **headers: str,
) -> TestResponse:
    """Deliver, with only these secrets."""
    named = {header.replace("_", "-"): value for header, value in headers.items()}
    sent = {"X-Gitlab-Event": name, "User-Agent": "GitLab/19.0.0", **named}
    path = f"/webhooks/gitlab/{row.public_id}"
    return client.post(path, data=body, content_type=kind, headers=sent, base_url=BASE_URL)


def signed(found: Hooked, row: Hook, body: bytes, message_id: str = "m1", seconds: float = 0.0) -> dict[str, str]:
    """Return the headers that GitLab adds to a delivery."""
    secret = base64.b64decode(key_of(found, row, "signing_token_sealed").removeprefix("whsec_"))
    timestamp = str(int(utc_now().timestamp() + seconds))
    digest = hmac.digest(secret, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return {
        "webhook_id": message_id,
        "webhook_timestamp": timestamp,
        "webhook_signature": "v1," + base64.b64encode(digest).decode(),
        "Idempotency_Key": message_id,
    }


def body_of(row: Hook, **members: Any) -> bytes:
    return json.dumps({**NOTE, "project_id": row.subject_id, **members}).encode()


def deliveries(found: Hooked) -> list[Delivery]:
    with found.runtime.database.reading() as session:
        return list(session.exec(select(Delivery).order_by(col(Delivery.id))))


def test_signed_delivery_is_stored_once_and_applied_once(found: Hooked, client: FlaskClient) -> None:
    row, _ = found.rows()
    body = body_of(row)

    answers = [send(client, row, body, **signed(found, row, body)) for _ in range(3)]
    (stored,) = deliveries(found)
    waiting = has_waiting(found.runtime)
    counts = [apply_batch(found.runtime), apply_batch(found.runtime)]
    (applied,) = deliveries(found)
    after = next(item for item in found.rows() if item.id == row.id)
    with found.runtime.database.reading() as session:
        active = session.get_one(Repository, row.repository_id).last_activity_at

    assert [(answer.status_code, answer.json) for answer in answers] == [
        (200, {"result": "stored"}),
        *[(200, {"result": "known"})] * 2,
    ]
    assert (stored.verdict, stored.verified_by, stored.gitlab_version) == (Verdict.WAITING, "signature", "19.0.0")
    assert stored.body
    assert (waiting, counts) == (True, [1, 0])
    assert (applied.verdict, applied.effect, applied.body) == (Verdict.APPLIED, "activity", None)
    assert active == AT
    assert (after.status, after.events_seen, after.proved_at) == (HookStatus.ACTIVE, ["Note Hook"], stored.received_at)


def test_signature_is_the_one_of_the_standard(found: Hooked) -> None:
    # From the examples of the specification (https://www.standardwebhooks.com).
    row, _ = found.rows()
    key = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    row.signing_token_sealed = found.runtime.vault.seal(
        key, Place("hook", row.id or 0, "signing_token_sealed"), row.origin
    )
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    body, now = b'{"test": 2432232314}', datetime.fromtimestamp(1614265330, UTC)

    assert verify_delivery(found.runtime, row, headers, body, now) == "signature"
    assert verify_delivery(found.runtime, row, headers, json.dumps(json.loads(body), indent=1).encode(), now) is None
    assert verify_delivery(found.runtime, row, headers, body, now + timedelta(seconds=301)) is None


def test_worker_that_dies_at_any_statement_leaves_a_delivery_waiting(found: Hooked, client: FlaskClient) -> None:
    row, _ = found.rows()
    body = body_of(row)
    send(client, row, body, **signed(found, row, body))
    left = 0

    def die(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal left
        if statement.startswith(("INSERT", "UPDATE")):
            left -= 1
            if left == 0:
                raise Dies

    event.listen(found.runtime.database.engine, "after_cursor_execute", die)
    try:
        for number in (1, 2):
            left = number
            with pytest.raises(Dies):
                apply_batch(found.runtime)
            assert [item.verdict for item in deliveries(found)] == [Verdict.WAITING]
    finally:
        event.remove(found.runtime.database.engine, "after_cursor_execute", die)

    assert apply_batch(found.runtime) == 1
    assert [item.effect for item in deliveries(found)] == ["activity"]


def test_wrong_secrets_are_refused_and_a_valid_delivery_forgives_them(found: Hooked, client: FlaskClient) -> None:
    row, other = found.rows()
    body = body_of(row)
    good = signed(found, row, body)
    token = key_of(found, row, "token_sealed")
    wrong: list[dict[str, str]] = [
        {},
        {"X_Gitlab_Token": "é"},
        {"X_Gitlab_Token": token},  # The hook signs: its token alone is not enough.
        {"X_Gitlab_Token": token, **{name: good[name] for name in ("webhook_id", "webhook_timestamp")}},
        {**good, "webhook_id": "m2"},
        {**good, "webhook_timestamp": str(int(good["webhook_timestamp"]) + 1)},
        {**good, "webhook_signature": good["webhook_signature"][:-2] + "A="},
        {**good, "webhook_timestamp": "soon"},
        signed(found, other, body),
        signed(found, row, body, seconds=-301),
        signed(found, row, body, seconds=302),
    ]

    refused = [send(client, row, body, **headers).status_code for headers in wrong]
    changed = send(client, row, body + b" ", **good).status_code
    is_noted = [item.refused_at is not None for item in found.rows()]
    several = {**good, "webhook_signature": f"v1,AAAA v2,BBBB {good['webhook_signature']}"}
    accepted = send(client, row, body, **several).status_code

    assert (refused, changed) == ([401] * len(wrong), 401)
    assert is_noted == [True, False]
    assert accepted == 200
    assert [item.refused_at for item in found.rows()] == [None, None]
    assert len(deliveries(found)) == 1


def test_what_is_no_delivery_is_refused_before_anything_is_stored(found: Hooked, client: FlaskClient) -> None:
    row, _ = found.rows()
    body = body_of(row)
    good = signed(found, row, body)

    unknown = client.post("/webhooks/gitlab/unknown", data=b"{}", content_type="application/json", base_url=BASE_URL)
    kind = send(client, row, body, kind="text/plain", **good)
    large = send(client, row, b"[" + b" " * (1024 * 1024) + b"]", **good)
    read = client.get(f"/webhooks/gitlab/{row.public_id}", base_url=BASE_URL)

    assert [answer.status_code for answer in (unknown, kind, large, read)] == [404, 415, 413, 405]
    assert unknown.content_type == "application/problem+json"
    assert deliveries(found) == []


def test_token_and_signature_both_count_while_a_hook_changes_its_secrets(found: Hooked, client: FlaskClient) -> None:
    row, _ = found.rows()
    body = body_of(row)
    old = signed(found, row, body, "old")
    with found.runtime.database.transaction() as session:
        changing = session.get_one(Hook, row.id)
        make_keys(found.runtime, changing, changing.origin, with_signature=True)
    (row, _) = found.rows()

    before = [send(client, row, body, **headers).status_code for headers in (old, signed(found, row, body, "new"))]
    found.change(previous_until=utc_now() - timedelta(seconds=1))
    after = [
        send(client, row, body, **headers).status_code
        for headers in ({**old, "Idempotency_Key": "o"}, signed(found, row, body, "n"))
    ]

    assert (before, after) == ([200, 200], [401, 200])


def test_hook_that_moves_to_signatures_loses_nothing(found: Hooked, client: FlaskClient) -> None:
    row, _ = found.rows()
    body, token = body_of(row), key_of(found, row, "token_sealed")
    found.change(signed_from=utc_now() + timedelta(minutes=10))

    both = [
        send(client, row, body, X_Gitlab_Token=token, Idempotency_Key="t").status_code,
        send(client, row, body, **signed(found, row, body, "s")).status_code,
    ]
    found.change(signed_from=utc_now())
    late = send(client, row, body, X_Gitlab_Token=token, Idempotency_Key="u").status_code

    assert (both, late) == ([200, 200], 401)
    assert [item.verified_by for item in deliveries(found)] == ["token", "signature"]


def test_old_versions_without_keys_are_told_apart_by_their_contents(found: Hooked, client: FlaskClient) -> None:
    row, _ = found.rows()
    found.change(uses_signature=False)
    token = key_of(found, row, "token_sealed")
    bodies = [body_of(row), body_of(row, after="b" * 40), body_of(row)]

    answers = [send(client, row, body, X_Gitlab_Token=token).json for body in bodies]

    assert answers == [{"result": "stored"}, {"result": "stored"}, {"result": "known"}]


def test_first_delivery_verifies_a_hook_that_a_person_made(found: Hooked, client: FlaskClient) -> None:
    row, _ = found.rows()
    found.change(mode=Mode.BY_HAND, status=HookStatus.UNPROVED, gitlab_hook_id=None, uses_signature=False)
    body = body_of(row)

    send(client, row, body, X_Gitlab_Token=key_of(found, row, "token_sealed"))
    by_token = found.rows()[0]
    send(client, row, body, **signed(found, row, body))
    by_signature = found.rows()[0]

    assert (by_token.status, by_token.verified_by, by_token.uses_signature) == (HookStatus.ACTIVE, "token", False)
    assert (by_signature.verified_by, by_signature.uses_signature) == ("signature", True)


ODD = [
    (b"{", "poison", "no_json"),
    (b"[]", "poison", "no_json"),
    (b'{"object_kind": "push", "project_id": 999999}', "poison", "other_project"),
    (b'{"object_kind": "push", "project_id": "1"}', "poison", "other_project"),
    (b'{"object_kind": "push", "project_id": [1]}', "poison", "other_project"),
    (b'{"object_kind": "pipeline"}', "ignored", "unused"),
    (b'{"object_kind": "push"}', "ignored", "not_enabled"),
    (b'{"event_name": "project_rename"}', "ignored", "unused"),
    (b'{"event_name": "project_destroy", "project_id": 999999}', "poison", "other_project"),
]


def test_whatever_is_signed_is_answered_with_success_and_judged_later(found: Hooked, client: FlaskClient) -> None:
    row, _ = found.rows()
    reads = []

    for number, (body, verdict, effect) in enumerate(ODD):
        answer = send(client, row, body, name="Odd Hook", **signed(found, row, body, f"m{number}"))
        apply_batch(found.runtime)
        stored = deliveries(found)[-1]
        with found.runtime.database.reading() as session:
            reads.append(len(session.exec(select(Job).where(Job.name == "repositories.read_catalogue")).all()))
        assert (answer.status_code, stored.verdict, stored.effect) == (200, verdict, effect)

    assert reads == [0] * len(ODD)


def test_hook_of_a_project_moves_no_other_project(found: Hooked, client: FlaskClient) -> None:
    row, other = found.rows()
    body = json.dumps({**NOTE, "project_id": other.subject_id, "project": {"id": row.subject_id}}).encode()

    send(client, row, body, **signed(found, row, body))
    apply_batch(found.runtime)

    with found.runtime.database.reading() as session:
        mine, others = (session.get_one(Repository, one.repository_id).last_activity_at for one in (row, other))
    assert deliveries(found)[-1].gitlab_project_id == row.subject_id
    assert mine is not None
    assert others is not None
    assert mine > others


def test_five_related_events_have_the_same_result_in_every_order(found: Hooked) -> None:
    row, _ = found.rows()
    now = utc_now()
    about = {"project_id": row.subject_id}
    later = {"object_attributes": {"created_at": "2099-01-01T00:00:00Z"}}
    events = (
        {**NOTE, **about},
        {"object_kind": "issue", **later, **about},
        {"event_name": "project_rename", **about},
        {"event_name": "user_remove_from_team", **about},
        {"event_name": "project_destroy", **about},
    )
    sent = [(json.dumps(event).encode(), now + timedelta(seconds=number)) for number, event in enumerate(events)]
    results = set()
    for order in itertools.permutations(sent):
        with found.runtime.database.transaction() as session:
            session.exec(delete(Delivery))
            session.exec(delete(Job))
            session.get_one(Repository, row.repository_id).last_activity_at = now - timedelta(days=1)
            for body, at in order:
                values = {"connection_id": row.connection_id, "hook_id": row.id, "verified_by": "token"}
                values |= {"level": Level.SYSTEM}
                session.add(Delivery(key=str(at), received_at=at, body=_packed(body), **values))
        while apply_batch(found.runtime):
            pass
        with found.runtime.database.reading() as session:
            names = session.exec(select(Job.name)).all()
            verdicts = session.exec(select(Delivery.verdict).order_by(col(Delivery.received_at))).all()
            repository = session.get_one(Repository, row.repository_id)
            results.add((repository.last_activity_at, repository.missing_since, *names, *verdicts))

    # Nothing happened later than it was received.
    read = (READ_PROJECTS, Verdict.APPLIED, Verdict.APPLIED, *[Verdict.READING] * 3)
    assert results == {(sent[1][1], None, *read)}


def test_repository_is_read_alone_however_much_happened_in_it(
    found: Hooked, client: FlaskClient, sandbox: RunningSandbox
) -> None:
    row, _ = found.rows()
    with found.runtime.database.reading() as session:
        before = session.get_one(Repository, row.repository_id)
    sandbox.world.projects.change(row.subject_id, last_activity=int(AT.timestamp()))
    sandbox.requests.clear()

    answers = [send(client, row, body, **signed(found, row, body, str(body))) for body in _pushes(row, 5)]
    apply_batch(found.runtime)
    waiting = [item.verdict for item in deliveries(found)]
    run_pending(found.runtime)
    with found.runtime.database.reading() as session:
        after = session.get_one(Repository, row.repository_id)
    more = [send(client, row, body, **signed(found, row, body, str(body))) for body in _pushes(row, 7)]
    apply_batch(found.runtime)

    assert [answer.status_code for answer in answers + more] == [200] * 12
    assert waiting == [Verdict.READING] * 5
    assert (after.last_activity_at, after.access_level) == (AT, before.access_level)
    asked = [seen.path for seen in sandbox.requests.all("/api/v4/projects*")]
    assert asked == [f"/api/v4/projects/{row.subject_id}"]
    assert [item.effect for item in deliveries(found)] == ["project_read"] * 5 + ["recent"] * 2


def test_repository_that_is_gone_has_the_list_read(found: Hooked, client: FlaskClient, sandbox: RunningSandbox) -> None:
    row, _ = found.rows()
    sandbox.faults.add(f"/api/v4/projects/{row.subject_id}", status=404, body={"message": "404 Project Not Found"})
    (body,) = _pushes(row, 1)

    send(client, row, body, **signed(found, row, body))
    apply_batch(found.runtime)
    ended = run_pending(found.runtime)

    assert [item.effect for item in deliveries(found)] == ["project_gone"]
    assert [job.name for job in ended] == [READ_PROJECTS, READ_CATALOGUE]


def test_gitlab_that_does_not_answer_keeps_deliveries_until_the_last_attempt(
    found: Hooked, client: FlaskClient, sandbox: RunningSandbox
) -> None:
    row, _ = found.rows()
    sandbox.faults.add(f"/api/v4/projects/{row.subject_id}", status=502)
    (body,) = _pushes(row, 1)
    send(client, row, body, **signed(found, row, body))
    apply_batch(found.runtime)
    kept = has_work(found.runtime)
    ended = run_pending(found.runtime)

    assert {job.name for job in ended} == {READ_PROJECTS}
    assert not kept
    assert [item.effect for item in deliveries(found)] == ["project_unread"]
    assert not has_work(found.runtime)


def test_flood_of_one_hook_is_answered_with_success_and_read_from_gitlab(
    found: Hooked, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PER_MINUTE, Level.PROJECT, 3)
    with found.runtime.database.transaction() as session:
        for hook in session.exec(select(Hook)):
            make_keys(found.runtime, hook, found.rows()[0].origin, with_signature=True)
    row, other = found.rows()
    results = []
    for _ in range(2):
        for one, count in ((row, 6), (other, 1)):
            for _ in range(count):
                body = body_of(one)
                answer = send(client, one, body, **signed(found, one, body, f"m{len(results)}"))
                results.append((answer.status_code, (answer.json or {}).get("result")))
        apply_batch(found.runtime)
    rows = [item for item in deliveries(found) if item.key.startswith("coalesced:")]

    words = [*["stored"] * 3, *["coalesced"] * 3, "stored", *["coalesced"] * 6, "stored"]
    assert results == [(200, word) for word in words]
    assert [(item.hook_id, item.verdict, item.gitlab_project_id) for item in rows] == [
        (row.id, Verdict.READING, row.subject_id)
    ]


def _pushes(row: Hook, count: int) -> list[bytes]:
    return [json.dumps({**PUSH, "project_id": row.subject_id, "after": f"{n:040}"}).encode() for n in range(count)]


def _packed(body: bytes) -> bytes:
    return zlib.compress(body)


def test_page_lists_what_came_and_what_it_changed(
    found: Hooked, client: FlaskClient, owner: Visitor, lead: Visitor
) -> None:
    row, other = found.rows()
    body = body_of(row)
    send(client, row, body, **signed(found, row, body))
    apply_batch(found.runtime)

    page = "/connections/gitlab/webhooks/deliveries"
    shown = owner.get(page).text

    assert "</strong> comment" in shown
    assert "The repository&#39;s last activity is up to date" in shown
    assert "Today · 1 received" in shown
    assert "</strong> comment" in owner.get(f"{page}?hook={row.id}").text
    assert "Nothing was delivered yet" in owner.get(f"{page}?hook={other.id}").text
    assert "</strong> comment" not in lead.get(page).text
    assert lead.get(f"{page}?hook={row.id}").status_code == 404
    assert lead.get(f"{page}/{deliveries(found)[0].id}").status_code == 404


def test_refused_deliveries_are_counted_by_hour_and_reason_and_their_contents_are_not_kept(
    found: Hooked, client: FlaskClient, owner: Visitor, lead: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.webhooks.intake.COUNTED_ONE_BY_ONE", 2)
    row, other = found.rows()
    body = body_of(row)
    wrong = {**signed(found, row, body), "webhook_signature": "v1,AAAA"}
    for _ in range(5):
        send(client, row, body, **wrong)
    send(client, row, body, X_Gitlab_Token="not-it")
    send(client, other, body)
    send(client, other, b"a=1", kind="application/x-www-form-urlencoded")
    send(client, other, b"x" * (MAX_BODY_BYTES + 1))
    send(client, Hook(connection_id=0, public_id="A" * 32), b"x" * (MAX_BODY_BYTES + 1))
    with found.runtime.database.reading() as session:
        counted = session.exec(select(DeliveryCount).order_by(col(DeliveryCount.id))).all()

    page = "/connections/gitlab/webhooks/deliveries"
    shown = owner.get(page).text
    assert [(item.hook_id, item.outcome, item.number) for item in counted] == [
        # Beyond a limit they are counted in steps, so that a flood writes little: the fifth waits for the sixth.
        (row.id, Outcome.WRONG_SIGNATURE, 4),
        (row.id, Outcome.NO_SIGNATURE, 1),
        (other.id, Outcome.NO_SECRET, 1),
        (other.id, Outcome.NOT_JSON, 1),
        (other.id, Outcome.TOO_LARGE, 1),
    ]
    assert counted[0].first_at < counted[0].last_at
    assert deliveries(found) == []
    assert "Today · 0 received, 8 refused" in shown
    assert "4 unproved deliveries" in shown
    assert "It carried neither a signature nor a secret token" in shown
    assert owner.get(f"{page}?hook={row.id}").text.count("shield-x") == 2
    assert owner.get(f"{page}?verdict=refused&since=day").text.count("shield-x") == 5
    assert "Nothing matches" in owner.get(f"{page}?verdict=applied").text
    assert "shield-x" not in lead.get(page).text
    send(client, row, body, **signed(found, row, body))
    apply_batch(found.runtime)
    hooks = owner.get("/connections/gitlab/webhooks").text
    assert 'aria-label="1 received, 5 refused in 24 hours"' in hooks
    assert 'aria-label="0 received, 3 refused in 24 hours"' in hooks
    assert "1 received,\n          8 refused." in hooks
    assert "refused in 24 hours" not in lead.get("/connections/gitlab/webhooks").text
