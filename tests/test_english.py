"""Plain idiomatic English everywhere a person reads: pages, documents, docstrings, comments and messages.

The habits below once made readers translate; beside each is what to write instead.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = {
    "portal": "*.py",
    "bench": "*.py",
    "tests": "*.py",
    "templates": "*.html",
    "static": "*.[cj]s*",
    "docs": "*.md",
}
# Other people's texts, and this one.
LEFT_OUT = {"vendor", "versions", "test_english.py"}
PHRASES = {
    "someone, everyone, anyone, no one": "somebody|everybody|anybody|nobody",
    "no longer": "any longer|needed no more|works no more|watched no more|is no more|has not got|have not got",
    "forever": "for ever",
    "again": "anew",
    "in the meantime, since, by now": "meanwhile",
    "less and less often": "ever more rarely|ever more slowly",
    "two steps from now": "next-but-one",
    "unencrypted": "in clear|in the clear",
    "limited to the caller's rights": "as far as one|as one may|as one can",
    "you, people": "oneself|one's own",
    "must be, will be": "is to be|are to be|was to be|were to be|is to become|are to become|is to have",
    "what happens to, the outcome of": (
        "becomes of|became of|become of|comes of it|came of it|came of that|came of them|come of it|came of the"
    ),
    "mentions, reports": "tells of|tell of|telling of|is told of|are told of",
    "Return whether": ": tell whether|. tell whether|; tell whether|, tell whether|and tell whether",
    "about it": (
        "says of it|say of it|said of it|says of a|said of a|says of the|say of the|said of the|known of|knows of it|"
        "told of it|heard of it|says of its"
    ),
    "does not say": "does not tell|did not tell|do not tell|has not told|gitlab tells|gitlab told",
    "fix": "mend|mends|mended|mending|put right|puts right",
    "defer, wait": "put off|puts off|putting off",
    "is not one": "that is none|it is none|which is none|but is none",
    "is not a": (
        "is no gitlab|is no text|is no list|is no object|is no number|is no address|is no date|is no event|is no error|"
        "is no token|is no reason|is no role|is no form|is no dump|is no verdict|is no outage"
    ),
    "continues, keeps working, continue": "goes on|go on|going on|went on",
    "the outbound client": "the door|the door's|one door out",
    "is unreachable": "gitlab is away|database is away|server is away|disk is away|network is away",
    "desired state": "the wish|a wish|wishes",
    "delete old": "thin out|thinning|thins out",
    "give out, use, issue": "hand out|hands out|handed out",
    "confirm": "vouch|vouches|vouched|vouching",
    "mistake for, consider": "taken for|taken for a|takes it for|take it for",
    "check": (
        "look whether|looks whether|looked whether|is looked at|are looked at|be looked at|was looked at|were looked at"
    ),
    "record": "write down|writes down|written down|wrote down",
    "a person's confirmation": "someone's word",
    "attempt": "one try|each try|every try|next try|last try|another try|further try|too many tries|failed tries",
    "current": (
        "present one|present token|present secret|present credential|present request|present time|present page|"
        "present pair|present row|present state|present database|present password|present dispatch|"
        "present authorization"
    ),
    "is, appears": (
        "stands there|stands here|stands below|stands above|stands behind|stands beside|stand beside|stands before"
    ),
    "usually": "as a rule",
    "plain words": "to and fro|lest|thereof|therein|hither|unto|the like of",
    "at once": "at the first sight",
    "the person who, anyone who": "whoever may|whoever has",
    "a few": "some seconds|some minutes",
}
SHAPES = {
    # "Is it lost, …" instead of "If it is lost, …".
    "If …": (
        r"[.;:] (?:is|are|was|were|has|had|does|did|should) (?:it|they|this|that|there|someone|no one) [^?.\"]{3,80}, "
    ),
    "its own …": r" an? (?:\w+ ){1,2}of (?:its own|their own|his own|your own|ours|theirs)\b",
}


def test_no_odd_english() -> None:
    shapes = {better: re.compile(shape) for better, shape in SHAPES.items()}
    paths = [path for folder, kind in FOLDERS.items() for path in (ROOT / folder).rglob(kind)]
    found = []
    for path in [*paths, *ROOT.glob("*.py"), *ROOT.glob("*.md")]:
        if not LEFT_OUT.isdisjoint(path.parts):
            continue
        # A sentence continues on the next line, after the marks that begin it.
        source = path.read_text(encoding="utf-8").lower().split("\n")
        lines = [line.strip().removeprefix("# ").removeprefix('f"').strip('" ') for line in source]
        text, ends = " ".join(lines), list(accumulate(len(line) + 1 for line in lines))
        hits = [
            (match.start(), match.group(), better) for better, shape in shapes.items() for match in shape.finditer(text)
        ]
        for better, phrases in PHRASES.items():
            hits += [(at, phrase, better) for phrase in phrases.split("|") for at in _occurrences(text, phrase)]
        found += [
            f"{path.relative_to(ROOT)}:{bisect_right(ends, at) + 1} “{odd}”: {better}" for at, odd, better in hits
        ]

    assert found == []


def _occurrences(text: str, phrase: str) -> Iterator[int]:
    """Yield where a phrase begins, as whole words and not inside a name, an address or a quoted value."""
    at = text.find(phrase)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(phrase) : at + len(phrase) + 1]
        if not (before.isalnum() or after.isalnum() or {before, after} & set("_@`'\"=") - {phrase[0]}):
            yield at
        at = text.find(phrase, at + 1)
