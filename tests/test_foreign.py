from __future__ import annotations

import base64
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.foreign import ELLIPSIS, Foreign, PersonName, Scopes, ShortText, Words, clean, hides_nothing
from portal.redaction import MASK, register

pytestmark = pytest.mark.usefixtures("no_known_secrets")
JOINERS = {"\u200c", "\u200d"}


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
        ("👩\u200d👩\u200d👧 family", "👩\u200d👩\u200d👧 family"),
        ("🏳\ufe0f\u200d🌈 👩🏽\u200d💻", "🏳\ufe0f\u200d🌈 👩🏽\u200d💻"),
        ("\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", None),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("क्\u200dष", "क्\u200dष"),
        ("😀\u200d, \u200d😀", "😀⟨U+200D⟩, ⟨U+200D⟩😀"),
        ("😀\u200d\u200d😀", "😀⟨U+200D⟩⟨U+200D⟩😀"),
        ("a\u200cb", "a⟨U+200C⟩b"),
        ("<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"),
        ("", ""),
    ],
)
def test_foreign_text_is_shown_with_what_it_hides(foreign: str, shown: str | None) -> None:
    assert clean(foreign) == (foreign if shown is None else shown)


def test_long_text_is_cut_with_an_ellipsis() -> None:
    assert clean("x" * 100_000, 10) == "x" * 9 + ELLIPSIS
    assert clean("x" * 10, 10) == "x" * 10
    assert clean("\u202e" * 100_000, 20) == "⟨U+202E⟩⟨U+202E⟩⟨U+" + ELLIPSIS
    assert clean("e\u0301" * 30, 20).endswith(ELLIPSIS)


@given(st.text(alphabet=st.characters(), max_size=300), st.integers(1, 200))
def test_any_text_becomes_short_printable_and_storable(value: str, limit: int) -> None:
    shown = clean(value, limit)

    assert len(shown) <= limit
    assert "\x00" not in shown
    assert shown.encode().decode() == shown
    categories = {unicodedata.category(character) for character in shown if character not in JOINERS}
    assert not categories & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert clean(shown, limit) == shown


def test_cut_leaves_no_joiner_behind_that_joins_nothing() -> None:
    assert clean("👩\u200d👩\u200d👧", 4) == "👩\u200d👩" + ELLIPSIS


def test_secret_goes_before_the_text_is_cut_composed_or_written_out() -> None:
    register("0123456789abcdef" * 4)

    assert clean("x" * 190 + "0123456789abcdef" * 4, 200) == "x" * 190 + MASK
    assert clean("e\u0301 " + "0123456789abcdef" * 4 + "\u202e") == f"é {MASK}⟨U+202E⟩"
    assert "0123456789abcdef" not in clean("y" * 5000 + "0123456789abcdef" * 4, 3000)


SECRET = "0123456789abcdef" * 4
HIDING = [
    "e\u0301",
    "a\u200bb",
    "a\u3164b",
    "two\nlines",
    SECRET,
    SECRET[8:30],
    "glpat-1a2b3c4d5e6f7a8b9c0d",
    SECRET.replace("f", "%66"),
]
HIDING.append(base64.b64encode(SECRET.encode()).decode())


@given(
    st.lists(
        st.one_of(st.text(max_size=40), st.text("aZé09/+-_=%\\&.", max_size=40), st.sampled_from(HIDING)), max_size=5
    )
)
def test_texts_that_hide_nothing_together_stay_as_they_are_one_by_one(texts: list[str]) -> None:
    register(SECRET)

    if hides_nothing(texts):
        assert [clean(text) for text in texts] == texts


def test_one_text_that_hides_something_is_found_among_others() -> None:
    register(SECRET)

    assert hides_nothing(["group/sub-group/Payment_Service", "Größe 日本語", "", "https://gitlab.example/a/b?c=d"])
    for text in HIDING:
        assert not hides_nothing(["group/project", text, "main"]), text


def test_kinds_have_their_own_length_and_are_cleaned_once() -> None:
    name = PersonName("n" * 1000)

    assert len(name) == PersonName.limit
    assert PersonName(name) is name
    assert len(ShortText(name)) == ShortText.limit
    assert isinstance(Words("x"), Foreign)


@pytest.mark.parametrize("wrong", [None, 1, ["a"], b"bytes"])
def test_what_is_no_text_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError):
        Foreign(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("told", [["api", "read_user"], "api read_user", " api  read_user "])
def test_scopes_come_as_a_list_or_as_one_text(told: list[str] | str) -> None:
    assert Scopes(told) == ("api", "read_user")


def test_scopes_are_few_and_short() -> None:
    for told in ("scope " * 100_000, ["scope"] * 100_000, "s" * 1_000_000, ["s" * 1_000_000], "a\u202eb \x1b[31m"):
        scopes = Scopes(told)

        assert len(scopes) <= Scopes.limit
        assert all(len(scope) <= ShortText.limit and scope.isprintable() for scope in scopes)
