"""Files that were changed in both places: both versions side by side, and the decision of a person as one commit."""

from __future__ import annotations

import difflib
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import Session, col, select

from portal import audit
from portal.actor import Principal
from portal.connections.models import Connection
from portal.db import utc_now
from portal.errors import Conflict, InvalidInput, NotFound
from portal.runtime import Runtime
from portal.sync import git
from portal.sync.files import FILE, MAX_TEXT, Change, full_path, newest_change
from portal.sync.git import Entry, GitFailed, Person
from portal.sync.models import Resolution, Site, SiteConflict
from portal.sync.store import (
    HERE,
    committer_of,
    find_site,
    find_site_to_change,
    holding,
    mark_due,
    note_head,
    repository_of,
)

# Longer than any line of signs that people write, so that a version cannot look like a mark.
MARK = 61
CHOICES = ("here", "gitlab", "both", "own")
_WORDS = re.compile(r"\w+|\s+|[^\w\s]")
MAX_SHOWN = 500


@dataclass(frozen=True)
class Version:
    """One side of a file: who wrote it when, and the file, None if that side has removed it."""

    change: Change | None
    entry: Entry | None
    text: str | None


@dataclass(frozen=True)
class Piece:
    """A part of a line, and whether the other side has it."""

    text: str
    is_marked: bool


@dataclass(frozen=True)
class Hunk:
    """A passage: lines that are settled, or both versions of those that are not.

    Attributes:
        number: of the passages that someone has to decide, from 1; 0 for a settled one.
        first: its first line in GitLab's version, from 1.
        settled: its lines if it needs no one.
    """

    number: int
    first: int
    settled: tuple[str, ...] = ()
    here: tuple[str, ...] = ()
    gitlab: tuple[str, ...] = ()

    @property
    def last(self) -> int:
        """Its last line in GitLab's version."""
        return self.first + max(len(self.settled or self.gitlab), 1) - 1

    @property
    def sides(self) -> tuple[list[list[Piece]], list[list[Piece]]]:
        """Both versions, with what differs marked word by word."""
        return _marked(self.here, self.gitlab), _marked(self.gitlab, self.here)


@dataclass(frozen=True)
class Comparison:
    """A conflict as its page shows it; without hunks it can only be decided as a whole."""

    conflict: SiteConflict
    here: Version
    gitlab: Version
    hunks: tuple[Hunk, ...]
    digest: str

    @property
    def to_decide(self) -> int:
        """How many passages need someone."""
        return sum(1 for hunk in self.hunks if hunk.number)


def list_conflicts(session: Session, site: Site) -> list[SiteConflict]:
    """Return the files that someone has to decide about."""
    statement = select(SiteConflict).where(SiteConflict.site_id == site.id, SiteConflict.resolution == Resolution.OPEN)
    return list(session.exec(statement.order_by(SiteConflict.path, col(SiteConflict.number).desc()).limit(MAX_SHOWN)))


def load_comparison(runtime: Runtime, principal: Principal, slug: str, conflict_id: int) -> Comparison:
    """Return both versions of a file: the one from here, and the one that the site has now.

    Raises:
        NotFound: there is no such conflict that this person may see, or it is decided.
    """
    with runtime.database.reading() as session:
        site = find_site(session, principal, slug)
        conflict = _find(session, site, conflict_id)
    return _compare(repository_of(runtime, site), site, conflict)


def resolve(
    runtime: Runtime, principal: Principal, slug: str, conflict_id: int, digest: str, choices: Mapping[str, str]
) -> Resolution:
    """Commit what a person decided.

    Args:
        runtime: of this process.
        principal: who decides; the author of the commit.
        slug: of the site.
        conflict_id: ours.
        digest: of the versions that were shown.
        choices: `all` with a side for the whole file, or one of `CHOICES` for each passage, by its number; for `own`
            the text is in `text-<number>`.

    Raises:
        NotFound: there is no such conflict, or it is decided.
        Conflict: a version has changed since it was shown.
        InvalidInput: a passage is not decided.
    """
    with runtime.database.reading() as session:
        site = find_site(session, principal, slug)
    with holding(runtime, site, "edit") as own:
        with runtime.database.reading() as session:
            conflict = _find(session, find_site(session, principal, slug), conflict_id)
        found = _compare(own, site, conflict)
        if found.digest != digest:
            raise Conflict("The file has changed since you opened this page. Compare both versions again.")
        whole = choices.get("all", "")
        resolution, edit = Resolution.MIXED, None
        if whole == "gitlab":
            resolution = Resolution.GITLAB
        elif whole == "here":
            resolution, entry = Resolution.HERE, found.here.entry
            edit = (entry.mode, entry.id) if entry else None
        else:
            text = _chosen(found, choices)
            mode = found.gitlab.entry.mode if found.gitlab.entry else FILE
            edit = (mode, own.store_blob(text.encode(errors="surrogateescape")))
        head = own.head(HERE)
        commit = head
        with runtime.database.transaction() as session:
            site = find_site_to_change(session, principal, slug)
            conflict = _find(session, site, conflict_id)
            if resolution != Resolution.GITLAB and head:
                connection = session.get(Connection, site.connection_id) if site.connection_id else None
                tree = own.changed_tree(head, {full_path(site, conflict.path): edit})
                author = Person(principal.name, principal.email)
                told = f"Decide about {conflict.path}, which was changed in both places"
                commit = own.commit(tree, [head], told, author, committer_of(session, connection))
                if not own.move(HERE, commit, head):
                    raise Conflict("The site was changed in the meantime. Compare both versions again.")
            conflict.resolution, conflict.resolved_at = resolution, utc_now()
            conflict.resolved_by_user_id = principal.user_id
            note_head(session, own, site)
            mark_due(site)
            audit.record(
                session,
                principal.actor,
                "site.conflict_resolved",
                site.target,
                path=conflict.path,
                chosen=resolution,
                commit=commit,
            )
    return resolution


def _find(session: Session, site: Site, conflict_id: int) -> SiteConflict:
    statement = select(SiteConflict).where(
        SiteConflict.id == conflict_id,
        SiteConflict.site_id == site.id,
        SiteConflict.resolution == Resolution.OPEN,
    )
    found = session.exec(statement).first()
    if found is None:
        raise NotFound
    return found


def _compare(own: git.Repository, site: Site, conflict: SiteConflict) -> Comparison:
    then = f"{conflict.folder}/{conflict.path}".strip("/")
    now = full_path(site, conflict.path)
    head = own.head(HERE) or conflict.gitlab
    here = _version(own, conflict.here, then)
    # As long as it is GitLab's version of then, whoever wrote it there is named, not whoever merged.
    same = own.entry(head, now) == own.entry(conflict.gitlab, now)
    gitlab = _version(own, conflict.gitlab if same else head, now)
    base = own.entry(conflict.base, then) if conflict.base else None
    hunks: tuple[Hunk, ...] = ()
    if here.text is not None and gitlab.text is not None:
        before = _text(own, base)
        hunks = tuple(_hunks(own, here.text, before or "", gitlab.text))
    digest = f"{here.entry.id if here.entry else ''}:{gitlab.entry.id if gitlab.entry else ''}"
    return Comparison(conflict, here, gitlab, hunks, digest)


def _version(own: git.Repository, commit: str, path: str) -> Version:
    entry = own.entry(commit, path)
    return Version(newest_change(own, commit, path), entry, _text(own, entry))


def _text(own: git.Repository, entry: Entry | None) -> str | None:
    """Return a file as text; None if it cannot be compared line by line."""
    if entry is None or entry.kind != "blob" or entry.mode == "120000" or (entry.size or 0) > MAX_TEXT:
        return None
    try:
        text = own.blob(entry.id, MAX_TEXT).decode()
    except UnicodeDecodeError:
        return None
    return None if "\x00" in text else text


def _hunks(own: git.Repository, here: str, base: str, gitlab: str) -> list[Hunk]:
    """Return the passages of both versions against the one they come from."""
    with tempfile.TemporaryDirectory(dir=own.path) as folder:
        names = []
        for name, text in (("here", here), ("base", base), ("gitlab", gitlab)):
            Path(folder, name).write_bytes(text.encode())
            names.append(str(Path(folder, name)))
        arguments = ("merge-file", "-p", "--diff3", f"--marker-size={MARK}", "-L", "here", "-L", "base", "-L", "gitlab")
        try:
            # Its status is the number of passages, up to 127.
            merged = own.run(*arguments, *names, accepted=range(128)).decode()
        except GitFailed:
            return []
    hunks: list[Hunk] = []
    lines = merged.split("\n")
    opened, parted, between, closed = "<" * MARK, "=" * MARK, "|" * MARK, ">" * MARK
    settled: list[str] = []
    sides: dict[str, list[str]] = {}
    at, line_number, number = "", 1, 0
    for line in lines:
        if not at and line == f"{opened} here":
            if settled:
                hunks.append(Hunk(0, line_number, tuple(settled)))
                line_number += len(settled)
            settled, at, sides = [], "here", {"here": [], "base": [], "gitlab": []}
        elif at == "here" and line == f"{between} base":
            at = "base"
        elif at == "base" and line == parted:
            at = "gitlab"
        elif at == "gitlab" and line == f"{closed} gitlab":
            number += 1
            hunks.append(Hunk(number, line_number, (), tuple(sides["here"]), tuple(sides["gitlab"])))
            line_number += len(sides["gitlab"])
            at = ""
        elif at:
            sides[at].append(line)
        else:
            settled.append(line)
    if settled and settled != [""]:
        hunks.append(Hunk(0, line_number, tuple(settled)))
    return hunks


def _chosen(found: Comparison, choices: Mapping[str, str]) -> str:
    lines: list[str] = []
    missing = []
    for hunk in found.hunks:
        chosen = choices.get(f"hunk-{hunk.number}", "") if hunk.number else "settled"
        if chosen not in {*CHOICES, "settled"}:
            missing.append(hunk.number)
        elif chosen == "own":
            lines += choices.get(f"text-{hunk.number}", "").replace("\r\n", "\n").rstrip("\n").split("\n")
        elif chosen == "settled":
            lines += hunk.settled
        else:
            lines += hunk.here if chosen in {"here", "both"} else ()
            lines += hunk.gitlab if chosen in {"gitlab", "both"} else ()
    if missing or not found.hunks:
        raise InvalidInput("Choose a version of every passage first.")
    text = "\n".join(lines)
    return text if text.endswith("\n") or not text else text + "\n"


def _marked(lines: tuple[str, ...], others: tuple[str, ...]) -> list[list[Piece]]:
    """Return lines in pieces, those marked that the other version does not have."""
    words = [[*_WORDS.findall(line), "\n"] for line in lines]
    flat = [word for line in words for word in line]
    other = [word for line in others for word in [*_WORDS.findall(line), "\n"]]
    same = [False] * len(flat)
    if len(flat) * len(other) <= 4_000_000:
        for block in difflib.SequenceMatcher(None, flat, other, autojunk=False).get_matching_blocks():
            same[block.a : block.a + block.size] = [True] * block.size
    shown, at = [], 0
    for line in words:
        pieces: list[Piece] = []
        for word in line[:-1]:
            is_marked = not same[at]
            at += 1
            if pieces and pieces[-1].is_marked == is_marked:
                pieces[-1] = Piece(pieces[-1].text + word, is_marked)
            else:
                pieces.append(Piece(word, is_marked))
        at += 1
        shown.append(pieces)
    return shown
