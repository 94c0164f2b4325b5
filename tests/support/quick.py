"""What makes a test's application quick to build: each test has its own, and all of them are alike."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask
from flask.templating import Environment
from werkzeug.routing import Rule

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
