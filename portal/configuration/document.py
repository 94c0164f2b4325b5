"""The file: what it may say, and everything that is wrong with it, each with its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from portal.connections.models import Method
from portal.db import MAX_ID
from portal.gitlab.identification import Service
from portal.repositories.rules import ARCHIVED, MAX_RULES, MONTHS, VISIBILITIES, Action, Rule, clean_pattern

VERSION = 1
EXCLUSIVE = ("grants", "enabled")
ADDRESS = ("url", "api_url", "ca_certificate", "proxy", "proxy_exceptions")
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_TABLE = re.compile(r"\s*\[\[\s*connection\s*\]\]")
_KEY = re.compile(r"\s*\"?([\w-]+)\"?\s*=\s*(.*)")
_LINE = re.compile(r"at line (\d+)")
_TYPES = {str: "text in quotes", bool: "true or false", int: "a whole number", list: "a list", dict: "a table"}
_CONNECTION: dict[str, type] = {
    **{"slug": str, "name": str, "method": str, "services": list, "webhooks": bool, "service_user": str},
    **dict.fromkeys(ADDRESS, str),
    **{"rules": list, "grants": list, "enabled": list, "disabled": list, "exclusive": list},
}
_RULE: dict[str, type] = {"action": str, "path": str, "visibility": str, "active_months": int, "archived": str}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the file; line 0 if it is about no line."""

    line: int
    key: str
    sentence: str

    def __str__(self) -> str:
        return f"{f'line {self.line}, ' if self.line else ''}{self.key}: {self.sentence}"


@dataclass(frozen=True)
class Named:
    """A group or repository: GitLab's id says which, the path is for people, and stands in for an id left out.

    `services` are those that are on for an enabled repository; None if the file doesn't say.
    """

    id: int | None
    path: str
    key: tuple[Any, ...]
    lead: str = ""
    services: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """What people read."""
        return self.path or f"id {self.id}"


@dataclass
class Desired:
    """One connection of the file; `values` has only the keys that are there, since all others are left alone."""

    number: int
    slug: str
    values: dict[str, Any] = field(default_factory=dict)

    def named(self, key: str) -> list[Named]:
        """The groups or repositories under a key."""
        found: list[Named] = self.values.get(key, [])
        return found


class Document:
    """A file that has been read. `problems` grows while it is compared with what is stored."""

    def __init__(self, text: str) -> None:
        self.connections: list[Desired] = []
        self.problems: list[Problem] = []
        self._lines = _lines_of(text)
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            found = _LINE.search(str(error))
            self.problems.append(Problem(int(found[1]) if found else 0, "file", f"This is not valid TOML: {error}."))
            return
        self._read(data)

    def refuse(self, key: tuple[Any, ...], sentence: str) -> None:
        """Add a problem; `key` is the number of the connection, the name, and the place in a list."""
        line = next((self._lines[key[:end]] for end in range(len(key), 0, -1) if key[:end] in self._lines), 0)
        number, *rest = key if isinstance(key[0], int) else (-1, *key)
        names = [f"connection {number + 1}"] if number >= 0 else []
        names += [str(part + 1) if isinstance(part, int) else part for part in rest]
        self.problems.append(Problem(line, " ".join(names), sentence))

    def _read(self, data: dict[str, Any]) -> None:
        for name in data.keys() - {"version", "connection"}:
            self.refuse((-1, name), "There is no such key.")
        if data.get("version") != VERSION or isinstance(data["version"], bool):
            self.refuse((-1, "version"), f"Write version = {VERSION}: this Gatehouse reads no other.")
        tables = data.get("connection", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self.refuse((-1, "connection"), "Begin each connection with [[connection]].")
            return
        seen: set[str] = set()
        for number, table in enumerate(tables):
            values = self._typed((number,), table, _CONNECTION)
            slug = values.get("slug", "")
            if not _SLUG.fullmatch(slug) or slug == "new":
                self.refuse((number, "slug"), "Each connection needs a slug: lower-case letters, digits and dashes.")
            elif slug in seen:
                self.refuse((number, "slug"), f"“{slug}” is in the file twice.")
            seen.add(slug)
            self.connections.append(Desired(number, slug, self._checked(number, values)))

    def _checked(self, number: int, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("method", Method.OAUTH) not in set(Method):
            self.refuse((number, "method"), f"Write one of {', '.join(Method)}.")
        for key, allowed in (("services", tuple(Service)), ("exclusive", EXCLUSIVE)):
            if any(value not in allowed for value in values.get(key, [])):
                self.refuse((number, key), f"Only these may be in the list: {', '.join(allowed)}.")
        for key in EXCLUSIVE:
            if key in values.get("exclusive", []) and key not in values:
                self.refuse((number, "exclusive"), f"Write {key} = [] as well, if no {key} should be left.")
        if values.get("services") == []:
            self.refuse((number, "services"), "Choose at least one.")
        checked = dict(values)
        if "rules" in values:
            checked["rules"] = self._each((number, "rules"), values["rules"], self._rule)
            if len(values["rules"]) > MAX_RULES:
                self.refuse((number, "rules"), f"A connection has at most {MAX_RULES} rules.")
        for key in ("grants", "enabled", "disabled"):
            if key in values:
                checked[key] = self._each((number, key), values[key], self._named)
        return checked

    def _each(self, key: tuple[Any, ...], entries: list[Any], read: Callable[[tuple[Any, ...], Any], Any]) -> list[Any]:
        found = []
        for place, entry in enumerate(entries):
            if isinstance(entry, dict):
                found.append(read((*key, place), entry))
            else:
                self.refuse((*key, place), 'Write a table, such as { path = "platform/**" }.')
        return found

    def _rule(self, key: tuple[Any, ...], entry: dict[str, Any]) -> Rule:
        values = self._typed(key, entry, _RULE)
        choices = {"action": tuple(Action), "visibility": VISIBILITIES, "active_months": MONTHS, "archived": ARCHIVED}
        for name, allowed in choices.items():
            if name in values and values[name] not in allowed:
                words = ", ".join(str(value) for value in allowed if value != "")
                self.refuse((*key, name), f"{values[name]!r} is none of {words}.")
        values["pattern"] = clean_pattern(values.pop("path", ""))
        rule = Rule(**values)
        if rule.problem:
            self.refuse((*key, "path"), rule.problem)
        return rule

    def _named(self, key: tuple[Any, ...], entry: dict[str, Any]) -> Named:
        expected: dict[str, type] = {"id": int, "path": str}
        if key[1] == "grants":
            expected["lead"] = str
        if key[1] == "enabled":
            expected["services"] = list
        values = self._typed(key, entry, expected)
        if not 0 < values.get("id", 1) <= MAX_ID:
            self.refuse((*key, "id"), "GitLab's ids are numbers from 1.")
            del values["id"]
        elif not {"id", "path"} & entry.keys():
            self.refuse(key, "Write GitLab's id, its path, or both.")
        if "lead" in expected and "lead" not in entry:
            self.refuse((*key, "lead"), "Write the team lead's e-mail address.")
        services = values.get("services")
        if services is not None and (not services or any(name not in tuple(Service) for name in services)):
            self.refuse((*key, "services"), f"Write at least one of {', '.join(Service)}, or leave the key out.")
            services = None
        lead = values.get("lead", "").strip().lower()
        chosen = None if services is None else tuple(services)
        return Named(values.get("id"), values.get("path", "").strip("/"), key, lead, chosen)

    def _typed(self, key: tuple[Any, ...], table: dict[str, Any], expected: dict[str, type]) -> dict[str, Any]:
        found = {}
        for name, value in table.items():
            if name not in expected:
                self.refuse((*key, name), f"There is no such key. Known are {', '.join(expected)}.")
            elif type(value) is not expected[name]:
                self.refuse((*key, name), f"This must be {_TYPES[expected[name]]}.")
            else:
                found[name] = value
        return found


def _lines_of(text: str) -> dict[tuple[Any, ...], int]:
    """Return the line of each connection, key, and entry that begins a line: the parser does not keep them."""
    found: dict[tuple[Any, ...], int] = {}
    number, name, place, end = -1, "", 0, ""
    for at, line in enumerate(text.splitlines(), 1):
        if end:
            # Inside a text of several lines.
            end = "" if end in line else end
        elif _TABLE.match(line):
            number, name = number + 1, ""
            found[number,] = at
        elif name:
            if line.lstrip().startswith("{"):
                found[number, name, place] = at
                place += 1
            elif line.lstrip().startswith("]"):
                name = ""
        elif key := _KEY.match(line):
            found.setdefault((number, key[1]), at)
            end = next((mark for mark in ('"""', "'''") if key[2].count(mark) == 1), "")
            if key[2].startswith("[") and "]" not in key[2]:
                name, place = key[1], 0
    return found
