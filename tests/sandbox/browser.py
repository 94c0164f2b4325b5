"""A person without JavaScript: follows links, reads forms and presses their buttons over real HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from types import TracebackType
from typing import Self
from urllib.parse import urljoin

import httpx2


@dataclass
class Form:
    """One form of a page; `values` are (name, value) pairs as a browser would send them unchanged."""

    action: str
    values: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[str] = field(default_factory=list)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._in_button = False
        self._textarea = ""
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(values["action"]))
        elif tag == "input" and self.forms and "name" in values:
            if values.get("type") not in ("checkbox", "radio") or "checked" in values:
                self.forms[-1].values.append((values["name"], values.get("value", "")))
        elif tag == "option" and "selected" in values:
            self.forms[-1].values.append((self._select, values["value"]))
        self._select = values.get("name", "") if tag == "select" else self._select
        self._textarea = values.get("name", "") if tag == "textarea" else ""
        self._in_button = tag == "button"

    def handle_endtag(self, tag: str) -> None:
        self._in_button = self._in_button and tag != "button"
        self._textarea = self._textarea if tag != "textarea" else ""

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.forms[-1].values.append((self._textarea, data))
        elif self._in_button and self.forms and data.strip():
            self.forms[-1].buttons.append(data.strip())


class Person:
    """One browser with its cookies; redirects are not followed unless asked."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.client = httpx2.Client(trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()

    def get(self, path: str, **query: str) -> httpx2.Response:
        return self.client.get(path if path.startswith("http") else self.base + path, params=query or None)

    def press(self, page: httpx2.Response, button: str, **fields: str | list[str] | None) -> httpx2.Response:
        """Send the form that has this button, with `fields` replaced (None leaves one out)."""
        parser = _Page()
        parser.feed(page.text)
        form = next(form for form in parser.forms if button in form.buttons)
        values = [(name, value) for name, value in form.values if name not in fields]
        for name, value in fields.items():
            values += [(name, item) for item in ([value] if isinstance(value, str) else value or [])]
        body: dict[str, list[str]] = {}
        for name, item in values:
            body.setdefault(name, []).append(item)
        return self.client.post(urljoin(str(page.url), form.action), data=body)

    def follow(self, answer: httpx2.Response) -> httpx2.Response:
        """Get where a redirect points."""
        assert answer.status_code in (302, 303), answer.text
        return self.client.get(urljoin(str(answer.url), answer.headers["Location"]))

    def sign_in(self, username: str) -> httpx2.Response:
        """Use the one-click button of the sign-in page; return the answer to it."""
        page = self.get("/users/sign_in")
        return self.press(page, f"Sign in as {username}")
