"""What a browser may not do while a test runs: blocked content, foreign addresses, failing scripts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Page, Request, WebError

OWN_HOSTS = {"127.0.0.1", "localhost"}
POLICY_LISTENER = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI} at ${event.sourceFile}:${event.lineNumber}`));
"""
_FAILED = re.compile(r"Failed to load resource: the server responded with a status of (\d{3})")

_CUT_OFF = re.compile(r"net::ERR_INTERNET_DISCONNECTED|htmx:error: Failed to fetch")


class Watch:
    """Collects forbidden events; a test names the refusals it provokes with `expect_status`."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._expected: set[int] = set()
        self._is_cut_off = False
        self._refusals: list[tuple[int, str]] = []

    def attach(self, context: BrowserContext) -> None:
        """Watch every tab of a browser profile, including those opened later."""
        for event, handler in self._handlers():
            context.on(event, handler)

    def detach(self, context: BrowserContext) -> None:
        """Leave a browser profile to the next test."""
        for event, handler in self._handlers():
            context.remove_listener(event, handler)

    def _handlers(self) -> tuple[tuple[Any, Callable[..., None]], ...]:
        return (
            ("console", self._on_console),
            ("weberror", self._on_error),
            ("request", self._on_request),
            ("page", self._on_page),
        )

    def expect_status(self, *statuses: int) -> None:
        """Allow answers with these statuses, which the browser itself reports as errors."""
        self._expected.update(statuses)

    def expect_cut_off(self) -> None:
        """Allow requests that do not reach the portal, and htmx's messages about them."""
        self._is_cut_off = True

    def findings(self) -> list[str]:
        """Return everything that should not have happened."""
        refused = [f"status {status} from {where}" for status, where in self._refusals if status not in self._expected]
        return self.problems + refused

    def _on_page(self, page: Page) -> None:
        page.on("dialog", self._on_dialog)

    def _on_dialog(self, dialog: Dialog) -> None:
        self.problems.append(f"dialog {dialog.message!r}")
        dialog.dismiss()

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type != "error":
            return
        if found := _FAILED.search(message.text):
            self._refusals.append((int(found.group(1)), str(message.location.get("url", ""))))
        elif not (self._is_cut_off and _CUT_OFF.search(message.text)):
            self.problems.append(f"console: {message.text}")

    def _on_error(self, error: WebError) -> None:
        self.problems.append(f"script: {error.error}")

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in OWN_HOSTS:
            self.problems.append(f"foreign request {request.url}")
