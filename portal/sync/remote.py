"""The repository at GitLab, over HTTPS: fetch a branch, push one, list them.

The token is in the environment of git and its children only, never in an address, an argument, a file or a message
(S95). Git connects to addresses that the network policy has checked, and follows no redirect (S94).
"""

from __future__ import annotations

import base64
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from portal.connections.models import Connection
from portal.connections.store import open_host_session
from portal.credentials import AccessUnavailable, demand_access
from portal.errors import Card
from portal.foreign import clean
from portal.net import ConnectFailed, HostSession, NameNotResolved, OutboundError, Purpose, Route, TLSFailed
from portal.redaction import register
from portal.runtime import Runtime
from portal.sync.git import GitFailed, Repository, is_branch_name
from portal.vault import Secret

# Of one fetch or push.
SECONDS = 600.0
LIST_SECONDS = 60.0
# info/refs, ls-refs and fetch (git-scm.com/docs/protocol-v2); a push needs two.
REQUESTS = 3
MAX_REFS_BYTES = 16 * 1024 * 1024
ATTEMPTS = 2
# Of what GitLab's server said, the lines that people are shown.
SHOWN_LINES = 4
_REMOTE = re.compile(r"^remote: ?(.*?)\s*$", re.MULTILINE)
_STATUS = re.compile(r"returned error: (\d{3})|HTTP (\d{3})")
# A line of `push --porcelain`.
_REJECTED = re.compile(r"^!\t[^\t]*\t\[(?:remote )?(?:rejected|failure)\].*$", re.MULTILINE)
_TRANSPORT = (
    ("Could not resolve host", NameNotResolved()),
    ("Failed to connect", ConnectFailed()),
    ("Connection refused", ConnectFailed()),
    ("certificate", TLSFailed("failed")),
)
# What GitLab's hook says if a rule of the repository protects the branch (gitlab.com, lib/gitlab/checks).
_PROTECTED = re.compile(
    r"protected branch|not allowed to (?:push code|force push|create|delete)|branch is protected", re.IGNORECASE
)
_NO_PUSH = re.compile(r"not allowed to push|You are not allowed to|archived", re.IGNORECASE)


class RemoteFailed(Exception):
    """GitLab, or the way to it, did not do what git asked; the card says why.

    Attributes:
        is_passing: whether trying again later may help.
    """

    def __init__(self, card: Card, *, is_passing: bool = False, after_seconds: float | None = None) -> None:
        super().__init__(card.code)
        self.card, self.is_passing, self.after_seconds = card, is_passing, after_seconds


class Push(StrEnum):
    """How a push ended."""

    DONE = "done"
    # The branch is no longer where it was: look again.
    MOVED = "moved"
    # A rule of the repository protects the branch.
    PROTECTED = "protected"
    REFUSED = "refused"


@dataclass(frozen=True)
class Pushed:
    """The outcome of a push, with GitLab's words if it refused it."""

    result: Push
    words: str = ""


@dataclass(frozen=True)
class Remote:
    """One repository at the GitLab of a connection, for one run. Made by `open_remote`."""

    runtime: Runtime
    connection: Connection
    http: HostSession
    route: Route
    url: str

    def branches(self, git: Repository) -> dict[str, str]:
        """Return the commit of every branch, by name; those with names that are not used here are left out.

        Raises:
            RemoteFailed.
        """
        output = self._run(git, "ls-remote", "--heads", "--quiet", "--", self.url, seconds=LIST_SECONDS)
        found = {}
        for line in output.decode(errors="replace").splitlines():
            commit, _, ref = line.partition("\t")
            name = ref.removeprefix("refs/heads/")
            if is_branch_name(name):
                found[name] = commit
        return found

    def fetch(self, git: Repository, branch: str, ref: str) -> str | None:
        """Fetch a branch into one of our refs and return its commit; None if GitLab has no such branch.

        Raises:
            RemoteFailed.
        """
        known = git.head(ref)
        try:
            arguments = (
                "fetch",
                "--quiet",
                "--no-tags",
                "--no-write-fetch-head",
                "--no-auto-gc",
                "--no-show-forced-updates",
            )
            self._run(git, *arguments, "--", self.url, f"+refs/heads/{branch}:{ref}")
        except _Missing:
            if known:
                git.move(ref, None, known)
            return None
        return git.head(ref)

    def push(self, git: Repository, commit: str, branch: str, expected: str | None) -> Pushed:
        """Move a branch to a commit that comes from the expected one; GitLab refuses it if it is elsewhere (S98).

        Args:
            git: with the commit.
            commit: where to.
            branch: at GitLab.
            expected: where it is; None: it does not exist.

        Raises:
            RemoteFailed: it is not known whether it was done.
        """
        lease = f"--force-with-lease=refs/heads/{branch}:{expected or ''}"
        try:
            arguments = ("push", "--porcelain", "--quiet", "--no-verify", "--no-follow-tags", lease)
            self._run(git, *arguments, "--", self.url, f"{commit}:refs/heads/{branch}")
        except _Rejected as error:
            said = error.words
            if "stale info" in error.reason or "fetch first" in error.reason or "non-fast-forward" in error.reason:
                return Pushed(Push.MOVED)
            if "cannot lock ref" in error.reason or "failed to update ref" in error.reason:
                return Pushed(Push.MOVED)
            kind = Push.PROTECTED if _PROTECTED.search(said) else Push.REFUSED
            return Pushed(kind, said or clean(error.reason, is_sentence=True))
        return Pushed(Push.DONE)

    def _run(self, git: Repository, *arguments: str, seconds: float = SECONDS) -> bytes:
        """Run a command that talks to GitLab, once more with another token if GitLab refuses the first."""
        refused: Secret | None = None
        for attempt in range(ATTEMPTS):
            try:
                access = demand_access(self.runtime, self.connection.id or 0, reason="source sync")
            except AccessUnavailable as error:
                raise RemoteFailed(
                    error.card, is_passing=error.is_passing, after_seconds=error.after_seconds
                ) from error
            if refused is not None and access.token == refused:
                break
            with self.http.turn(REQUESTS, seconds) as rest:
                if rest is not None:
                    raise RemoteFailed(Card("gitlab_rate_limited"), is_passing=True, after_seconds=rest)
                try:
                    with self._config(access.token) as (config, files):
                        return git.run(
                            *arguments,
                            config=config,
                            env={"GIT_ALLOW_PROTOCOL": self.connection.api_url.partition(":")[0]},
                            seconds=seconds,
                            max_bytes=MAX_REFS_BYTES,
                            passed=files,
                        )
                except GitFailed as error:
                    failure = _read_failure(error)
            if not isinstance(failure, _Unauthorized) or attempt + 1 == ATTEMPTS:
                raise failure
            refused = access.token
        raise RemoteFailed(Card("git_refused", {"case": "credentials"}))

    @contextmanager
    def _config(self, token: Secret) -> Iterator[tuple[list[tuple[str, str]], list[int]]]:
        basic = base64.b64encode(f"oauth2:{token.reveal()}".encode()).decode()
        register(basic)
        route = self.route
        config = [
            ("http.extraHeader", f"Authorization: Basic {basic}"),
            *(("http.extraHeader", f"{name}: {value}") for name, value in route.headers.items()),
            *(("http.curloptResolve", pin) for pin in route.pinned),
            ("http.proxy", route.proxy),
            ("http.sslVerify", "true"),
        ]
        files: list[int] = []
        try:
            if route.ca_certificate:
                config.append(("http.sslCAInfo", _in_memory("ca", route.ca_certificate, files)))
            if route.gateway and route.gateway.certificate and route.gateway.key:
                config.append(("http.sslCert", _in_memory("certificate", route.gateway.certificate, files)))
                config.append(("http.sslKey", _in_memory("key", route.gateway.key.reveal(), files)))
            with tempfile.TemporaryDirectory() as nothing:
                if route.ca_certificate:
                    config.append(("http.sslCAPath", nothing))
                yield config, files
        finally:
            for file in files:
                os.close(file)


@contextmanager
def open_remote(runtime: Runtime, connection: Connection, path: str) -> Iterator[Remote]:
    """Yield a repository by its path, reached the way its GitLab is.

    Raises:
        RemoteFailed: it cannot be reached.
    """
    with open_host_session(runtime, connection, is_background=True, purpose=Purpose.SYNC) as http:
        try:
            route = http.route()
        except OutboundError as error:
            raise RemoteFailed(error.card(), is_passing=True) from error
        url = f"{connection.api_url}/{quote(path)}.git"
        yield Remote(runtime, connection, http, route, url)


class _Missing(Exception):
    """GitLab has no such branch."""


class _Rejected(Exception):
    """GitLab refused to move a branch."""

    def __init__(self, reason: str, words: str) -> None:
        super().__init__(reason)
        self.reason, self.words = reason, words


class _Unauthorized(RemoteFailed):
    """GitLab refused the token."""


def _read_failure(error: GitFailed) -> Exception:
    """Return what a failed fetch or push means."""
    text = f"{error.output}\n{error.errors}"
    # What the server wrote, without its frame of `=` and empty lines.
    lines = [line for line in _REMOTE.findall(text) if line.strip(" =-")]
    words = clean(" ".join(lines[:SHOWN_LINES]), is_sentence=True)
    if error.is_late:
        return RemoteFailed(Card("git_slow"), is_passing=True)
    if "couldn't find remote ref" in text:
        return _Missing()
    if found := _REJECTED.search(text):
        return _Rejected(found[0], words)
    if "mismatched algorithms" in text or "object format" in text:
        return RemoteFailed(Card("git_sha256"))
    if "fsck" in text or "badTree" in text or "unpack-objects" in text or "index-pack" in text:
        return RemoteFailed(Card("git_unsafe", words=clean(_fatal(text), is_sentence=True)))
    if "File too large" in text or error.status in {-25, -9}:
        return RemoteFailed(Card("git_too_large"))
    status = next((int(a or b) for a, b in _STATUS.findall(text)), 0)
    if "Authentication failed" in text or "could not read Username" in text or status == 401:
        return _Unauthorized(Card("git_refused", {"case": "credentials"}, words=words))
    if status == 403 or _NO_PUSH.search(words):
        return RemoteFailed(Card("git_refused", {"case": "role"}, words=words))
    if status == 404 or "not found" in text:
        return RemoteFailed(Card("git_refused", {"case": "hidden"}, words=words))
    for sign, failure in _TRANSPORT:
        if sign in text:
            return RemoteFailed(failure.card(), is_passing=True)
    return RemoteFailed(Card("git_failed", words=words or clean(_fatal(text), is_sentence=True)), is_passing=True)


def _fatal(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith(("fatal:", "error:"))]
    return lines[-1] if lines else ""


def _in_memory(name: str, text: str, files: list[int]) -> str:
    """Return the path of a file that exists only in memory, for git and its children."""
    file = os.memfd_create(name, 0)
    os.write(file, text.encode())
    files.append(file)
    return f"/proc/self/fd/{file}"
