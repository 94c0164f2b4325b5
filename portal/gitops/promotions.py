"""A promotion: one line of a file of the default branch gets another version, as a commit or a merge request.

Where a version is written is a convention, so that nothing has to be configured: the file `deploy/NAME.yaml` of an
environment (`/` in its name is `-`), and in it the first line that names an image with a tag, or a version.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from portal.actor import Principal
from portal.credentials import AccessUnavailable
from portal.errors import Conflict, InvalidInput
from portal.gitlab.answers import GitLabError
from portal.gitlab.environments import Environment, EnvironmentClient
from portal.gitops.environments import Line, asking, changing, find_enabled, record_request
from portal.net import OutboundError
from portal.repositories.selection import Row
from portal.runtime import Runtime

FOLDER = "deploy"
ENDINGS = (".yaml", ".yml", ".json", ".toml", ".env")
# Lines of the file around the one that changes.
CONTEXT = 2
MAX_LINE = 2000
_LINE = re.compile(
    r"""(?P<before>\s*(?:-\s+)?["']?(?:image|version|tag|targetRevision|IMAGE|VERSION|TAG)["']?\s*[:=]\s*["']?(?:[^\s"'#]*:)?)"""
    r"""(?P<version>[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127})(?P<after>["']?,?\s*(?:\#.*)?)"""
)
_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}")


@dataclass(frozen=True)
class Stage:
    """One card of the workflow: an environment, and which version its file names."""

    line: Line
    path: str
    version: str
    # What comes before it, and can be brought here; empty for the first.
    earlier: str

    @property
    def name(self) -> str:
        """Of the environment."""
        return str(self.line.environment.name)


@dataclass(frozen=True)
class Workflow:
    """The default branch, and the environments that a promotion leads through, production last."""

    branch: str
    is_protected: bool
    stages: list[Stage]
    # Of the open merge request that brings the earlier version to the last stage; empty if there is none.
    proposed: str = ""


@dataclass(frozen=True)
class Preview:
    """What a promotion would change.

    Attributes:
        known: the commit that changed the file last; the promotion is refused once there is a newer one.
        diff: lines, each with `-`, `+` or a blank before it.
    """

    stage: Stage
    version: str
    known: str
    diff: list[tuple[str, str]]
    content: str
    branch: str
    is_protected: bool


def load_workflow(runtime: Runtime, row: Row, lines: list[Line]) -> Workflow | None:
    """Return the workflow; None if no environment has such a file, or if GitLab can't be asked."""
    branch, project_id = row.repository.default_branch or "", row.repository.gitlab_project_id
    by_path = {path_of(line.environment, ending): line for line in lines for ending in ENDINGS}
    if not branch:
        return None
    try:
        with asking(runtime, row) as client:
            paths = [path for path in client.folder(project_id, branch, FOLDER) if path in by_path]
            stages: list[Stage] = []
            for path in sorted(paths, key=lambda one: lines.index(by_path[one]), reverse=True)[-2:]:
                found = client.file(project_id, branch, path)
                version = version_in(found.text or "") if found else ""
                if version:
                    earlier = stages[-1].version if stages else ""
                    stages.append(Stage(by_path[path], path, version, earlier))
            if not stages:
                return None
            last, is_protected = stages[-1], _is_protected(client, project_id, branch)
            opened = None
            if is_protected and last.earlier not in {"", last.version}:
                opened = client.open_merge_request(project_id, _source(last.name, last.earlier), branch)
            url = str(opened.web_url) if opened else ""
            return Workflow(branch, is_protected, stages, url if url.startswith(("https://", "http://")) else "")
    except (GitLabError, OutboundError, AccessUnavailable):
        return None


def preview(runtime: Runtime, row: Row, workflow: Workflow, name: str, version: str) -> Preview:
    """Return what a promotion to an environment would change.

    Raises:
        InvalidInput: the version can't be used. Conflict: there is nothing to change.
    """
    stage = next((one for one in workflow.stages if one.name == name), None)
    if stage is None:
        raise Conflict("No file in the folder deploy says which version runs there.")
    if not _VERSION.fullmatch(version):
        raise InvalidInput("Enter a version of letters, digits, and . _ + or -.")
    try:
        with changing(runtime, row, "The file could not be read.") as client:
            found = client.file(row.repository.gitlab_project_id, workflow.branch, stage.path)
    except GitLabError as error:
        raise Conflict(f"The file could not be read. {error.sentence}") from None
    old = found.text if found else None
    if found is None or old is None or not version_in(old):
        raise Conflict("The file has changed, and no longer says which version runs there.")
    if version_in(old) == version:
        raise Conflict(f"{version} is there already.")
    new = with_version(old, version)
    return Preview(
        stage, version, str(found.last_commit_id), _diff(old, new), new, workflow.branch, workflow.is_protected
    )


def promote(
    runtime: Runtime, principal: Principal, repository_id: int, workflow: Workflow, name: str, version: str, known: str
) -> str:
    """Commit the change as it was shown, or open a merge request for it; return that one's address.

    A promotion that was cut off is taken up: its branch has a name that says what it changes.

    Raises:
        Conflict: the file has changed since, or GitLab refuses it.
    """
    row = find_enabled(runtime, principal, repository_id)
    shown = preview(runtime, row, workflow, name, version)
    if shown.known != known:
        raise Conflict("The file has changed since this was shown. Look at the change again.")
    record_request(runtime, principal, repository_id, "environment.promotion_requested", name, version=version)
    project_id, title = row.repository.gitlab_project_id, f"Bring {version} to {name}"
    action = {"action": "update", "file_path": shown.stage.path, "content": shown.content, "last_commit_id": known}
    body = {
        "commit_message": title,
        "author_name": principal.name,
        "author_email": principal.email,
        "actions": [action],
    }
    try:
        with changing(runtime, row, "Nothing was changed.") as client:
            if not shown.is_protected:
                client.commit_file(project_id, {**body, "branch": shown.branch})
                return ""
            source = _source(name, version)
            if client.branch_head(project_id, source) is None:
                client.commit_file(project_id, {**body, "branch": source, "start_branch": shown.branch})
            return str(client.create_merge_request(project_id, source, shown.branch, title).web_url)
    except GitLabError as error:
        raise Conflict(f"Nothing was changed. GitLab says: {error.words or error.sentence}") from None


def path_of(environment: Environment, ending: str) -> str:
    """Return the path of the file that says what runs in an environment."""
    return f"{FOLDER}/{environment.name.replace('/', '-')}{ending}"


def version_in(text: str) -> str:
    """Return the version that a file names first; empty if it names none."""
    return next((match["version"] for line in text.splitlines() if (match := _match(line))), "")


def with_version(text: str, version: str) -> str:
    """Return the file with another version in the place of the first one; nothing else changes."""
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        bare = line.rstrip("\r\n")
        if match := _match(bare):
            lines[number] = match["before"] + version + match["after"] + line[len(bare) :]
            break
    return "".join(lines)


def _source(name: str, version: str) -> str:
    """Return the branch of a promotion: the same one for the same change."""
    return f"gatehouse/{name.replace('/', '-')}-{version}"


def _match(line: str) -> re.Match[str] | None:
    return _LINE.fullmatch(line) if len(line) <= MAX_LINE else None


def _diff(old: str, new: str) -> list[tuple[str, str]]:
    before, after = old.splitlines(), new.splitlines()
    at = next(number for number, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1])
    around = [(" ", line) for line in before[max(0, at - CONTEXT) : at]]
    return [*around, ("-", before[at]), ("+", after[at]), *((" ", line) for line in before[at + 1 : at + 1 + CONTEXT])]


def _is_protected(client: EnvironmentClient, project_id: int, branch: str) -> bool:
    """Return whether a rule of the repository protects the branch; what GitLab does not say counts as protected."""
    found = next((one for one in client.branches(project_id) if one.name == branch), None)
    return found is None or found.protected is not False
