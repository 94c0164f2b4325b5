from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.net.text import ELLIPSIS, plain_text


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("a plain name", "a plain name"),
        ("Größe – größer", "Größe – größer"),
        ("日本語 العربية 😀", "日本語 العربية 😀"),
        ("e\u0301", "é"),
        ("photo\u202egpj.exe", "photo⟨U+202E⟩gpj.exe"),
        ("\u2066x\u2069", "⟨U+2066⟩x⟨U+2069⟩"),
        ("a\u200bb\u200db\ufeff", "a⟨U+200B⟩b⟨U+200D⟩b⟨U+FEFF⟩"),
        ("a\u00adb\u061cc", "a⟨U+00AD⟩b⟨U+061C⟩c"),
        ("a\u3164\u115fb", "a⟨U+3164⟩⟨U+115F⟩b"),
        ("tag\U000e0041", "tag⟨U+E0041⟩"),
        ("two\nlines\r\n\tand\u2028more", "two lines   and more"),
        ("\x00\x1b[31mred\x7f\x9b", "\ufffd\ufffd[31mred\ufffd\ufffd"),
        ("half \ud800 pair", "half \ufffd pair"),
        ("<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"),
        ("", ""),
    ],
)
def test_foreign_text_is_shown_with_what_it_hides(foreign: str, shown: str) -> None:
    assert plain_text(foreign) == shown


def test_long_text_is_cut_with_an_ellipsis() -> None:
    assert plain_text("x" * 100_000, 10) == "x" * 9 + ELLIPSIS
    assert plain_text("x" * 10, 10) == "x" * 10
    assert plain_text("\u202e" * 100_000, 20) == "⟨U+202E⟩⟨U+202E⟩⟨U+" + ELLIPSIS
    assert plain_text("e\u0301" * 30, 20).endswith(ELLIPSIS)


@given(st.text(alphabet=st.characters(), max_size=300), st.integers(1, 200))
def test_any_text_becomes_short_printable_and_storable(value: str, limit: int) -> None:
    shown = plain_text(value, limit)

    assert len(shown) <= limit
    assert "\x00" not in shown
    assert shown.encode().decode() == shown
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert plain_text(shown, limit) == shown
