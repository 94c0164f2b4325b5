"""Git over HTTP: a real repository for each project, served by the real git, with GitLab's rights and refusals.

https://docs.gitlab.com/topics/git/, gitlab.com lib/gitlab/git_access.rb. A repository is made when it is first asked
for, with a few files, always the same.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from portal.sandbox.groups import MAINTAINER
from portal.sandbox.payloads import no_commit
from portal.sandbox.people import User
from portal.sandbox.projects import Project

if TYPE_CHECKING:
    from portal.sandbox.world import World

GIT = shutil.which("git") or "git"
PROTECTED = "GitLab: You are not allowed to push code to protected branches on this project."
FORCED = "GitLab: You are not allowed to force push code to a protected branch on this project."
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# A grey dot.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63680000008200814d1752"
    "2b0000000049454e44ae426082"
)
FILES: dict[str, bytes] = {
    "README.md": b"# {name}\n\nHow this works, and who to ask.\n",
    "index.md": b"# Welcome\n\nThis is the first page.\nIt has three lines.\n",
    "docs/guides/start.md": b"# Start here\n\n1. Read this.\n2. Ask.\n3. Do it.\n",
    "docs/on-call.md": b"# On call\n\n## At night\nCall the desk first: 555 0142.\nThen write what you did.\n",
    "images/dot.png": PNG,
    "src/main.py": b'print("{name}")\n',
}
PRE_RECEIVE = f"""#!/bin/sh
[ "$GITLAB_REFUSES" ] && {{ echo "GitLab: $GITLAB_REFUSES" >&2; exit 1; }}
while read -r old new ref; do
  for pair in $GITLAB_PROTECTED; do
    [ "$ref" = "refs/heads/${{pair%:*}}" ] || continue
    [ "$GITLAB_LEVEL" -ge "${{pair##*:}}" ] || {{ echo "{PROTECTED}" >&2; exit 1; }}
    case "$old$new" in *0000000000000000000000000000000000000000*) continue ;; esac
    git merge-base --is-ancestor "$old" "$new" || {{ echo "{FORCED}" >&2; exit 1; }}
  done
done
"""
ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "LC_ALL": "C.UTF-8",
}


@dataclass
class Proposal:
    """One merge request."""

    iid: int
    title: str
    source: str
    target: str
    author_id: int
    created: int
    state: str = "opened"


class GitStore:
    """The repositories of one sandbox, in a temporary folder."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._lock = threading.RLock()
        self._folder: Path | None = None
        # By project: branches whose rules differ, with the level that may push; the default branch needs a Maintainer.
        self.protected: dict[int, dict[str, int]] = {}
        # Projects whose default branch no rule protects.
        self.unprotected: set[int] = set()
        # Merge requests, by project.
        self.proposals: dict[int, list[Proposal]] = {}
        # What the next push is refused with, once, by project.
        self.refusals: dict[int, str] = {}

    def close(self) -> None:
        """Delete everything."""
        with self._lock:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def path(self, project: Project) -> Path:
        """Return where a project's repository is; it is made if there is none yet."""
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="sandbox-git-"))
            path = self._folder / f"{project.id}.git"
            if not path.exists():
                self._make(project, path)
            return path

    def has(self, project_id: int) -> bool:
        """Return whether a repository has been made."""
        return self._folder is not None and (self._folder / f"{project_id}.git").exists()

    def refs(self, project: Project) -> dict[str, str]:
        """Return every branch and tag with its commit."""
        lines = self.run(project, "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags")
        return {ref: commit for commit, _, ref in (line.partition(" ") for line in lines.splitlines())}

    def run(self, project: Project, *arguments: str, input: bytes = b"", env: Mapping[str, str] | None = None) -> str:
        """Run git in a project's repository; raises CalledProcessError."""
        return self.output(project, *arguments, input=input, env=env).decode(errors="replace").rstrip("\n")

    def output(
        self, project: Project, *arguments: str, input: bytes = b"", env: Mapping[str, str] | None = None
    ) -> bytes:
        """Run git in a project's repository, and return exactly what it writes; raises CalledProcessError."""
        done = subprocess.run(  # noqa: S603 - the sandbox's own arguments, for tests and newcomers
            [GIT, *arguments],
            cwd=self.path(project),
            input=input,
            capture_output=True,
            check=True,
            env={**ENVIRONMENT, **(env or {})},
        )
        return done.stdout

    def protected_of(self, project: Project) -> dict[str, int]:
        """Return the protected branches, each with the level that may push."""
        first = {} if project.id in self.unprotected else {project.default_branch: MAINTAINER}
        return first | self.protected.get(project.id, {})

    def commit(
        self,
        project_id: int,
        files: Mapping[str, bytes | None],
        message: str = "Change files",
        *,
        branch: str = "",
        start: str = "",
        author: str = "Tom Okafor",
        user: User | None = None,
    ) -> str:
        """Commit and push files as someone at work would, and return the commit; None deletes a file."""
        project = self._world.project(project_id)
        branch = branch or project.default_branch
        with self._lock:
            before = self.refs(project)
            begin = before.get(f"refs/heads/{start or project.default_branch}")
            parent = before.get(f"refs/heads/{branch}") or begin
            stream = _stream(f"refs/heads/{branch}", files, message, author, int(self._world.now().timestamp()), parent)
            self.run(project, "fast-import", "--quiet", "--force", input=stream)
            after = self.refs(project)
        self.tell(project, before, after, user)
        return after[f"refs/heads/{branch}"]

    def move_branch(self, project: Project, branch: str, commit: str | None) -> None:
        """Create or move a branch, or delete it, and have the hooks hear of it."""
        with self._lock:
            before = self.refs(project)
            ref = f"refs/heads/{branch}"
            self.run(project, "update-ref", *(("-d", ref) if commit is None else (ref, commit)))
            after = self.refs(project)
        self.tell(project, before, after, None)

    def is_branch_name(self, project: Project, name: str) -> bool:
        """Return whether git accepts it as the name of a branch."""
        try:
            self.run(project, "check-ref-format", "--branch", name)
        except subprocess.CalledProcessError:
            return False
        return True

    def has_commit(self, project: Project, name: str) -> bool:
        """Return whether it is the id of a commit."""
        if not _COMMIT.fullmatch(name):
            return False
        try:
            return self.run(project, "cat-file", "-t", name) == "commit"
        except subprocess.CalledProcessError:
            return False

    def file(self, project: Project, commit: str, path: str) -> tuple[str, str, bytes] | None:
        """Return mode, id and content of a file; None if there is none of that path."""
        if not path or not (told := self.run(project, "--literal-pathspecs", "ls-tree", "-z", commit, "--", path)):
            return None
        mode, kind, blob = told.partition("\t")[0].split()
        return (mode, blob, self.output(project, "cat-file", "blob", blob)) if kind == "blob" else None

    def entries(self, project: Project, commit: str, path: str = "", *, is_deep: bool = False) -> list[dict[str, str]]:
        """Return what is in a folder as GitLab lists it."""
        names = [f"{path.strip('/')}/"] if path.strip("/") else []
        deep = ["-r", "-t"] if is_deep else []
        told = self.run(project, "--literal-pathspecs", "ls-tree", "-z", *deep, commit, "--", *names)
        found = []
        for line in filter(None, told.split("\0")):
            (mode, kind, number), name = line.partition("\t")[0].split(), line.partition("\t")[2]
            if len(name) >= len("".join(names)):
                found.append({"id": number, "name": name.rpartition("/")[2], "type": kind, "path": name, "mode": mode})
        return sorted(found, key=lambda one: one["type"] != "tree")

    def last_commit(self, project: Project, commit: str, path: str) -> str:
        """Return the commit that changed a file last."""
        return self.run(project, "--literal-pathspecs", "log", "-1", "--format=%H", commit, "--", path)

    def describe(self, project: Project, commit: str) -> tuple[str, str, int, str, list[str]]:
        """Return author, address, time, title and parents of a commit."""
        parents, name, email, at, title = self.run(
            project, "log", "-1", "--format=%P%n%an%n%ae%n%at%n%s", commit
        ).split("\n")
        return name, email, int(at), title, parents.split()

    def merge(self, project: Project, source: str, target: str, title: str, user: User, *, squash: bool) -> None:
        """Merge a branch into another one, as a merge commit or as one commit."""
        with self._lock:
            before = self.refs(project)
            ours, theirs = before[f"refs/heads/{target}"], before[f"refs/heads/{source}"]
            tree = self.run(project, "merge-tree", "--write-tree", ours, theirs).splitlines()[0]
            who = {"GIT_AUTHOR_NAME": user.name, "GIT_AUTHOR_EMAIL": user.email}
            env = {**who, "GIT_COMMITTER_NAME": user.name, "GIT_COMMITTER_EMAIL": user.email}
            parents = ["-p", ours, *(() if squash else ("-p", theirs))]
            commit = self.run(project, "commit-tree", tree, *parents, "-m", title, env=env)
            self.run(project, "update-ref", f"refs/heads/{target}", commit, ours)
            after = self.refs(project)
        self.tell(project, before, after, user)

    def tell(self, project: Project, before: Mapping[str, str], after: Mapping[str, str], user: User | None) -> None:
        """Have the hooks hear of what a push changed."""
        nothing = no_commit(project)
        changes = [
            (before.get(ref, nothing), after.get(ref, nothing), ref)
            for ref in sorted({*before, *after})
            if before.get(ref) != after.get(ref)
        ]
        if changes:
            self._world.activity.pushed(project, changes, user)

    def serve(
        self, project: Project, variables: Mapping[str, str], body: bytes, user: User | None, level: int
    ) -> bytes:
        """Return what `git http-backend` answers: headers, an empty line and the body."""
        path = self.path(project)
        is_push = variables["PATH_INFO"].endswith("/git-receive-pack")
        env = {
            **ENVIRONMENT,
            **variables,
            "GIT_PROJECT_ROOT": str(path),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": user.username if user else "",
            "GITLAB_PROTECTED": " ".join(f"{name}:{needed}" for name, needed in self.protected_of(project).items()),
            "GITLAB_LEVEL": str(level),
            "GITLAB_REFUSES": self.refusals.pop(project.id, "") if is_push else "",
        }
        before = self.refs(project) if is_push else {}
        # The sandbox's own arguments.
        done = subprocess.run([GIT, "http-backend"], input=body, capture_output=True, check=False, env=env)  # noqa: S603
        if is_push:
            self.tell(project, before, self.refs(project), user)
        return done.stdout

    def _make(self, project: Project, path: Path) -> None:
        kind = "sha256" if project.object_format == "sha256" else "sha1"
        first = (
            GIT,
            "init",
            "--bare",
            "--quiet",
            f"--object-format={kind}",
            f"--initial-branch={project.default_branch}",
        )
        subprocess.run([*first, str(path)], check=True, capture_output=True, env=ENVIRONMENT)  # noqa: S603
        hook = path / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(PRE_RECEIVE)
        hook.chmod(0o755)
        for name, value in (("http.receivepack", "true"), ("core.logAllRefUpdates", "false"), ("gc.auto", "0")):
            self.run(project, "config", name, value)
        if not project.empty:
            files = {name: body.replace(b"{name}", project.name.encode()) for name, body in FILES.items()}
            for one in self._world.environments.of(project).values():
                if one.tier in ("production", "staging"):
                    image = (
                        f"registry.example.com/{self._world.projects.full_path(project)}:{one.ref.removeprefix('v')}"
                    )
                    files[f"deploy/{one.name}.yaml"] = f"service: {project.path}\nimage: {image}\n".encode()
            ref = f"refs/heads/{project.default_branch}"
            self.run(
                project,
                "fast-import",
                "--quiet",
                input=_stream(ref, files, "Initial commit", "Amara Okafor", project.created, None),
            )


def _stream(
    ref: str, files: Mapping[str, bytes | None], message: str, author: str, at: int, parent: str | None
) -> bytes:
    """Return a commit for `git fast-import`."""
    who = f"{author} <{author.lower().replace(' ', '.')}@example.com> {at} +0000"
    said = message.encode()
    parts = [f"commit {ref}\nauthor {who}\ncommitter {who}\ndata {len(said)}\n".encode(), said, b"\n"]
    if parent:
        parts.append(f"from {parent}\n".encode())
    for name, body in files.items():
        if body is None:
            parts.append(f"D {name}\n".encode())
        else:
            parts += [f"M 100644 inline {name}\ndata {len(body)}\n".encode(), body, b"\n"]
    return b"".join(parts)
