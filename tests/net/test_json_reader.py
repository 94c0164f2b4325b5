from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.foreign import Title
from portal.net.json_reader import JSONRefused, read_json
from portal.redaction import MASK, register

JSON = "application/json"


class Project(msgspec.Struct):
    id: int
    name: str
    score: float = 0.0
    parent: dict[str, Any] | None = None


def refusal(content: bytes, content_type: str = JSON, shape: Any = Project) -> str:
    with pytest.raises(JSONRefused) as caught:
        read_json(content, content_type, shape)
    return caught.value.code


def test_struct_is_read_and_unknown_fields_are_ignored() -> None:
    project = read_json(b'{"id": 1, "name": "a", "x": [{"y": null}]}', "Application/JSON; charset=utf-8", Project)

    assert project == Project(1, "a")


@pytest.mark.usefixtures("no_known_secrets")
def test_one_secret_on_a_page_is_blanked_and_everything_else_stays() -> None:
    register("0123456789abcdef" * 4)
    names = ["Größe", "0123456789abcdef" * 4, "", "a\u202eb", "x" * 1000]

    found = read_json(json.dumps(names).encode(), JSON, list[Title])

    assert found == ["Größe", MASK, "", "a⟨U+202E⟩b", Title("x" * 1000)]
    assert {type(name) for name in [*found, *read_json(b'["a", ""]', JSON, list[Title])]} == {Title}


@pytest.mark.parametrize("kind", ["text/html", "", "text/plain", "application/octet-stream", "application/jsonp"])
def test_other_content_type_is_no_json_whatever_is_in_it(kind: str) -> None:
    assert refusal(b'{"id": 1, "name": "a"}', kind) == "not_json"


def test_empty_answer_is_no_json() -> None:
    assert refusal(b"") == "not_json"


@pytest.mark.parametrize(
    "text",
    [
        '{"id": 1',
        '{"id": 1, "name": "a"} {}',
        "<html>",
        "NaN",
        '{"id": 1, "name": "a", "score": NaN}',
        '{"id": 1, "name": "a", "score": Infinity}',
        '{"id": 1, "name": "a", "score": -Infinity}',
        "{'id': 1}",
        '{"id": 1, "name": "a",}',
        '{"id": 1, "name": "\x00"}',
        '{"id": 1, "name": "\\x"}',
        '\ufeff{"id": 1, "name": "a"}',
        '{"id": 01, "name": "a"}',
        '{"id": 1, "name": "a"]',
        "]",
        '"',
        "\\",
        '{"id": 1, "name": "a"}]',
    ],
)
def test_what_is_no_json_is_malformed(text: str) -> None:
    assert refusal(text.encode()) == "malformed"


@pytest.mark.parametrize("content", [b'{"id": 1, "name": "\xff"}', b'{"id": 1, "name": "\xed\xa0\x80"}'])
def test_what_is_no_utf8_is_malformed(content: bytes) -> None:
    assert refusal(content) == "malformed"


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "1",
        "null",
        '"x"',
        '{"id": "1", "name": "a"}',
        '{"id": null, "name": "a"}',
        '{"id": 1.5, "name": "a"}',
        '{"id": 1e3, "name": "a"}',
        '{"id": true, "name": "a"}',
        '{"id": 1, "name": 2}',
        '{"name": "a"}',
        '{"id": 1, "name": "a", "score": 1e999}',
        '{"id": 9223372036854775808, "name": "a"}',
        '{"id": -9223372036854775809, "name": "a"}',
        '{"id": 18446744073709551616, "name": "a"}',
        '{"id": 1, "name": "a", "ignored": 99999999999999999999}',
        '{"id": 1, "name": "a", "parent": {"deep": [123456789012345678901234567890]}}',
    ],
)
def test_wrong_type_or_number_is_a_wrong_shape(text: str) -> None:
    assert refusal(text.encode()) == "wrong_shape"


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 1234567890123456789, 0, -1])
def test_whole_numbers_of_64_bits_are_read(number: int) -> None:
    assert read_json(f'{{"id":{number},"name":"a"}}'.encode(), JSON, Project).id == number


def test_long_digits_in_text_and_fractions_are_no_whole_numbers() -> None:
    text = r'{"id":1,"name":"99999999999999999999\" 99999999999999999999","score":0.12345678901234567890123}'

    assert read_json(text.encode(), JSON, Project).name.startswith("9999")


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('{"a":[', "]}")])
def test_depth_is_limited_exactly(opening: str, closing: str) -> None:
    levels = opening.count("[") + opening.count("{")
    good, bad = 64 // levels, 64 // levels + 1

    read_json((opening * good + "1" + closing * good).encode(), JSON, object)
    assert refusal((opening * bad + "1" + closing * bad).encode(), shape=object) == "too_deep"
    assert refusal((opening * 10_000 + "1" + closing * 10_000).encode(), shape=object) == "too_deep"


def test_brackets_inside_strings_do_not_count() -> None:
    content = json.dumps({"id": 1, "name": '[{"' * 500 + "\\" * 3 + '"]'}).encode()

    assert read_json(content, JSON, Project).name.startswith('[{"[{"')


def test_hidden_depth_behind_brackets_in_strings_is_seen() -> None:
    closers = '"' + "]" * 100 + '",'

    assert refusal(("[" + closers).encode() * 70 + b"1" + b"]" * 70, shape=object) == "too_deep"


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (r"a\u0000b", "a\ufffdb"),
        (r"\ud800", "\ufffd"),
        (r"\udc00x", "\ufffdx"),
        (r"\ud800\ud800", "\ufffd\ufffd"),
        (r"\ud83d\ude00", "😀"),
        (r"\uD83D\uDE00\ud83d", "😀\ufffd"),
        (r"\\u0000", r"\u0000"),
        (r"\\\u0000", "\\\ufffd"),
        (r"\\ud800", r"\ud800"),
        (r"\u00e4\u003e", "ä>"),
    ],
)
def test_nul_and_halves_of_pairs_are_replaced_and_nothing_else(escaped: str, text: str) -> None:
    assert read_json(f'{{"id":1,"name":"{escaped}"}}'.encode(), JSON, Project).name == text


@pytest.mark.parametrize(
    "content",
    [
        b'"' + b'\\"' * 1_000_000,
        b'"' * 2_000_001,
        b"[" * 2_000_000,
        b"9" * 2_000_000 + b".5",
        b"-" * 2_000_000,
        b'"' + b"a" * 2_000_000 + b'"',
        b"\\u0000" * 300_000,
        b"[" + b"[]," * 500_000,
        b'{"a":' * 300_000,
        b"\\" * 2_000_001,
    ],
)
def test_time_is_linear_in_the_length(content: bytes) -> None:
    started = time.process_time()
    with pytest.raises(JSONRefused):
        read_json(content, JSON, Project)

    assert time.process_time() - started < 1.5


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(values, st.booleans())
def test_any_json_that_a_database_can_hold_is_read_as_it_is(value: Any, is_ascii: bool) -> None:
    content = json.dumps(value, ensure_ascii=is_ascii)
    if "\\u0000" in content.replace("\\\\", ""):
        return
    try:
        encoded = content.encode()
    except UnicodeEncodeError:
        return

    assert read_json(encoded, JSON, object) == value


@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:\\u0dD89aNnull1.e-', max_size=60).map(str.encode))
def test_anything_else_is_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(JSONRefused):
        read_json(content, JSON, object)
