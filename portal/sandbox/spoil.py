"""Responses on their way out, and how faults change them."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from portal.sandbox.faults import Fault


@dataclass
class Answer:
    """One answer, ready to be sent; `headers` are pairs because a name may occur twice."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def set_header(self, name: str, value: str) -> None:
        """Replace a header."""
        self.headers = [pair for pair in self.headers if pair[0].lower() != name.lower()] + [(name, value)]


def spoil(answer: Answer, fault: Fault) -> Answer:
    """Change GitLab's own response as a fault says."""
    if fault.failing_rows and {row.get("id") for row in json.loads(answer.body)} & {*fault.failing_rows}:
        return Answer(500, [("Content-Type", "application/json")], b'{"message":"500 Internal Server Error"}')
    if fault.set_members or fault.drop_members or fault.rows or fault.max_rows is not None or fault.arrange:
        answer.body = json.dumps(_spoilt_document(json.loads(answer.body), fault)).encode()
    dropped = {name.lower() for name in fault.drop_headers}
    answer.headers = [pair for pair in answer.headers if pair[0].lower() not in dropped]
    for name, value in fault.headers.items():
        answer.set_header(name, value)
    if fault.content_type is not None:
        answer.set_header("Content-Type", fault.content_type)
    if fault.encoding is not None:
        answer.set_header("Content-Encoding", fault.encoding)
        if fault.encoding == "gzip":
            answer.body = gzip.compress(answer.body, 1)
        elif fault.encoding == "deflate":
            answer.body = zlib.compress(answer.body)
    return answer


def _spoilt_document(document: Any, fault: Fault) -> Any:
    for row in document if isinstance(document, list) else [document]:
        own = fault.rows.get(row.get("id"), {})
        if not fault.only_rows or row.get("id") in fault.only_rows:
            _change(row, {**fault.set_members, **dict.fromkeys(fault.drop_members)}, fault.drop_members)
        _change(row, own)
    if not isinstance(document, list):
        return document
    if fault.arrange == "doubled":
        document = document[:1] + document
    elif fault.arrange == "swapped":
        document[:2] = document[1::-1]
    elif fault.arrange == "reversed":
        document.reverse()
    return document[: fault.max_rows]


def _change(row: dict[str, Any], members: dict[str, Any], dropped: Collection[str] = ()) -> None:
    for path, value in members.items():
        *parents, name = path.split(".")
        place: Any = row
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            continue  # This row has nothing there, such as the owner of a group's project.
        if path in dropped:
            place.pop(name, None)
        else:
            place[name] = value
