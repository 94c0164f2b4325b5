"""The files of sites in a backup: one bundle of git for each, with its whole history."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from portal.db import utc_now
from portal.settings import Settings
from portal.sync.git import Repository
from portal.sync.store import folder_of_sites

PREFIX, SUFFIX = "site-", ".bundle"
SECONDS = 3600.0


def dump(settings: Settings, target: Path) -> list[str]:
    """Write a bundle of every site, and return their names; a site without any file needs none.

    Raises:
        GitFailed, GitMissing: git could not.
    """
    names = []
    for path in sorted(folder_of_sites(settings).glob("*.git")):
        repository = Repository(path)
        if repository.run("for-each-ref", "--count=1"):
            names.append(f"{PREFIX}{path.stem}{SUFFIX}")
            repository.run("bundle", "create", "--quiet", str(target / names[-1]), "--all", seconds=SECONDS)
    return names


def load(settings: Settings, folder: Path, names: Iterable[str]) -> None:
    """Put the sites of a backup in place; what was there before is kept under another name.

    Raises:
        GitFailed, GitMissing: git could not.
    """
    for name in names:
        if not (name.startswith(PREFIX) and name.endswith(SUFFIX)):
            continue
        path = folder_of_sites(settings) / f"{name.removeprefix(PREFIX).removesuffix(SUFFIX)}.git"
        if path.exists():
            path.rename(path.with_name(f"{path.name}.before-restore-{utc_now():%Y%m%dT%H%M%S}"))
        repository = Repository(path)
        repository.create()
        told = repository.run("bundle", "unbundle", str((folder / name).resolve()), seconds=SECONDS).decode()
        refs = [line.split(" ", 1) for line in told.splitlines()]
        orders = "".join(f"create {ref} {commit}\n" for commit, ref in refs if ref.startswith("refs/"))
        repository.run("update-ref", "--stdin", input=orders.encode())
