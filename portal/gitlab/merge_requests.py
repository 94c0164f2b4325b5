"""Branches and merge requests of a project, and new projects.

docs.gitlab.com: api/branches, api/merge_requests, api/projects ("Create a project").
"""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import quote

import msgspec

from portal.foreign import ShortText, WebAddress
from portal.gitlab.answers import API, GitLabNotFound, Id, Project, failure_of, read_answer, read_page
from portal.gitlab.client import PAGE_SECONDS, PER_PAGE, GitLabClient, Query

# GitLab's own limit (api/merge_requests, "Create MR").
MAX_TITLE = 255


class Commit(msgspec.Struct, frozen=True):
    """The head of a branch."""

    id: ShortText


class Branch(msgspec.Struct, frozen=True):
    """One of `GET …/repository/branches`."""

    name: ShortText
    commit: Commit | None = None
    protected: bool | None = None


class MergeRequest(msgspec.Struct, frozen=True):
    """One of `GET …/merge_requests`."""

    always_told: ClassVar[tuple[str, ...]] = ()

    id: Id
    iid: Id
    state: ShortText = ShortText()
    web_url: WebAddress = WebAddress()


class BranchClient(GitLabClient):
    """Reads branches, and opens merge requests, as one user."""

    def branch_head(self, project_id: int, branch: str) -> str | None:
        """Return the commit of a branch; None if there is none, or if the project is hidden."""
        try:
            found = self._get(f"/projects/{project_id}/repository/branches/{quote(branch, safe='')}", Branch)
        except GitLabNotFound:
            return None
        return found.commit.id if found.commit else None

    def branches(self, project_id: int) -> list[Branch]:
        """Return the first hundred branches by name."""
        answer = self._fetch(f"{API}/projects/{project_id}/repository/branches", {"per_page": PER_PAGE}, PAGE_SECONDS)
        return read_answer(answer, list[Branch])

    def create_project(self, namespace_id: int, name: str, path: str, visibility: str) -> Project:
        """Create a project with a README, so that it has a branch.

        Raises:
            UnexpectedStatus: 400: the path is taken, or GitLab does not allow it.
        """
        body = {"namespace_id": namespace_id, "name": name, "path": path, "visibility": visibility}
        body |= {"initialize_with_readme": True}
        answer = self._fetch(f"{API}/projects", {}, PAGE_SECONDS, method="POST", json=body)
        return read_answer(answer, Project, ok=(201,))

    def merge_request(self, project_id: int, iid: int) -> MergeRequest:
        """Return a merge request by its number in the project."""
        return self._get(f"/projects/{project_id}/merge_requests/{iid}", MergeRequest)

    def open_merge_request(self, project_id: int, source: str, target: str) -> MergeRequest | None:
        """Return the open merge request from one branch to another; GitLab allows one."""
        query: Query = {"state": "opened", "source_branch": source, "target_branch": target, "per_page": 20}
        answer = self._fetch(f"{API}/projects/{project_id}/merge_requests", query, PAGE_SECONDS)
        return next(iter(read_page(answer, MergeRequest, per_page=20).items), None)

    def create_merge_request(self, project_id: int, source: str, target: str, title: str) -> MergeRequest:
        """Open a merge request, or return the one that is open already (409)."""
        body = {"source_branch": source, "target_branch": target, "title": title[:MAX_TITLE]}
        path = f"{API}/projects/{project_id}/merge_requests"
        answer = self._fetch(path, {}, PAGE_SECONDS, method="POST", json=body)
        if answer.status == 409 and (found := self.open_merge_request(project_id, source, target)):
            return found
        if answer.status != 201:
            raise failure_of(answer)
        return read_answer(answer, MergeRequest, ok=(201,))
