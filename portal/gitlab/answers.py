"""Read one answer of GitLab: the value, or the failure that its status, headers and body mean.

A field that is null or invalid counts as one that GitLab did not send: it spoils the value only if the value is useless
without it, and a bad row of a list only that row.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar, get_args

import msgspec

from portal.foreign import ShortText, Words
from portal.gitlab import errors
from portal.gitlab.payloads import Defect, Page
from portal.net import Answer
from portal.net.json_reader import JSONRefused, make_foreign, read_json, without_long_numbers
from portal.net.retry import read_retry_after

T = TypeVar("T")
# GitLab's texts for a dead token differ by one word only (docs/gitlab.md, "OAuth: the engine").
_TOKEN_REASONS = {"expired": "expired", "revoked": "revoked", "impersonation": "impersonation_disabled"}


def read_answer(answer: Answer, shape: type[T], *, ok: tuple[int, ...] = (200,)) -> T:
    """Return the decoded body.

    Raises:
        GitLabError: the failure that the answer means.
    """
    if answer.status not in ok:
        raise failure_of(answer)
    content, content_type = answer.content, answer.headers.get("content-type", "")
    try:
        try:
            return read_json(content, content_type, shape)
        except JSONRefused as error:
            if error.code != "wrong_shape" or not _is_struct(shape):
                raise
        found, _ = _read_tolerantly(read_json(without_long_numbers(content), content_type, Any), shape)
        if found is None:
            raise JSONRefused("wrong_shape")
        return found
    except JSONRefused as error:
        raise _refusal(answer, error) from None


def read_page(answer: Answer, shape: type[T], *, per_page: int, always_told: Collection[str] = ()) -> Page[T]:
    """Return one page of a list, row by row if a row is invalid.

    Args:
        answer: of the list.
        shape: of a row.
        per_page: how many rows were asked for.
        always_told: optional fields that GitLab never omits: a row without one of them has a defect.

    Raises:
        GitLabError: the failure that the answer means.
    """
    if answer.status != 200:
        raise failure_of(answer)
    content, content_type = answer.content, answer.headers.get("content-type", "")
    found: list[tuple[T | None, list[str], Any]]
    try:
        try:
            found = [(row, [], None) for row in read_json(content, content_type, list[shape])]  # type: ignore[valid-type]
        except JSONRefused as error:
            if error.code != "wrong_shape":
                raise
            rows = read_json(without_long_numbers(content), content_type, list[Any])
            if rows and not any(isinstance(row, dict) for row in rows):
                raise
            found = [(*_read_tolerantly(row, shape), row) for row in rows]
    except JSONRefused as error:
        raise _refusal(answer, error) from None
    items: dict[int, T] = {}
    ids: dict[int, None] = {}
    defects: list[Defect] = []
    unnamed = 0
    for place, (item, wrong, row) in enumerate(found, start=1):
        untold = [name for name in always_told if item is not None and getattr(item, name) is None]
        wrong += [name for name in untold if name not in {field.partition(".")[0] for field in wrong}]
        row_id = getattr(item, "id", None) or _id_in(row)
        if row_id is None:
            unnamed += 1
        else:
            ids[row_id] = None
            if item is not None:
                items.setdefault(row_id, item)
        name = ShortText(f"row {place}" if row_id is None else str(row_id))
        defects += [Defect(name, ShortText(field), is_left_out=item is None) for field in wrong]
    total = answer.headers.get("x-total", "")
    return Page(
        items=list(items.values()),
        defects=defects,
        ids=list(ids),
        unnamed=unnamed,
        total=int(total) if total.isascii() and total.isdigit() and len(total) < 10 else None,
        is_short=len(ids) + unnamed < per_page,
    )


def failure_of(answer: Answer) -> errors.GitLabError:
    """Return what an answer with an unwanted status means."""
    status, request_id = answer.status, request_id_of(answer)
    try:
        body = read_json(answer.content, answer.headers.get("content-type", ""), dict[str, Any])
    except (JSONRefused, msgspec.MsgspecError):
        body = {}
    words = error_text(body)
    if status == 429:
        seconds = read_retry_after(answer.headers.get("retry-after"))
        return errors.GitLabRateLimited(words=words, request_id=request_id, retry_after_seconds=seconds)
    if status >= 500:
        return errors.GitLabUnavailable(status=status, words=words, request_id=request_id)
    if not body:
        return errors.NotGitLab(status=status, request_id=request_id)
    if status == 401:
        said = str(body.get("error_description", "")).lower() if body.get("error") == "invalid_token" else ""
        reason = next((reason for word, reason in _TOKEN_REASONS.items() if word in said), "unknown")
        return errors.Unauthorized(words=words, request_id=request_id, reason=reason)
    if status == 403 and body.get("error") == "insufficient_granular_scope":
        return errors.InsufficientPermission(words=words, request_id=request_id)
    if status == 403 and body.get("error") == "insufficient_scope":
        return errors.InsufficientScope(str(body.get("scope", "")), words=words, request_id=request_id)
    kinds = {403: errors.ForbiddenByRole, 404: errors.GitLabNotFound}
    kind: type[errors.GitLabError] = kinds.get(status, errors.UnexpectedStatus)
    return kind(status=status, words=words, request_id=request_id)


def error_text(body: dict[str, Any]) -> Words:
    """Return GitLab's own words from any of its error shapes."""
    found = (_flatten(body.get(name)) for name in ("error_description", "message", "error"))
    return Words(next(filter(None, found), ""))


def request_id_of(answer: Answer) -> str:
    """Return GitLab's `x-request-id`; empty if there is none."""
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


def _refusal(answer: Answer, error: JSONRefused) -> errors.GitLabError:
    kind = errors.NotGitLab if error.code == "not_json" else errors.MalformedAnswer
    return kind(status=answer.status, request_id=request_id_of(answer))


def _read_tolerantly(value: Any, shape: type[T]) -> tuple[T | None, list[str]]:
    """Build a struct from what can be used; return it (None if that is too little) and the names of what is wrong."""
    if not isinstance(value, dict):
        return None, [""]
    kept, wrong = _usable_members(value, shape)
    found = _converted(kept, shape)
    return found, wrong


def _usable_members(value: dict[str, Any], shape: type[Any]) -> tuple[dict[str, Any], list[str]]:
    kept: dict[str, Any] = {}
    wrong: list[str] = []
    for field in msgspec.structs.fields(shape):
        name, member = field.encode_name, value.get(field.encode_name)
        below: list[str] = []
        inner = next((kind for kind in (field.type, *get_args(field.type)) if _is_struct(kind)), None)
        if inner is not None and isinstance(member, dict):
            member, below = _usable_members(member, inner)
        if name in value and _converted(member, field.type) is not None:
            kept[name] = member
        elif not below and (field.required or member is not None):
            wrong.append(name)
        wrong += [f"{name}.{inside}" for inside in below]
    return kept, wrong


def _converted(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind, dec_hook=make_foreign)
    except (msgspec.ValidationError, ValueError, TypeError):
        return None


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _id_in(row: Any) -> int | None:
    found = row.get("id") if isinstance(row, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None
