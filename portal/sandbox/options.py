"""What one sandbox is given at start and never changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Edition = Literal["ee", "ce"]

DEFAULT_PORT = 8929
DEFAULT_VERSION = "18.5.0"
DEFAULT_PROJECT_COUNT = 60


@dataclass(frozen=True)
class SandboxOptions:
    """How one sandbox is set up.

    Attributes:
        external_url: the address GitLab believes it has (scheme, host, port, relative root); links,
            `issuer` and pagination headers use it. Empty: from the port actually bound, as `http://localhost:PORT`.
        host: where to listen; loopback only.
        port: 0 lets the system choose.
        relative_root: a sub-path such as `/gitlab`, or empty.
        version: `major.minor.patch`; decides which endpoints and fields exist.
        project_count: how many projects exist; the first 60 hold one of each special kind.
        seed: shifts the generated attributes of projects beyond the first 60.
        history: how much happens in each project, compared with an ordinary one.
        with_service_user: also create `gatehouse` (password `sandbox-gatehouse`), Maintainer on most groups.
        iam: GitLab's IAM service answers for OAuth from the start; see `portal.sandbox.oauth.iam`.
        control: offer `/-/sandbox/…`, which sets faults and switches over HTTP.
    """

    external_url: str = ""
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    relative_root: str = ""
    version: str = DEFAULT_VERSION
    edition: Edition = "ee"
    project_count: int = DEFAULT_PROJECT_COUNT
    seed: int = 0
    history: float = 1.0
    with_service_user: bool = False
    iam: bool = False
    control: bool = False

    def __post_init__(self) -> None:
        if self.relative_root and not (self.relative_root.startswith("/") and not self.relative_root.endswith("/")):
            raise ValueError("relative_root is empty or starts with a slash and does not end with one")
        if self.project_count < 0:
            raise ValueError("project_count is not negative")
