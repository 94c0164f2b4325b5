"""What makes a test's application quick to build: each test has its own, and all of them are alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.templating import Environment
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from werkzeug.routing import Rule

Builder = Callable[..., tuple[str, str]]


class KeptTemplates(BytecodeCache):
    """Templates stay compiled from one application to the next."""

    def __init__(self) -> None:
        self._codes: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Use what was compiled before; a changed template has another checksum and is refused."""
        if code := self._codes.get(bucket.key):
            bucket.bytecode_from_string(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep it."""
        self._codes[bucket.key] = bucket.bytecode_to_string()


_templates = KeptTemplates()


class QuickEnvironment(Environment):
    """Compiling its templates again would take longer than most tests."""

    def __init__(self, app: Flask, **options: Any) -> None:
        super().__init__(app, **{"bytecode_cache": _templates, **options})


def keep_builders(compile_builder: Callable[[Rule, bool], Builder]) -> Callable[..., Builder]:
    """Return werkzeug's route compiler with a cache: its result depends only on a rule's text and defaults."""
    built: dict[tuple[object, ...], Builder] = {}

    def kept(rule: Rule, append_unknown: bool = True) -> Builder:
        key = (rule.rule, rule.merge_slashes, str(rule.defaults), append_unknown)
        if key not in built:
            built[key] = compile_builder(rule, append_unknown)
        return built[key]

    return kept
