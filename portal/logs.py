"""JSON lines on standard error, in UTC, with the request id, and without secrets.

Secrets are removed by value (the vault registers every live one), because GitLab's OAuth tokens are plain hexadecimal
and match no pattern.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from structlog.types import EventDict, WrappedLogger

from portal.redaction import redact
from portal.requestinfo import current_request_info

MAX_TEXT = 2000
MAX_DEPTH = 10
SECRET_NAMES = ("secret", "token", "password", "authorization", "cookie", "verifier")


def configure_logs(level: str = "INFO") -> None:
    """Send structlog and the standard library's loggers through the same pipeline, once per process."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _redact,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("httpcore2", "httpx2", "sqlalchemy", "alembic", "dbos"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger; call it with an event name and keyword values (`log.info("job_started", job_id=3)`)."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def _add_request(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    info = current_request_info()
    if info.request_id != "-":
        event.setdefault("request_id", info.request_id)
    return event


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: _clean(key, value) for key, value in event.items()}


def _clean(key: str, value: Any, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        return "…"  # Whatever is logged, logging it never fails.
    if any(name in key.lower() for name in SECRET_NAMES):
        return "***"
    if isinstance(value, (int, float, bool, type(None))):
        return value
    if isinstance(value, dict):
        return {str(name): _clean(str(name), item, depth + 1) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(key, item, depth + 1) for item in value]
    if key == "exception":
        return redact(str(value))
    # A partial secret that is cut off here is recognised as well.
    return redact(str(value)[: MAX_TEXT * 4])[:MAX_TEXT]
