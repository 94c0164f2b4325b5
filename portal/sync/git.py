"""The git program: one bare repository for each site, without a work tree, hooks or anything from the environment.

Foreign text never becomes an option: subcommands are ours, refs are ours or full commit ids, and paths come after `--`
or on standard input (S91). What a repository contains cannot start a program: hooks, file system monitors, filters,
submodules, bundle URIs and protocols besides the one of the connection are off (S93).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from portal.errors import Card, Unavailable
from portal.private import private_folder

# `merge-tree --write-tree` (git-scm.com/docs/git-merge-tree).
OLDEST = (2, 38)
SECONDS = 60.0
MAX_OUTPUT = 64 * 1024 * 1024
MAX_ERRORS = 64 * 1024
# Of one file that git writes, a pack above all (S97).
MAX_FILE_BYTES = 2 * 1024**3
CPU_SECONDS = 600
REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,200}\Z")
_VERSION = re.compile(r"git version (\d+)\.(\d+)")
CONFIG = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "core.alternateRefsCommand": "true",
    "core.logAllRefUpdates": "always",
    "credential.helper": "",
    "fetch.fsckObjects": "true",
    # Old mistakes of harmless kinds, which many repositories have in their history.
    "fetch.fsck.badTimezone": "ignore",
    "fetch.fsck.missingSpaceBeforeDate": "ignore",
    "fetch.fsck.zeroPaddedFilemode": "ignore",
    "fetch.fsck.missingEmail": "ignore",
    "fetch.recurseSubmodules": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "500",
    "http.lowSpeedTime": "30",
    "http.userAgent": "Gatehouse",
    "merge.renames": "true",
    "pack.threads": "1",
    "pack.windowMemory": "64m",
    "protocol.version": "2",
    "push.recurseSubmodules": "no",
    "safe.bareRepository": "explicit",
    "submodule.recurse": "false",
    "transfer.bundleURI": "false",
}


class GitFailed(Exception):
    """Git ended with an error, or was ended because it took too long or wrote too much.

    Attributes:
        status: its exit status; below 0: the signal that ended it.
        errors: what it wrote to standard error, as it came: it may repeat text of GitLab.
        output: what it wrote to standard output.
        is_late: whether its time was over.
    """

    def __init__(self, status: int, errors: str, output: str = "", *, is_late: bool = False) -> None:
        super().__init__(f"git ended with status {status}")
        self.status, self.errors, self.output, self.is_late = status, errors, output, is_late


class GitMissing(Unavailable):
    """Git is not installed, or is too old."""

    sentence = f"Git is not installed where this portal runs, or is older than {'.'.join(map(str, OLDEST))}."

    def failure(self) -> Card:
        """Return what people are told."""
        return Card("git_missing", {"oldest": ".".join(map(str, OLDEST))})


@dataclass(frozen=True)
class Entry:
    """One line of a tree."""

    mode: str
    kind: str
    id: str
    size: int | None
    path: str

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Person:
    """An author or committer."""

    name: str
    email: str

    def written(self) -> tuple[str, str]:
        """Return name and address without what git uses to separate them."""
        name, email = (re.sub(r"[<>\x00-\x1f\x7f]", "", text).strip() for text in (self.name, self.email))
        return name or "Gatehouse", email or "noreply@gatehouse.invalid"


def program() -> str:
    """Return the path of git.

    Raises:
        GitMissing: there is none.
    """
    found = shutil.which("git")
    if found is None:
        raise GitMissing
    return found


def version() -> tuple[int, int]:
    """Return the version of git.

    Raises:
        GitMissing: there is none.
    """
    # Our own argument.
    said = subprocess.run([program(), "version"], capture_output=True, timeout=SECONDS, check=False)  # noqa: S603
    found = _VERSION.match(said.stdout.decode(errors="replace"))
    if found is None:
        raise GitMissing
    return int(found[1]), int(found[2])


def is_branch_name(name: str) -> bool:
    """Return whether a branch may be used: git itself accepts names that look like options or hide characters (S92)."""
    parts = name.split("/")
    return (
        REF.match(name) is not None
        and ".." not in name
        and all(part and not part.startswith(".") and not part.endswith((".", ".lock")) for part in parts)
    )


@dataclass(frozen=True)
class Repository:
    """One of our bare repositories, and what is asked of it."""

    path: Path
    # Held by whoever runs git, so that a child that outlives a killed process keeps others out.
    locks: tuple[int, ...] = field(default=())

    def create(self) -> None:
        """Make it, without anything in it, unless it is there.

        Raises:
            GitFailed, GitMissing.
        """
        if (self.path / "HEAD").exists():
            return
        if version() < OLDEST:
            raise GitMissing
        private_folder(self.path.parent)
        self.run("init", "--bare", "--quiet", "--object-format=sha1", "--template=", "--initial-branch=here", ".")

    def run(
        self,
        *arguments: str,
        input: bytes = b"",
        env: Mapping[str, str] | None = None,
        config: Iterable[tuple[str, str]] = (),
        seconds: float = SECONDS,
        max_bytes: int = MAX_OUTPUT,
        accepted: Sequence[int] = (0,),
        passed: Sequence[int] = (),
    ) -> bytes:
        """Run git in this repository and return what it wrote to standard output.

        Args:
            arguments: the subcommand and its own; nothing foreign before `--end-of-options` or `--`.
            input: for standard input.
            env: besides the fixed variables.
            config: besides `CONFIG`; only git and its children see it, in their environment.
            seconds: by the wall clock; then all of its processes are killed.
            max_bytes: of the output.
            accepted: exit statuses that are answers.
            passed: file descriptors that it inherits, besides the locks.

        Raises:
            GitFailed, GitMissing.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        everything = [*CONFIG.items(), *config]
        # No address goes out by default: a command that talks to GitLab says which protocol it may.
        variables = {
            "PATH": os.defpath,
            "HOME": "/nonexistent",
            "LC_ALL": "C.UTF-8",
            "GIT_DIR": str(self.path) if arguments[0] != "init" else ".",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_CONFIG_COUNT": str(len(everything)),
            **{f"GIT_CONFIG_KEY_{number}": name for number, (name, _) in enumerate(everything)},
            **{f"GIT_CONFIG_VALUE_{number}": value for number, (_, value) in enumerate(everything)},
            **(env or {}),
        }
        with tempfile.TemporaryFile() as errors:
            child = subprocess.Popen(  # noqa: S603 - an argument list; what is foreign comes after `--`
                [*_limits(), program(), *arguments],
                cwd=self.path,
                env=variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                pass_fds=(*self.locks, *passed),
                start_new_session=True,
            )
            is_late = threading.Event()

            def end() -> None:
                is_late.set()
                _kill(child)

            timer = threading.Timer(seconds, end)
            writer = threading.Thread(target=_feed, args=(child.stdin, input))
            timer.start()
            writer.start()
            try:
                assert child.stdout is not None
                output = child.stdout.read(max_bytes + 1)
                if len(output) > max_bytes:
                    _kill(child)
                status = child.wait()
            except BaseException:
                _kill(child)
                child.wait()
                raise
            finally:
                timer.cancel()
                writer.join()
                child.stdout.close()  # type: ignore[union-attr]
            if status not in accepted or len(output) > max_bytes:
                errors.seek(0)
                said = errors.read(MAX_ERRORS).decode(errors="replace")
                told = output[:MAX_ERRORS].decode(errors="replace")
                raise GitFailed(status or -signal.SIGKILL, said, told, is_late=is_late.is_set())
        return output

    def ask(self, *arguments: str) -> bool:
        """Return git's answer to a question: yes with status 0, no with 1."""
        try:
            self.run(*arguments)
        except GitFailed as error:
            if error.status == 1:
                return False
            raise
        return True

    # Refs and commits.

    def head(self, ref: str) -> str | None:
        """Return the commit that one of our refs leads to; None if it does not exist."""
        found = self.run(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}", accepted=(0, 1, 128)
        )
        return found.decode().strip() or None

    def move(self, ref: str, new: str | None, old: str | None) -> bool:
        """Move a ref from one commit to another; return whether it was still there. None: it does not exist."""
        nothing = "0" * 40
        try:
            if new is None:
                self.run("update-ref", "-d", ref, old or nothing)
            else:
                self.run("update-ref", ref, new, old or nothing)
        except GitFailed as error:
            if error.status > 0 and "cannot lock ref" in error.errors:
                return False
            raise
        return True

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Return whether a commit is among those that another one comes from, or the same."""
        return self.ask("merge-base", "--is-ancestor", older, newer)

    def commit(
        self, tree: str, parents: Sequence[str], message: str, author: Person, committer: Person, at: str = ""
    ) -> str:
        """Store a commit and return its id."""
        named = [part for parent in parents for part in ("-p", parent)]
        (author_name, author_email), (name, email) = author.written(), committer.written()
        env = {
            "GIT_AUTHOR_NAME": author_name,
            "GIT_AUTHOR_EMAIL": author_email,
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": email,
            **({"GIT_AUTHOR_DATE": at, "GIT_COMMITTER_DATE": at} if at else {}),
        }
        text = message.replace("\x00", "").encode()
        return self.run("commit-tree", tree, *named, "-F", "-", input=text, env=env).decode().strip()

    # Trees and blobs.

    def tree_of(self, commit: str, folder: str = "") -> str | None:
        """Return the id of a commit's tree or of a folder in it; None if there is no such folder."""
        for entry in self.entries(commit, folder, only=folder) if folder else ():
            return entry.id if entry.kind == "tree" else None
        return None if folder else self.run("rev-parse", f"{commit}^{{tree}}").decode().strip()

    def entries(self, commit: str, folder: str = "", *, only: str = "", is_deep: bool = False) -> Iterator[Entry]:
        """Yield what a commit has in a folder, by path.

        Args:
            commit: or a tree.
            folder: whose content; empty for the top level.
            only: that path itself, and not what is in it.
            is_deep: every file at any depth instead of one level.
        """
        arguments = ["ls-tree", "-z", "-l", "--full-tree", *(["-r"] if is_deep else []), commit]
        if only or folder:
            arguments += ["--", only or f"{folder}/"]
        for line in self.run(*arguments, env={"GIT_LITERAL_PATHSPECS": "1"}).split(b"\0"):
            if line:
                told, _, path = line.partition(b"\t")
                mode, kind, object_id, size = told.decode().split()
                number = int(size) if size.isdecimal() else None
                yield Entry(mode, kind, object_id, number, path.decode(errors="surrogateescape"))

    def entry(self, commit: str, path: str) -> Entry | None:
        """Return what a commit has at a path."""
        return next(self.entries(commit, only=path), None)

    def blob(self, object_id: str, max_bytes: int) -> bytes:
        """Return the content of a file.

        Raises:
            GitFailed: it is larger.
        """
        return self.run("cat-file", "blob", object_id, max_bytes=max_bytes)

    def store_blob(self, content: bytes) -> str:
        """Store a file's content and return its id."""
        return self.run("hash-object", "-w", "--stdin", input=content).decode().strip()

    def changed_tree(self, commit: str | None, changes: Mapping[str, tuple[str, str] | None]) -> str:
        """Store a tree that differs from a commit's, and return its id.

        Args:
            commit: or a tree; None for an empty one.
            changes: by path: mode and blob, or None to remove it.

        Raises:
            GitFailed: git does not allow a path.
        """
        nothing = "0" * 40
        # Removals first: a file may take the place of a folder.
        ordered = sorted(changes.items(), key=lambda item: item[1] is not None)
        lines = [f"{mode} {blob}\t{path}" for path, (mode, blob) in ((p, c or ("0", nothing)) for p, c in ordered)]
        with tempfile.TemporaryDirectory(dir=self.path) as folder:
            env = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            self.run("read-tree", *(["--empty"] if commit is None else [commit]), env=env)
            told = "".join(f"{line}\0" for line in lines).encode(errors="surrogateescape")
            self.run("update-index", "--replace", "-z", "--index-info", input=told, env=env)
            return self.run("write-tree", env=env).decode().strip()

    def with_folder(self, commit: str | None, folder: str, tree: str) -> str:
        """Store a tree in which a folder has another tree's content, and return its id."""
        with tempfile.TemporaryDirectory(dir=self.path) as place:
            env = {"GIT_INDEX_FILE": str(Path(place) / "index")}
            self.run("read-tree", *(["--empty"] if commit is None else [commit]), env=env)
            self.run("rm", "-r", "--cached", "--quiet", "--ignore-unmatch", "--", folder, env={**env, **_LITERAL})
            self.run("read-tree", "-i", f"--prefix={folder}/", tree, env=env)
            return self.run("write-tree", env=env).decode().strip()


def _limits() -> list[str]:
    """Return what sets the limits of a process and its children before it starts (util-linux, prlimit)."""
    found = shutil.which("prlimit")
    if found is None:
        raise GitMissing
    return [found, f"--fsize={MAX_FILE_BYTES}", f"--cpu={CPU_SECONDS}", "--"]


_LITERAL = {"GIT_LITERAL_PATHSPECS": "1"}


def _feed(pipe: IO[bytes] | None, content: bytes) -> None:
    assert pipe is not None
    with suppress(OSError):  # It ended before it read everything; its status says why.
        pipe.write(content)
        pipe.close()


def _kill(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
