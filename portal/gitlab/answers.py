"""Read one answer of GitLab: the value, or the failure that its status, headers and body mean."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from portal.foreign import Words
from portal.gitlab import errors
from portal.net import Answer
from portal.net.json_reader import JSONRefused, read_json
from portal.net.retry import read_retry_after

T = TypeVar("T")
# GitLab's texts for a dead token are told apart by their second word only (§5.1).
_TOKEN_REASONS = {"expired": "expired", "revoked": "revoked", "impersonation": "impersonation_disabled"}


def read_answer(answer: Answer, shape: type[T], *, ok: tuple[int, ...] = (200,)) -> T:
    """Return the decoded body.

    Raises:
        GitLabError: the failure that the answer means.
    """
    if answer.status not in ok:
        raise failure_of(answer)
    try:
        return read_json(answer.content, answer.headers.get("content-type", ""), shape)
    except JSONRefused as error:
        kind = errors.NotGitLab if error.code == "not_json" else errors.MalformedAnswer
        raise kind(status=answer.status, request_id=request_id_of(answer)) from None


def failure_of(answer: Answer) -> errors.GitLabError:
    """Return what an answer with an unwanted status means."""
    status, request_id = answer.status, request_id_of(answer)
    body = _json_object(answer)
    words = error_text(body)
    if status == 429:
        seconds = read_retry_after(answer.headers.get("retry-after"))
        return errors.GitLabRateLimited(words=words, request_id=request_id, retry_after_seconds=seconds)
    if status >= 500:
        return errors.GitLabUnavailable(status=status, words=words, request_id=request_id)
    if not body:
        return errors.NotGitLab(status=status, request_id=request_id)
    if status == 401:
        return errors.Unauthorized(words=words, request_id=request_id, reason=_token_reason(body))
    if status == 403 and body.get("error") == "insufficient_scope":
        return errors.InsufficientScope(str(body.get("scope", "")), words=words, request_id=request_id)
    kinds = {403: errors.ForbiddenByRole, 404: errors.GitLabNotFound}
    kind = kinds.get(status, errors.UnexpectedStatus)
    return kind(status=status, words=words, request_id=request_id)


def error_text(body: dict[str, Any]) -> Words:
    """Return GitLab's own words from any of its error shapes (§5.3)."""
    found = (_flatten(body.get(name)) for name in ("error_description", "message", "error"))
    return Words(next(filter(None, found), ""))


def request_id_of(answer: Answer) -> str:
    """Return GitLab's `x-request-id`; empty when there is none."""
    return answer.headers.get("x-request-id", "")


def _flatten(value: Any, depth: int = 3) -> str:
    if isinstance(value, str):
        return value
    if depth and isinstance(value, list):
        return ", ".join(filter(None, (_flatten(item, depth - 1) for item in value[:10])))
    if depth and isinstance(value, dict):
        parts = ((str(key), _flatten(item, depth - 1)) for key, item in list(value.items())[:10])
        return "; ".join(f"{key} {text}" for key, text in parts if text)
    return ""


def _token_reason(body: dict[str, Any]) -> str:
    if body.get("error") != "invalid_token":
        return "unknown"
    words = str(body.get("error_description", "")).lower()
    return next((reason for word, reason in _TOKEN_REASONS.items() if word in words), "unknown")


def _json_object(answer: Answer) -> dict[str, Any]:
    try:
        return read_json(answer.content, answer.headers.get("content-type", ""), dict[str, Any])
    except (JSONRefused, msgspec.MsgspecError):
        return {}
