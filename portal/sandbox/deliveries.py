"""Sends deliveries of hooks as GitLab does: background workers for what happens, the caller's thread for tests.

https://docs.gitlab.com/user/project/integrations/webhooks/, app/services/web_hook_service.rb. Unlike a GitLab, the
sandbox only ever connects to this machine: every other receiver is out of its reach.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import json
import queue
import re
import ssl
import threading
import time
import uuid
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from portal.sandbox.api.hook_urls import blocked_because
from portal.sandbox.hooks import Hook, LoggedDelivery
from portal.sandbox.profiles import has

if TYPE_CHECKING:
    from portal.sandbox.world import World

WORKERS = 8
MAX_BODY_BYTES = 25 * 1024 * 1024
LOGGED_BODY_BYTES = 8192
REDACTED = "[REDACTED]"
INTERNAL_ERROR = "internal error"
# Both failures in a row that GitLab still forgives, and the one after which it never tries again.
FORGIVEN, LAST_FAILURE = 3, 39
FIRST_BACKOFF, LONGEST_BACKOFF = timedelta(minutes=1), timedelta(days=1)
AUTO_DISABLING = ((15, 0), (15, 10))
SECRET_HEADERS = ("X-Gitlab-Token", "webhook-signature")
TEMPLATE_FIELD = re.compile(r"{{(.+?)}}")
SIGNING_TOKEN = re.compile(r"whsec_[A-Za-z0-9+/]{43}=")

Order = Literal["sent", "reversed"]


@dataclass(frozen=True)
class Delivery:
    """One delivery to one hook, waiting for a worker.

    `key` stays the same when it is sent again; `uuid` is of the event at this hook: another hook gets another one.
    """

    hook: Hook
    trigger: str
    body: dict[str, Any]
    key: str
    uuid: str


@dataclass(frozen=True)
class Outcome:
    """What GitLab knows after sending: `status` is None if there was no answer, then `message` says why."""

    status: int | None
    message: str


class Deliveries:
    """The queue and its workers; they start with the first delivery."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._queue: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._pending = 0
        self._held: list[Delivery] = []
        self._last_logged = 0
        self._stopping = threading.Event()

    def enqueue(self, hooks: list[Hook], trigger: str, body: dict[str, Any]) -> None:
        """Leave one delivery for each hook to the workers; in Silent Mode, and for disabled hooks, there is none."""
        world = self._world
        for hook in hooks:
            if world.settings.silent_mode or not self.is_executable(hook) or world.use_up("lose_hooks"):
                continue
            delivery = Delivery(hook, trigger, body, str(uuid.uuid4()), str(uuid.uuid4()))
            if world.settings.hold_hooks:
                with self._changed:
                    self._held.append(delivery)
            else:
                self._hand_over([delivery])

    def release(self, order: Order = "sent") -> int:
        """Send what was held back, in this order and no longer hold anything; return how many there were."""
        self._world.settings.hold_hooks = False
        with self._changed:
            held, self._held = self._held, []
        self._hand_over(held if order == "sent" else held[::-1])
        return len(held)

    @property
    def held(self) -> int:
        """How many are held back."""
        return len(self._held)

    def wait(self, timeout_seconds: float = 30.0) -> bool:
        """Wait until the workers have sent everything that is not held back; return whether they have."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._pending, timeout_seconds)

    def stop(self) -> None:
        """End the workers after what they are sending; the rest is lost, as with a GitLab that is shut down."""
        self._stopping.set()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(self._world.settings.hook_timeout_seconds)

    def _hand_over(self, deliveries: list[Delivery]) -> None:
        deliveries = deliveries * self._world.settings.hook_copies
        with self._changed:
            self._pending += len(deliveries)
            while deliveries and len(self._threads) < WORKERS and not self._stopping.is_set():
                thread = threading.Thread(target=self._work, daemon=True)
                self._threads.append(thread)
                thread.start()
        for delivery in deliveries:
            self._queue.put(delivery)

    def _work(self) -> None:
        while (delivery := self._queue.get()) is not None and not self._stopping.is_set():
            try:
                if not self._stopping.wait(self._world.settings.hook_delay_seconds):
                    self.send(delivery, cut_off=self._world.settings.hook_workers_cut_off)
            finally:
                with self._changed:
                    self._pending -= 1
                    self._changed.notify_all()

    # Sending

    def test(self, hook: Hook, trigger: str, body: dict[str, Any]) -> Outcome:
        """Send now, whether the hook is disabled or not; the caller waits."""
        delivery = Delivery(hook, trigger, body, str(uuid.uuid4()), str(uuid.uuid4()))
        return self.send(delivery, cut_off=self._world.settings.hook_tests_cut_off)

    def resend(self, hook: Hook, logged: LoggedDelivery) -> Outcome:
        """Send a logged delivery again with its key; impossible if the hook has another URL now, or is disabled."""
        if logged.url != hook.url:
            return Outcome(None, "The hook URL has changed, and this log entry cannot be retried")
        if not self.is_executable(hook):
            return Outcome(None, "Hook disabled")
        again = Delivery(hook, logged.trigger, logged.request_data, logged.key, str(uuid.uuid4()))
        return self.send(again, cut_off=self._world.settings.hook_tests_cut_off)

    def send(self, delivery: Delivery, *, cut_off: bool = False) -> Outcome:
        """Send one delivery and log the outcome."""
        if self._world.settings.silent_mode:
            return Outcome(None, "Silent mode enabled")
        hook, started_at = delivery.hook, time.perf_counter()
        url, headers = interpolated(hook), self._headers(delivery)
        answered: dict[str, str] = {}
        status, text = INTERNAL_ERROR, ""
        outcome: Outcome
        try:
            body = _rendered(hook, delivery.body)
            reason = blocked_because(url, self._world.settings, system=hook.level == "system")
            if reason:
                raise OSError(f"URL is blocked: {reason}")
            if cut_off:
                raise OSError(f"Failed to open TCP connection to {urlsplit(url).netloc} (execution expired)")
            code, answered, text = self._post(hook, url, headers | self._signature(delivery, headers, body), body)
            status, outcome = str(code), Outcome(code, text)
        except (OSError, HTTPException, ValueError) as error:
            outcome = Outcome(None, str(error) or type(error).__name__)
        shown = headers | self._signature(delivery, headers, b"")
        shown |= {name: REDACTED for name in (*SECRET_HEADERS, *_custom_headers(hook)) if name in shown}
        duration = time.perf_counter() - started_at
        with self._changed:
            self._last_logged += 1
            logged = LoggedDelivery(
                *(self._last_logged, self._world.now(), hook.url, delivery.trigger, delivery.key, shown),
                *(delivery.body, status, answered, text, duration),
            )
            hook.log.append(logged)
            self._count(hook, outcome.status)
        return outcome

    def _headers(self, delivery: Delivery) -> dict[str, str]:
        world, hook = self._world, delivery.hook
        kind = "system_hooks" if hook.level == "system" else delivery.trigger
        headers = _custom_headers(hook) | {
            "Content-Type": "application/json",
            "User-Agent": f"GitLab/{world.settings.version_text}",
            "X-Gitlab-Event": kind.removesuffix("s").replace("_", " ").title(),
        }
        if hook.token:
            headers["X-Gitlab-Token"] = hook.token.replace("\r", "").replace("\n", "")
        if has(world, "event_uuid"):
            headers["X-Gitlab-Event-UUID"] = delivery.uuid
        if has(world, "instance_header"):
            headers["X-Gitlab-Instance"] = world.settings.external_url
        if has(world, "webhook_uuid"):
            # One for each attempt, although GitLab's documentation says one for each hook.
            headers["X-Gitlab-Webhook-UUID"] = str(uuid.uuid4())
        if has(world, "idempotency_key"):
            headers["Idempotency-Key"] = delivery.key
        if has(world, "signing_token"):
            headers |= {"webhook-id": delivery.key, "webhook-timestamp": str(int(world.now().timestamp()))}
        return headers

    def _signature(self, delivery: Delivery, headers: dict[str, str], body: bytes) -> dict[str, str]:
        """Return the header of Standard Webhooks; only hooks with a signing token have it."""
        token = delivery.hook.signing_token
        if not token or "webhook-timestamp" not in headers:
            return {}
        signed = f"{delivery.key}.{headers['webhook-timestamp']}.".encode() + body
        digest = hmac.digest(base64.b64decode(token.removeprefix("whsec_")), signed, hashlib.sha256)
        return {"webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}

    def _post(self, hook: Hook, url: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], str]:
        if len(body) > MAX_BODY_BYTES:
            raise ValueError("The JSON payload is too large")
        parts = urlsplit(url)
        host = _loopback(self._world.settings.resolver.get(parts.hostname or "", parts.hostname or ""))
        timeout = self._world.settings.hook_timeout_seconds
        connection: HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context()
            if not hook.enable_ssl_verification:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = HTTPSConnection(host, parts.port, timeout=timeout, context=context)
        else:
            connection = HTTPConnection(host, parts.port, timeout=timeout)
        if parts.username:
            pair = f"{parts.username}:{parts.password or ''}".encode()
            headers = headers | {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        with closing(connection):
            connection.request("POST", target, body, headers | {"Host": parts.netloc.rpartition("@")[2]})
            answer: HTTPResponse = connection.getresponse()
            text = answer.read(LOGGED_BODY_BYTES).decode(errors="replace")
            return answer.status, {name.title(): value for name, value in answer.getheaders()}, text

    # Switching off hooks that keep failing

    def _disables(self, hook: Hook) -> bool:
        told, (since, until) = self._world.settings.auto_disable_hooks, AUTO_DISABLING
        if hook.level == "system" or not has(self._world, "alert_status"):
            return False
        return since <= self._world.release < until if told is None else told

    def alert_status(self, hook: Hook) -> str:
        """Return GitLab's word for whether it sends to this hook."""
        if not self._disables(hook):
            return "executable"
        if hook.failures > LAST_FAILURE:
            return "disabled"
        waits = hook.disabled_until is not None and hook.disabled_until >= self._world.now()
        return "temporarily_disabled" if waits and hook.failures > FORGIVEN else "executable"

    def is_executable(self, hook: Hook) -> bool:
        """Return whether what happens is sent to this hook."""
        return self.alert_status(hook) == "executable"

    def _count(self, hook: Hook, status: int | None) -> None:
        if not self._disables(hook):
            return
        if status is not None and 200 <= status < 400:
            hook.failures, hook.disabled_until = 0, None
        elif self.is_executable(hook):
            hook.failures = min(hook.failures + 1, LAST_FAILURE + 1)
            if hook.failures <= FORGIVEN:
                return
            if not has(self._world, "one_rule_for_failing_hooks") and status is not None and status < 500:
                # The fourth answer in a row that blames GitLab's request ended a hook for good.
                hook.failures = LAST_FAILURE + 1
            backoff = min(FIRST_BACKOFF * 2 ** (hook.failures - FORGIVEN - 1), LONGEST_BACKOFF)
            hook.disabled_until = self._world.now() + backoff


def _loopback(host: str) -> str:
    """Return where to connect for a host of this machine. Raises OSError for every other one."""
    if host == "localhost" or host.endswith(".localhost"):
        return "localhost"
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise OSError(f"Failed to open TCP connection to {host} (the sandbox only reaches this machine)")


def is_signing_token(text: str) -> bool:
    """Return whether GitLab accepts a signing token: `whsec_` and 32 bytes in Base64."""
    try:
        return bool(SIGNING_TOKEN.fullmatch(text)) and len(base64.b64decode(text[6:], validate=True)) == 32
    except binascii.Error:
        return False


def interpolated(hook: Hook) -> str:
    """Return the URL with the values of its variables."""
    url = hook.url
    for row in hook.details.get("url_variables") or []:
        url = url.replace(f"{{{row['key']}}}", str(row["value"]))
    return url


def _custom_headers(hook: Hook) -> dict[str, str]:
    return {str(row["key"]): str(row["value"]) for row in hook.details.get("custom_headers") or []}


def _rendered(hook: Hook, body: dict[str, Any]) -> bytes:
    """Return the body as it is sent. Raises ValueError for a template that does not make JSON."""
    template = hook.details.get("custom_webhook_template")
    if not template:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()

    def value(found: re.Match[str]) -> str:
        told: Any = body
        for name in found[1].strip().split("."):
            told = told.get(name) if isinstance(told, dict) else None
        return json.dumps(told)[1:-1] if isinstance(told, str) else json.dumps(told)

    try:
        return json.dumps(json.loads(TEMPLATE_FIELD.sub(value, str(template)))).encode()
    except ValueError as error:
        raise ValueError(f"Error while parsing rendered custom webhook template: {error}") from error
