"""What is in a site: folders, files and their history; and how people change it. Each change is one commit."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from portal import audit
from portal.actor import Principal
from portal.connections.models import Connection
from portal.db import utc_now
from portal.errors import Conflict, InvalidInput, NotFound
from portal.foreign import clean
from portal.runtime import Runtime
from portal.sync.git import Entry, GitFailed, Person, Repository
from portal.sync.models import Site
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

# GitLab's branch as far as it was brought together with the one here.
GITLAB = "refs/gitlab/branch"
# Several changes in a row are sent together.
PAUSE = timedelta(seconds=5)
MAX_TEXT = 700_000
MAX_IMAGE = 8 * 1024 * 1024
MAX_DEPTH = 50
MAX_PATH_BYTES = 1000
MAX_NAME_BYTES = 255
FILE = "100644"
EXECUTABLE = "100755"
SYMLINK = "120000"
SUBMODULE = "160000"
# How many commits are looked through for the newest change of each entry of a folder.
HISTORY = 2000
PER_PAGE = 30
# What a browser shows by itself; SVG may hold scripts, so it is shown as text.
IMAGES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"}
_SIGNATURES = {
    "png": b"\x89PNG\r\n\x1a\n",
    "jpg": b"\xff\xd8\xff",
    "jpeg": b"\xff\xd8\xff",
    "gif": b"GIF8",
    "webp": b"RIFF",
}
# git-lfs.com, "The Pointer".
_LFS = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:[0-9a-f]{64}\nsize (\d{1,15})\n")
_GIT = re.compile(r"git~\d+|\.git[. ]*", re.IGNORECASE)


class Kind(StrEnum):
    """What an entry is, as far as it can be shown."""

    FOLDER = "folder"
    TEXT = "text"
    IMAGE = "image"
    BINARY = "binary"
    LARGE = "large"
    # A pointer of Git LFS: the content is kept elsewhere.
    LFS = "lfs"
    SYMLINK = "symlink"
    SUBMODULE = "submodule"


@dataclass(frozen=True)
class Change:
    """One commit, as the history and the list show it."""

    commit: str
    author: str
    committer: str
    at: datetime
    title: str
    paths: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        """The beginning of its id."""
        return self.commit[:8]


@dataclass(frozen=True)
class Item:
    """A line of a folder."""

    name: str
    path: str
    kind: Kind
    size: int | None
    files: int
    newest: Change | None
    # Two names that a file system without capitals cannot tell apart.
    is_twin: bool = False


@dataclass(frozen=True)
class Content:
    """A file that is shown."""

    path: str
    kind: Kind
    size: int
    text: str
    id: str
    lfs_size: int = 0

    @property
    def can_edit(self) -> bool:
        """Whether people may change it in the browser."""
        return self.kind == Kind.TEXT


def check_path(text: str) -> str:
    """Return a path for a file within a site, as it is stored.

    Raises:
        InvalidInput: git or some file system would not keep it as it is (S96).
    """
    path = unicodedata.normalize("NFC", text.strip()).strip("/")
    parts = path.split("/")
    is_known = path.isprintable() and "\\" not in path and len(path.encode(errors="replace")) <= MAX_PATH_BYTES
    sentence = ""
    if not path or not is_known or len(parts) > MAX_DEPTH:
        sentence = "Enter a name such as guides/start.md, without backslashes or invisible characters."
    elif any(part in {"", ".", ".."} or len(part.encode()) > MAX_NAME_BYTES for part in parts):
        sentence = "Every part of the path needs a name of at most 255 bytes; . and .. are not names."
    elif any(_GIT.fullmatch(part) for part in parts):
        sentence = "A file or folder cannot be called .git."
    elif any(part.endswith((" ", ".")) or part.startswith(" ") for part in parts):
        sentence = "Names must not begin with a blank, or end with a blank or a full stop."
    if sentence:
        raise InvalidInput(sentence, field_errors={"path": sentence})
    return path


def full_path(site: Site, path: str) -> str:
    """Return a path of the site as the repository has it.

    Raises:
        NotFound: git has no such path: it would lead out of the repository, or has an empty part.
    """
    if path and not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise NotFound
    return f"{site.folder}/{path}".strip("/")


def list_folder(runtime: Runtime, site: Site, path: str = "") -> list[Item]:
    """Return what is in a folder of the site: folders first, then files, by name.

    Raises:
        NotFound: there is no such folder.
    """
    repository = repository_of(runtime, site)
    head = repository.head(HERE)
    if head is None:
        if path:
            raise NotFound
        return []
    folder = full_path(site, path)
    if folder and repository.tree_of(head, folder) is None:
        if path:
            raise NotFound
        return []
    entries = list(repository.entries(head, folder))
    newest = _newest(repository, head, folder, {entry.name for entry in entries})
    counts: dict[str, int] = {}
    if any(entry.kind == "tree" for entry in entries):
        prefix = len(folder) + 1 if folder else 0
        for entry in repository.entries(head, folder, is_deep=True):
            first, slash, _ = entry.path[prefix:].partition("/")
            if slash:
                counts[first] = counts.get(first, 0) + 1
    folded = [entry.name.casefold() for entry in entries]
    items = [
        Item(
            entry.name,
            f"{path}/{entry.name}".strip("/"),
            _kind_of(entry),
            entry.size,
            counts.get(entry.name, 0),
            newest.get(entry.name),
            folded.count(entry.name.casefold()) > 1,
        )
        for entry in entries
    ]
    return sorted(items, key=lambda item: (item.kind != Kind.FOLDER, item.name.casefold(), item.name))


def _kind_of(entry: Entry) -> Kind:
    if entry.kind == "tree":
        return Kind.FOLDER
    if entry.kind == "commit":
        return Kind.SUBMODULE
    if entry.mode == SYMLINK:
        return Kind.SYMLINK
    extension = entry.name.rpartition(".")[2].lower()
    return Kind.IMAGE if extension in IMAGES and "." in entry.name else Kind.TEXT


def read_file(runtime: Runtime, site: Site, path: str, *, commit: str = "") -> tuple[Content, bytes]:
    """Return a file of the site with its content, empty if that is not shown.

    Raises:
        NotFound: there is no such file.
    """
    repository = repository_of(runtime, site)
    head = commit or repository.head(HERE)
    entry = repository.entry(head, full_path(site, path)) if head and path else None
    if entry is None or entry.kind == "tree":
        raise NotFound
    kind, size = _kind_of(entry), entry.size or 0
    if kind == Kind.SUBMODULE:
        return Content(path, kind, 0, "", entry.id), b""
    if kind != Kind.SYMLINK and size > (MAX_IMAGE if kind == Kind.IMAGE else MAX_TEXT):
        return Content(path, Kind.LARGE, size, "", entry.id), b""
    body = repository.blob(entry.id, MAX_IMAGE)
    if kind == Kind.SYMLINK:
        return Content(path, kind, size, clean(body.decode(errors="replace")), entry.id), b""
    if found := _LFS.match(body):
        return Content(path, Kind.LFS, size, "", entry.id, int(found[1])), b""
    extension = path.rpartition(".")[2].lower()
    if kind == Kind.IMAGE and body.startswith(_SIGNATURES[extension]):
        return Content(path, kind, size, "", entry.id), body
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return Content(path, Kind.BINARY, size, "", entry.id), body
    if "\x00" in text:
        return Content(path, Kind.BINARY, size, "", entry.id), body
    return Content(path, Kind.TEXT, size, text, entry.id), body


def history(
    runtime: Runtime, site: Site, path: str = "", *, before: str = "", limit: int = PER_PAGE
) -> tuple[list[Change], str]:
    """Return the newest changes of the site or of one path, and the commit at which the next page begins.

    Raises:
        NotFound: `before` is not a commit of this site.
    """
    repository = repository_of(runtime, site)
    start = before or repository.head(HERE)
    if start is None:
        return [], ""
    where = full_path(site, path)
    try:
        found = _log(repository, start, where, limit + 1)
    except GitFailed:
        raise NotFound from None
    return found[:limit], found[limit].commit if len(found) > limit else ""


def unsent(runtime: Runtime, site: Site) -> set[str]:
    """Return the commits that GitLab's branch does not have yet, as far as they are shown."""
    repository = repository_of(runtime, site)
    if not site.is_connected or repository.head(HERE) is None:
        return set()
    known = [f"^{ref}" for ref in (GITLAB,) if repository.head(ref)]
    return set(repository.run("rev-list", f"--max-count={HISTORY}", HERE, *known).decode().split())


def newest_change(repository: Repository, commit: str, path: str) -> Change | None:
    """Return the newest change of a path, as a commit has it."""
    return next(iter(_log(repository, commit, path, 1, "--no-merges")), None)


def _log(repository: Repository, start: str, where: str, limit: int, *more: str) -> list[Change]:
    form = "--format=%x01%H%x02%an%x02%cn%x02%at%x02%s%x03"
    arguments = ["log", f"--max-count={limit}", "-z", form, "--name-only", "--diff-merges=first-parent", *more]
    output = repository.run(
        *arguments, "--end-of-options", start, *(["--", where] if where else ["--"]), env={"GIT_LITERAL_PATHSPECS": "1"}
    )
    found = []
    prefix = f"{where}/"
    for record in output.decode(errors="replace").split("\x01")[1:]:
        head, _, names = record.partition("\x03")
        commit, author, committer, at, title = head.split("\x02", 4)
        paths = tuple(
            clean(name.removeprefix(prefix) if where else name, 1000)
            for name in names.strip("\0\n").split("\0")
            if name
        )
        when = datetime.fromtimestamp(max(0, min(int(at or 0), 2**33)), UTC)
        found.append(Change(commit, clean(author, 100), clean(committer, 100), when, clean(title, 200), paths))
    return found


def _newest(repository: Repository, head: str, folder: str, names: set[str]) -> dict[str, Change]:
    """Return the newest change of each name in a folder, as far back as is looked."""
    found: dict[str, Change] = {}
    for change in _log(repository, head, folder, HISTORY, "--no-merges"):
        for path in change.paths:
            found.setdefault(path.partition("/")[0], change)
        if names <= found.keys():
            break
    return found


# Changes.


def save_file(runtime: Runtime, principal: Principal, slug: str, path: str, text: str, expected: str | None) -> Site:
    """Store a text as a file.

    Args:
        runtime: of this process.
        principal: who writes it; the author of the commit.
        slug: of the site.
        path: within the site.
        text: line ends become those of Unix, unless the file has others.
        expected: the id of the content that it replaces; None for a new file.

    Raises:
        InvalidInput: the path cannot be used.
        Conflict: someone else has changed it, or there is such a file already.
    """
    body = text.replace("\r\n", "\n").encode()
    word = "Change" if expected else "Add"
    return change_files(runtime, principal, slug, {check_path(path): (body, expected)}, f"{word} {{name}}")


def upload_file(runtime: Runtime, principal: Principal, slug: str, path: str, body: bytes, *, replaces: bool) -> Site:
    """Store a file as it is.

    Raises:
        InvalidInput: the path cannot be used.
        Conflict: there is one already, and it is not to be replaced.
    """
    path, known = check_path(path), None
    if replaces:
        with runtime.database.reading() as session:
            site = find_site(session, principal, slug)
        repository = repository_of(runtime, site)
        head = repository.head(HERE)
        entry = repository.entry(head, full_path(site, path)) if head else None
        known = entry.id if entry else None
    return change_files(runtime, principal, slug, {path: (body, known)}, "Upload {name}", is_text=False)


def delete_file(runtime: Runtime, principal: Principal, slug: str, path: str, expected: str) -> Site:
    """Delete a file; its history stays.

    Raises:
        Conflict: someone else has changed it.
    """
    return change_files(runtime, principal, slug, {path: (None, expected)}, "Delete {name}")


def change_files(
    runtime: Runtime,
    principal: Principal,
    slug: str,
    changes: Mapping[str, tuple[bytes | None, str | None]],
    message: str,
    *,
    is_text: bool = True,
) -> Site:
    """Commit changes of files: for each path the new content (None: delete it) and the id that it replaces.

    Raises:
        InvalidInput: git does not take a path.
        Conflict: someone else has changed one.
    """
    with runtime.database.reading() as session:
        # Rights are checked again in the transaction below.
        site = find_site(session, principal, slug)
    with holding(runtime, site, "edit") as repository:
        repository.create()
        head = repository.head(HERE)
        edits: dict[str, tuple[str, str] | None] = {}
        for path, (body, expected) in changes.items():
            where = full_path(site, path)
            entry = repository.entry(head, where) if head else None
            if (entry.id if entry else None) != expected:
                raise Conflict(
                    f"{path} was changed by someone else in the meantime. Compare both versions, then save again."
                    if expected
                    else f"There is already a file called {path}."
                )
            if is_text and body and entry and b"\r\n" in repository.blob(entry.id, MAX_IMAGE):
                body = body.replace(b"\n", b"\r\n")
            mode = entry.mode if entry and entry.mode in {FILE, EXECUTABLE} else FILE
            edits[where] = None if body is None else (mode, repository.store_blob(body))
        try:
            tree = repository.changed_tree(head, edits)
        except GitFailed:
            sentence = "Git does not take this path. Choose another name."
            raise InvalidInput(sentence, field_errors={"path": sentence}) from None
        names = list(changes)
        said = message.format(name=names[0] if len(names) == 1 else f"{len(names)} files")
        with runtime.database.transaction() as session:
            site = find_site_to_change(session, principal, slug)
            connection = session.get(Connection, site.connection_id) if site.connection_id else None
            author = Person(principal.name, principal.email)
            commit = repository.commit(tree, [head] if head else [], said, author, committer_of(session, connection))
            if not repository.move(HERE, commit, head):
                raise Conflict("The site was changed in the meantime. Save again.")
            note_head(session, repository, site)
            mark_due(site, utc_now() + PAUSE)
            audit.record(session, principal.actor, "site.files_changed", site.target, files=names[:20], commit=commit)
    return site
