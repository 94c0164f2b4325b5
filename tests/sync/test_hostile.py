"""Repositories, servers and names that want more than to be synced: nothing runs, nothing leaves the site's folder."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlmodel import select

from portal.audit.models import AuditEvent
from portal.connections.models import Connection
from portal.errors import InvalidInput, NotFound
from portal.jobs import Job
from portal.net import NetworkPolicy, OutboundClient, parse_address
from portal.sync import files, git, merging
from portal.sync.git import GitFailed, Person, Repository, is_branch_name
from portal.sync.models import SiteState
from portal.sync.remote import RemoteFailed, open_remote
from portal.sync.store import HERE, path_of
from tests.sync.synced import Synced

MARK = "touched-by-git"
COMMANDS = (
    *("--upload-pack=touch {mark}", "-oProxyCommand=touch {mark}", "ext::sh -c touch% {mark}", "$(touch {mark})"),
    *(";touch {mark}", "`touch {mark}`", "--output={mark}", "-x", "--evil"),
)
# Mode and name of what is put beside harmless files, and its content.
TREES: dict[str, tuple[str, bytes, bytes]] = {
    "option as a name": ("100644", b"--upload-pack=touch x", b"x"),
    "dash": ("100644", b"-rf", b"x"),
    "dot git": ("100644", b".git", b"[core]\n\tfsmonitor = touch x\n"),
    "dot GIT": ("100644", b".GIT", b"x"),
    "short name of Windows": ("100644", b"git~1", b"x"),
    "dot git with a blank": ("100644", b".git ", b"x"),
    "dot git with a colon": ("100644", b".git::$INDEX_ALLOCATION", b"x"),
    "dot git with a joiner": ("100644", ".g\u200cit".encode(), b"x"),
    "dot dot": ("100644", b"..", b"x"),
    "dot": ("100644", b".", b"x"),
    "slash in a name": ("100644", b"a/../../b", b"x"),
    "backslash": ("100644", b"..\\..\\b", b"x"),
    "absolute symlink": ("120000", b"passwd", b"/etc/passwd"),
    "symlink upwards": ("120000", b"up", b"../../../etc"),
    "submodule": ("160000", b"sub", b""),
    "attributes": ("100644", b".gitattributes", b"* filter=evil merge=evil diff=evil ident\n"),
    "submodules": ("100644", b".gitmodules", b'[submodule "x"]\n\tpath = x\n\turl = ext::sh -c touch% x\n'),
    "submodule upwards": ("100644", b".gitmodules", b'[submodule "../../x"]\n\tpath = x\n\turl = https://x/y\n'),
    "hooks": ("100644", b"hooks", b"x"),
    "bidirectional name": ("100644", "invoice\u202ecod.exe".encode(), b"x"),
    "escape sequence": ("100644", b"\x1b[31mred", b"x"),
    "line end in a name": ("100644", b"two\nlines", b"x"),
    "not UTF-8": ("100644", b"\xff\xfe.md", b"x"),
    "255 bytes": ("100644", b"n" * 255, b"x"),
    "1,000 bytes": ("100644", b"n" * 1000, b"x"),
    "set user id": ("104755", b"suid", b"x"),
    "script": ("100755", b"run.sh", b"#!/bin/sh\ntouch x\n"),
    "case twins": ("100644", b"INDEX.MD", b"x"),
    "LFS pointer": (
        "100644",
        b"film.mp4",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 212000000\n",
    ),
    "conflict markers": ("100644", b"marks.md", b"<<<<<<< here\na\n=======\nb\n>>>>>>> gitlab\n"),
    "NUL in a text": ("100644", b"nul.md", b"a\x00b"),
    "windows line ends": ("100644", b"crlf.md", b"a\r\nb\r\n"),
    "image that is a page": ("100644", b"page.png", b"<script>alert(1)</script>"),
    "drawing": ("100644", b"drawing.svg", b"<svg onload='alert(1)'/>"),
}


def raw_commit(site: Synced, name: str, mode: str, path: bytes, body: bytes, parent: str) -> None:
    """Push a branch whose tree git's own commands would refuse to write."""
    store, project = site.sandbox.world.git, site.project
    where = store.path(project)

    def hashed(kind: str, content: bytes) -> bytes:
        command = ["git", "hash-object", "-t", kind, "-w", "--stdin", "--literally"]
        return subprocess.run(command, cwd=where, input=content, capture_output=True, check=True).stdout.strip()

    blob = hashed("blob", body) if mode != "160000" else b"1" * 40
    rows = [(b"100644", b"index.md", hashed("blob", b"harmless\n")), (mode.encode(), path, blob)]
    rows.sort(key=lambda row: row[1])
    tree = b"".join(kind + b" " + entry + b"\0" + bytes.fromhex(of.decode()) for kind, entry, of in rows)
    told = (
        f"tree {hashed('tree', tree).decode()}\nparent {parent}\nauthor \x1b[31mEve <e@x> 1 +0000\n"
        "committer Eve <e@x> 1 +0000\n\n\x1b]0;x\x07\n"
    )
    commit = hashed("commit", told.encode()).decode()
    (where / "refs/heads" / name).write_text(f"{commit}\n")


@contextmanager
def watched(site: Synced) -> Iterator[list[str]]:
    """Collect the argument lists of every process of this machine while the block runs."""
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    seen.add((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    continue

    watcher = threading.Thread(target=look)
    watcher.start()
    found: list[str] = []
    try:
        yield found
    finally:
        over.set()
        watcher.join()
        found += sorted(seen)


def files_below(folder: Path, besides: Path) -> set[str]:
    """Every file in a folder, except what is in one of its folders."""
    return {str(path) for path in folder.rglob("*") if besides not in path.parents and path.is_file()}


def test_trees_of_every_kind_write_nothing_outside_and_start_nothing(site: Synced) -> None:
    own, folder = path_of(site.runtime, site.row), site.runtime.settings.data_dir
    connection_id, parent = site.row.connection_id or 0, site.heads()[1] or ""
    for number, (mode, path, body) in enumerate(TREES.values()):
        raw_commit(site, f"case-{number}", mode, path, body, parent)
    with site.runtime.database.reading() as session:
        connection = session.get_one(Connection, connection_id)
    before, outcomes = files_below(folder, own), {}
    person = Person("Eve", "eve@example.com")
    with open_remote(site.runtime, connection, site.repository.path_with_namespace) as remote:
        for number, name in enumerate(TREES):
            repository = Repository(own)
            try:
                commit = remote.fetch(repository, f"case-{number}", f"refs/gitlab/case-{number}")
            except RemoteFailed as error:
                outcomes[name] = error.card.code
                continue
            outcomes[name] = "read"
            assert commit is not None
            # Everything that pages and the sync do with it.
            list(repository.entries(commit, is_deep=True))
            found = merging.merge(repository, site.own.head(HERE) or "", commit)
            merging.merge_commit(repository, found, site.own.head(HERE) or "", commit, person, "gatehouse/conflict-1")
            repository.move(HERE, commit, repository.head(HERE))
            for item in files.list_folder(site.runtime, site.row):
                if item.kind != files.Kind.FOLDER:
                    content, sent = files.read_file(site.runtime, site.row, item.path)
                    assert not (content.kind in {files.Kind.SYMLINK, files.Kind.SUBMODULE} and sent), name
            files.history(site.runtime, site.row)

    refused = {name for name, outcome in outcomes.items() if outcome == "git_unsafe"}
    assert {
        "dot git",
        "dot GIT",
        "dot git with a joiner",
        "dot dot",
        "dot",
        "slash in a name",
        "submodule upwards",
    } <= refused
    assert set(outcomes.values()) == {"git_unsafe", "read"}
    assert outcomes["image that is a page"] == outcomes["LFS pointer"] == outcomes["not UTF-8"] == "read"
    assert files_below(folder, own) - before == set()
    assert not list(own.rglob("*.lock"))


def test_page_of_hostile_names_and_files_shows_what_they_are(site: Synced) -> None:
    for name in ("absolute symlink", "LFS pointer", "image that is a page", "bidirectional name", "windows line ends"):
        mode, path, body = TREES[name]
        tree = site.own.changed_tree(site.own.head(HERE), {path.decode(): (mode, site.own.store_blob(body))})
        person = Person("Eve", "eve@example.com")
        head = site.own.head(HERE)
        site.own.move(HERE, site.own.commit(tree, [head or ""], "x", person, person), head)
    read = {path: files.read_file(site.runtime, site.row, path) for path in ("passwd", "film.mp4", "page.png")}

    assert (read["passwd"][0].kind, read["passwd"][0].text, read["passwd"][1]) == (
        files.Kind.SYMLINK,
        "/etc/passwd",
        b"",
    )
    assert (read["film.mp4"][0].kind, read["film.mp4"][0].lfs_size) == (files.Kind.LFS, 212_000_000)
    assert read["page.png"][0].kind == files.Kind.TEXT
    entry = site.own.entry(site.own.head(HERE) or "", "crlf.md")
    files.save_file(site.runtime, site.principal, site.slug, "crlf.md", "a\r\nb\r\nc\r\n", entry.id if entry else None)
    assert site.here("crlf.md") == "a\r\nb\r\nc\r\n"


@pytest.mark.parametrize("value", COMMANDS)
def test_values_that_look_like_options_or_commands_start_nothing(site: Synced, value: str, tmp_path: Path) -> None:
    mark = tmp_path / MARK
    value = value.format(mark=mark)
    own, head = site.own, site.own.head(HERE) or ""
    with site.runtime.database.reading() as session:
        connection = session.get_one(Connection, site.row.connection_id)

    attempts: list[Callable[[], object]] = [
        lambda: own.head(value),
        lambda: own.entry(head, value),
        lambda: list(own.entries(head, value)),
        lambda: files.read_file(site.runtime, site.row, value),
        lambda: files.history(site.runtime, site.row, value),
        lambda: files.history(site.runtime, site.row, before=value),
        lambda: own.commit(own.tree_of(head) or "", [head], value, Person(value, value), Person(value, value)),
        lambda: files.save_file(site.runtime, site.principal, site.slug, value, "x", None),
    ]
    for attempt in attempts:
        try:
            attempt()
        except (GitFailed, NotFound, InvalidInput):
            continue
    with open_remote(site.runtime, connection, value) as remote, pytest.raises(RemoteFailed):
        remote.fetch(own, "main", "refs/gitlab/x")

    assert not is_branch_name(value)
    assert not mark.exists()
    assert not (Path.cwd() / MARK).exists()


def test_paths_that_a_file_system_would_change_are_refused() -> None:
    for path in (
        *("", "/", "..", "a/../b", "./a", ".git/config", "x/.GIT/y", "git~1", ".git ", "a\\b", "a\x00b", "a\u202eb"),
        *("n" * 256, "/".join("a" * 51), "trailing.", "a/ leading", "x" * 1001, "a//b", "tab\there"),
    ):
        with pytest.raises(InvalidInput):
            files.check_path(path)
    assert files.check_path(" guides/Überblick.md ") == "guides/Überblick.md"


def test_redirect_and_forbidden_address_are_not_followed(site: Synced) -> None:
    site.sandbox.faults.add("*/info/refs", redirect="http://127.0.0.1:9/elsewhere/info/refs", times=1)
    site.write("new.md", "new\n")
    site.sync()
    first = (site.row.state, site.code)
    object.__setattr__(site.runtime, "outbound", OutboundClient(NetworkPolicy(own_origin="http://x.example.com")))
    site.sync()
    second = site.code
    policy = NetworkPolicy(exempt=parse_address(site.sandbox.url, allow_http=True))
    # The name leads elsewhere by now: one answer that is not allowed refuses all.
    outbound = OutboundClient(policy, resolve=lambda host, port: ["127.0.0.1", "169.254.169.254"])
    object.__setattr__(site.runtime, "outbound", outbound)
    site.sync()

    assert first == (SiteState.RETRYING, "git_failed")
    assert second.startswith("address_")
    assert site.code.startswith("address_")
    assert site.there("new.md") is None


def test_token_is_in_no_argument_file_log_or_row(site: Synced, caplog: pytest.LogCaptureFixture) -> None:
    token = next(iter(site.sandbox.requests.all("/api/v4/*"))).headers["authorization"].removeprefix("Bearer ")
    with watched(site) as commands:
        for number in range(3):
            site.write(f"new-{number}.md", "new\n")
            site.sync()
    site.sandbox.faults.add("*/info/refs", status=403, body=f"remote: no {token}", times=1)
    site.write("refused.md", "x\n")
    site.sync()

    assert any("remote-http" in command for command in commands)
    assert not [command for command in commands if token in command]
    with site.runtime.database.reading() as session:
        rows = [*session.exec(select(Job)), *session.exec(select(AuditEvent)), site.row]
    assert not [row for row in rows if token in str(row.model_dump())]
    own = path_of(site.runtime, site.row)
    assert not [path for path in own.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
    assert token not in caplog.text


def test_git_that_takes_too_long_or_writes_too_much_is_ended_with_all_its_children(
    site: Synced, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = site.own
    monkeypatch.setattr(git, "program", lambda: "/bin/sh")
    began = time.monotonic()
    with pytest.raises(GitFailed) as late:
        own.run("-c", "sleep 60 & sleep 60; wait", seconds=0.3)
    with pytest.raises(GitFailed):
        own.run("-c", "while true; do echo 0123456789; done", max_bytes=100_000)
    monkeypatch.setattr(git, "MAX_FILE_BYTES", 100_000)
    with pytest.raises(GitFailed):
        own.run("-c", f"head -c 200000 /dev/zero > {own.path}/large || exit 9")

    assert late.value.is_late
    assert time.monotonic() - began < 50
    assert os.path.getsize(own.path / "large") <= 100_000


def test_environment_of_git_is_its_own(site: Synced, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEHOUSE_KEYS", "canary")
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.setattr(git, "program", lambda: "/usr/bin/env")

    told = dict(line.split("=", 1) for line in site.own.run("-u", "X").decode().splitlines() if "=" in line)

    assert "canary" not in str(told)
    assert told["GIT_DIR"] == str(site.own.path)
    assert (told["GIT_CONFIG_NOSYSTEM"], told["GIT_ALLOW_PROTOCOL"], told["HOME"]) == ("1", "", "/nonexistent")
    config = {told[f"GIT_CONFIG_KEY_{number}"]: told[f"GIT_CONFIG_VALUE_{number}"] for number in range(len(git.CONFIG))}
    assert (config["core.hooksPath"], config["http.followRedirects"]) == ("/dev/null", "false")
    assert (config["fetch.fsckObjects"], config["safe.bareRepository"]) == ("true", "explicit")
