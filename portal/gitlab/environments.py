"""Environments of a project, and the files that say what runs there.

docs.gitlab.com: api/environments, api/repositories, api/repository_files, api/commits.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, ClassVar
from urllib.parse import quote

import msgspec

from portal.foreign import Foreign, Path, PersonName, ShortText, Title, WebAddress
from portal.gitlab.answers import API, GitLabNotFound, Id, Moment, failure_of, read_answer, read_page
from portal.gitlab.client import PAGE_SECONDS, PER_PAGE, Query
from portal.gitlab.merge_requests import BranchClient

# A file that says which version is deployed is small; what is larger is something else.
MAX_FILE_BYTES = 256 * 1024


class Encoded(Foreign):
    """The content of a file in Base64, which has no character that would be cleaned."""

    __slots__ = ()
    limit = 2 * MAX_FILE_BYTES


class Deployer(msgspec.Struct, frozen=True):
    """Who deployed."""

    name: PersonName = PersonName()


class Deployment(msgspec.Struct, frozen=True):
    """The newest deployment to an environment."""

    ref: ShortText = ShortText()
    sha: ShortText = ShortText()
    status: ShortText = ShortText()
    created_at: Moment | None = None
    user: Deployer | None = None

    @property
    def version(self) -> str:
        """A tag, or the beginning of the commit."""
        is_tag = self.ref[:2].strip("v").isdigit()
        return self.ref if is_tag else self.sha[:8]


class Environment(msgspec.Struct, frozen=True):
    """One of `GET …/environments`; only a single one has its deployment. The tier is told since 13.10."""

    always_told: ClassVar[tuple[str, ...]] = ()

    id: Id
    name: Title
    state: ShortText = ShortText()
    tier: ShortText = ShortText()
    external_url: WebAddress | None = None
    auto_stop_at: Moment | None = None
    last_deployment: Deployment | None = None


class Entry(msgspec.Struct, frozen=True):
    """One of `GET …/repository/tree`; its id is text."""

    path: Path
    type: ShortText = ShortText()


class File(msgspec.Struct, frozen=True):
    """`GET …/repository/files/:path`."""

    content: Encoded = Encoded()
    encoding: ShortText = ShortText()
    last_commit_id: ShortText = ShortText()
    size: int = 0

    @property
    def text(self) -> str | None:
        """Its text; None if it is not text."""
        try:
            return base64.b64decode(self.content).decode() if self.encoding == "base64" else None
        except (binascii.Error, UnicodeDecodeError):
            return None


class EnvironmentClient(BranchClient):
    """Reads and changes environments, and files of a branch, as one user."""

    def environments(self, project_id: int) -> list[Environment]:
        """Return the first hundred environments by name, without their deployments."""
        answer = self._fetch(f"{API}/projects/{project_id}/environments", {"per_page": PER_PAGE}, PAGE_SECONDS)
        return read_page(answer, Environment, per_page=PER_PAGE).items

    def environment(self, project_id: int, environment_id: int) -> Environment:
        """Return one environment with its newest deployment."""
        return self._get(f"/projects/{project_id}/environments/{environment_id}", Environment)

    def create_environment(self, project_id: int, name: str, external_url: str, tier: str) -> Environment:
        """Create an environment.

        Raises:
            UnexpectedStatus: 400, GitLab does not accept the name, or there is one of that name.
        """
        body = {"name": name, "external_url": external_url, "tier": tier}
        told = {key: value for key, value in body.items() if value}
        found: Environment = self._sent("POST", f"/projects/{project_id}/environments", told, Environment)
        return found

    def stop_environment(self, project_id: int, environment_id: int) -> None:
        """Stop an environment; GitLab runs the job that stops it, if it has one."""
        path = f"/projects/{project_id}/environments/{environment_id}/stop"
        self._sent("POST", path, {}, Environment)

    def delete_environment(self, project_id: int, environment_id: int) -> None:
        """Delete a stopped environment; one that is gone already is no failure.

        Raises:
            ForbiddenByRole: it is not stopped, or the role is too low.
        """
        path = f"{API}/projects/{project_id}/environments/{environment_id}"
        answer = self._fetch(path, {}, PAGE_SECONDS, method="DELETE")
        if answer.status not in {200, 202, 204, 404}:
            raise failure_of(answer)

    def folder(self, project_id: int, ref: str, path: str) -> list[str]:
        """Return the paths of the first hundred files of a folder; none if there is no such folder."""
        query: Query = {"ref": ref, "path": path, "per_page": PER_PAGE}
        try:
            answer = self._fetch(f"{API}/projects/{project_id}/repository/tree", query, PAGE_SECONDS)
            return [str(entry.path) for entry in read_answer(answer, list[Entry]) if entry.type == "blob"]
        except GitLabNotFound:
            return []

    def file(self, project_id: int, ref: str, path: str) -> File | None:
        """Return a file; None if there is none, or if it is larger than what is read here."""
        address = f"{API}/projects/{project_id}/repository/files/{quote(path, safe='')}"
        try:
            found = read_answer(self._fetch(address, {"ref": ref}, PAGE_SECONDS), File)
        except GitLabNotFound:
            return None
        return found if found.size <= MAX_FILE_BYTES else None

    def commit_file(self, project_id: int, body: dict[str, Any]) -> None:
        """Commit what the actions say, all of it or nothing (`POST …/repository/commits`).

        Raises:
            UnexpectedStatus: 400, a file has changed since, or the branch is there already.
        """
        self._sent("POST", f"/projects/{project_id}/repository/commits", body, Committed)

    def _sent(self, method: str, path: str, body: dict[str, Any], shape: type[Any]) -> Any:
        answer = self._fetch(API + path, {}, PAGE_SECONDS, method=method, json=body)
        if answer.status not in {200, 201}:
            raise failure_of(answer)
        return read_answer(answer, shape, ok=(200, 201))


class Committed(msgspec.Struct, frozen=True):
    """What a commit is answered with."""

    id: ShortText
