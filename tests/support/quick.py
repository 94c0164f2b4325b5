"""What makes a test's application quick to build: each test has its own, and all of them are alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from flask import Flask
from flask.templating import Environment
from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache
from werkzeug.routing import BaseConverter, Rule
from werkzeug.routing.rules import RulePart

Builder = Callable[..., tuple[str, str]]


def keep_environments(create: Callable[[Flask], Environment]) -> Callable[[Flask], Environment]:
    """Return Flask's factory of template environments with a cache: loading templates takes longer than most tests.

    Applications with the same name have the same templates and give them the same functions, which find the
    application through the request.
    """
    kept: dict[tuple[object, ...], Environment] = {}

    def kept_environment(app: Flask) -> Environment:
        key = (app.import_name, app.template_folder, str(app.jinja_options))
        if key not in kept:
            kept[key] = create(app)
        return kept[key]

    return kept_environment


def keep_builders(compile_builder: Callable[[Rule, bool], Builder]) -> Callable[..., Builder]:
    """Return werkzeug's route compiler with a cache: its result depends only on a rule's text and defaults."""
    built: dict[tuple[object, ...], Builder] = {}

    def kept(rule: Rule, append_unknown: bool = True) -> Builder:
        key = (rule.rule, rule.merge_slashes, str(rule.defaults), append_unknown)
        if key not in built:
            built[key] = compile_builder(rule, append_unknown)
        return built[key]

    return kept


def keep_parts(parse: Callable[[Rule, str], Iterable[RulePart]]) -> Callable[[Rule, str], Iterable[RulePart]]:
    """Return werkzeug's parser of addresses with a cache: the same text has the same parts in every application."""
    parsed: dict[str, tuple[list[RulePart], list[tuple[bool, str]], dict[str, BaseConverter]]] = {}

    def kept(rule: Rule, text: str) -> list[RulePart]:
        if text not in parsed:
            before = len(rule._trace)
            parsed[text] = list(parse(rule, text)), rule._trace[before:], dict(rule._converters)
            return parsed[text][0]
        parts, trace, converters = parsed[text]
        rule._trace += trace
        rule._converters |= converters
        rule.arguments |= converters.keys()
        return parts

    return kept


def share_statements(patch: pytest.MonkeyPatch) -> None:
    """Have the engines of one kind of database share what SQLAlchemy compiled: each test has its own."""
    compiled: LRUCache[Any, Any] = LRUCache(2000)
    patch.setattr(Engine, "_compiled_cache", property(lambda _: compiled, lambda _, own: None), raising=False)
    for kind in (SQLiteDialect_pysqlite, PGDialect_psycopg):
        # A dialect is part of what a statement is found by; those of a kind compile it alike.
        patch.setattr(kind, "__hash__", lambda dialect: hash(type(dialect)))
        patch.setattr(kind, "__eq__", lambda dialect, other: type(dialect) is type(other))
