"""Text that someone else chose, above all GitLab: it passes through `clean` when it comes in, and has its own type from
then on.

Any text of an answer that is shown, stored or logged is a `Foreign`: only `clean` makes one, payloads are decoded to
them, and errors and cards turn their words into them. Nothing here makes a text trusted.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from typing import ClassVar, Self

from portal.redaction import redact_foreign, redact_random

ELLIPSIS = "…"
REPLACEMENT = "\ufffd"
# How much a text may shrink by composing and redacting; anything beyond that is never read.
SPARE = 4096
ZERO_WIDTH_NON_JOINER, ZERO_WIDTH_JOINER, EMOJI_STYLE = "\u200c", "\u200d", "\ufe0f"
# Invisible letters and marks that `isprintable` lets pass: joiners, vowel and syllable fillers.
_EMPTY = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0]")
# Flags of regions are a black flag and invisible letters (UTS 51, ED-14a).
_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")
# Scripts whose letters join, where a non-joiner decides how a word is written: Arabic, Syriac, N'Ko, Mongolian.
_JOINING = re.compile("[\u0600-\u08ff\u1800-\u18af\ufb50-\ufdff\ufe70-\ufefc]")
_VIRAMA = 9  # The combining class of the sign after which Indic scripts form conjuncts.


def clean(value: str, limit: int = 500, *, is_sentence: bool = False) -> str:
    """Return NFC text of at most `limit` characters, without secrets, with control and hidden characters made visible.

    Tabs and line ends become blanks, control characters U+FFFD; bidirectional controls, zero-width and other
    invisible characters become ⟨U+202E⟩ and the like, because they make a text look like another one.
    Joiners stay where they join: inside an emoji, and in scripts that need them (RFC 5892 A.1, A.2).
    In a sentence, everything that may be a secret is removed; a name may be as random as one.
    """
    # Secrets first: cutting, composing and writing out may leave parts of one that no one recognises.
    text = redact_foreign(value[: limit * 2 + SPARE])
    text = unicodedata.normalize("NFC", redact_random(text) if is_sentence else text)
    if not text.isprintable() or (not text.isascii() and _EMPTY.search(text)):
        kept = {at for flag in _FLAG.finditer(text) for at in range(*flag.span())}
        shown = (it if at in kept or _joins(text, at) else _visible(it) for at, it in enumerate(text))
        text = "".join(shown)
    if len(text) > limit or len(value) > limit * 2 + SPARE:
        return text[: limit - 1].rstrip(ZERO_WIDTH_JOINER + ZERO_WIDTH_NON_JOINER) + ELLIPSIS
    return text


def hides_nothing(texts: Collection[str]) -> bool:
    """Return whether `clean` would leave every one of these as it is, none being a sentence or longer than allowed.

    Together they are checked much faster than one by one, and GitLab's lists have a million of them. What is found only
    where two of them meet makes the answer wrong on the safe side.
    """
    joined = "\n".join(texts)
    if redact_foreign(joined) != joined or not "".join(texts).isprintable():
        return False
    return joined.isascii() or (unicodedata.is_normalized("NFC", joined) and not _EMPTY.search(joined))


class Foreign(str):
    """A text that someone else chose, cleaned; `limit` is how long its kind may be."""

    __slots__ = ()
    limit: ClassVar[int] = 500
    is_sentence: ClassVar[bool] = False
    may_be_empty: ClassVar[bool] = True

    def __new__(cls, value: str = "") -> Self:
        """Clean a text, unless it is of this kind already."""
        if type(value) is cls:
            return value
        if not isinstance(value, str):  # The decoder of JSON leaves the check of its type to us.
            raise TypeError("not a text")
        if not value and not cls.may_be_empty:
            raise ValueError("an empty text")
        return super().__new__(cls, value and clean(value, cls.limit, is_sentence=cls.is_sentence))


class Words(Foreign):
    """What a peer says about a failure, for people to read: it may repeat secrets that no process here ever held."""

    __slots__ = ()
    limit = 200
    is_sentence = True


class ShortText(Foreign):
    """A code, a state, an id of a request."""

    __slots__ = ()
    limit = 64


class PersonName(Foreign):
    """A user's name or username."""

    __slots__ = ()
    limit = 255


class Title(Foreign):
    """The name of a group, a project or a branch."""

    __slots__ = ()


class Path(Foreign):
    """Where a group or a project is."""

    __slots__ = ()
    limit = 1000


class WebAddress(Foreign):
    """An address that a peer gives; whether it may become a link is for the page to decide."""

    __slots__ = ()
    limit = 1500


class Scopes(tuple[str, ...]):
    """Scopes of OAuth, from a list or from RFC 6749's text with blanks; at most `limit` of them."""

    __slots__ = ()
    limit: ClassVar[int] = 50

    def __new__(cls, value: str | Iterable[str] = ()) -> Self:
        """Take them as a list or as one text."""
        if type(value) is cls:
            return value
        if isinstance(value, dict):  # The decoder of JSON leaves the check of its type to us.
            raise TypeError("neither a list nor a text")
        names = value[: cls.limit * ShortText.limit].split() if isinstance(value, str) else list(value)
        return super().__new__(cls, tuple(map(ShortText, names[: cls.limit])))


def _joins(text: str, at: int) -> bool:
    """Return whether a joiner joins its neighbours; anywhere else it only hides."""
    if text[at] not in {ZERO_WIDTH_JOINER, ZERO_WIDTH_NON_JOINER} or at == 0:
        return False
    before, after = text[at - 1], text[at + 1 : at + 2]
    if unicodedata.combining(before) == _VIRAMA:
        return True
    if text[at] == ZERO_WIDTH_NON_JOINER:
        return bool(_JOINING.match(before) and _JOINING.match(after))
    return (before == EMOJI_STYLE or _is_emoji(before)) and _is_emoji(after)


def _is_emoji(character: str) -> bool:
    # The last range is kept free for emoji: Python may not know the newest of them.
    is_symbol = bool(character) and unicodedata.category(character) in {"So", "Sk"} and character >= "\u203c"
    return is_symbol or "\U0001f000" <= character <= "\U0001faff"


def _visible(character: str) -> str:
    if character in "\t\n\r\u2028\u2029":
        return " "
    category = unicodedata.category(character)
    if category in {"Cc", "Cs"}:
        return REPLACEMENT
    if category == "Cf" or _EMPTY.match(character):
        return f"⟨U+{ord(character):04X}⟩"
    return character
