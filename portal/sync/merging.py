"""Bring what is here and what is at GitLab together, so that no commit of either side is lost (S98)."""

from __future__ import annotations

from dataclasses import dataclass

from portal.sync.git import GitFailed, Person, Repository

_NO_RENAMES = (("merge.renames", "false"),)


@dataclass(frozen=True)
class Merge:
    """A tree with the changes of both sides; GitLab's version of each path in `conflicts`."""

    tree: str
    conflicts: tuple[str, ...]


def merge(repository: Repository, here: str, gitlab: str) -> Merge:
    """Return both sides in one tree."""
    tree, paths = _merge_tree(repository, here, gitlab, ())
    if paths:
        # Without renames every conflict has one path, the same on both sides.
        tree, paths = _merge_tree(repository, here, gitlab, _NO_RENAMES)
    if not paths:
        return Merge(tree, ())
    theirs = {entry.path: entry for entry in repository.entries(gitlab, is_deep=True)}
    ours = {entry.path: entry for entry in repository.entries(here, is_deep=True)}
    base = base_of(repository, here, gitlab)
    before = {entry.path: entry for entry in repository.entries(base, is_deep=True)} if base else {}
    if all(path in theirs or path in ours or path in before for path in paths):
        chosen = {path: (theirs[path].mode, theirs[path].id) if path in theirs else None for path in paths}
        return Merge(repository.changed_tree(tree, chosen), tuple(sorted(paths)))
    # A file on one side is a folder on the other: GitLab's files as they are, and whatever was changed here is decided
    # by someone.
    changed = [path for path in sorted({*ours, *before}) if ours.get(path) != before.get(path)]
    whole = repository.tree_of(gitlab)
    assert whole is not None
    return Merge(whole, tuple(path for path in changed if ours.get(path) != theirs.get(path)))


def _merge_tree(
    repository: Repository, here: str, gitlab: str, config: tuple[tuple[str, str], ...]
) -> tuple[str, set[str]]:
    """Return the merged tree, and the paths that could not be merged."""
    # Histories without a common commit are merged as if the common one were empty.
    output = repository.run(
        *("merge-tree", "--write-tree", "-z", "--no-messages", "--allow-unrelated-histories", here, gitlab),
        config=config,
        accepted=(0, 1),
    )
    tree, *lines = output.decode(errors="surrogateescape").split("\0")
    return tree, {line.partition("\t")[2] for line in lines if "\t" in line}


def base_of(repository: Repository, here: str, gitlab: str) -> str:
    """Return the commit that both sides come from; empty if there is none."""
    try:
        return repository.run("merge-base", here, gitlab).decode().split("\n")[0]
    except GitFailed as error:
        if error.status == 1:
            return ""
        raise


def merge_commit(repository: Repository, found: Merge, here: str, gitlab: str, committer: Person, parked: str) -> str:
    """Store the merge and return its commit: GitLab's history first, and the one from here within it."""
    told = "Merge changes made in Gatehouse"
    if found.conflicts:
        names = "\n".join(f"- {path}" for path in found.conflicts[:50])
        told += f"\n\nGitLab's version stays for now; the other one is on the branch {parked}:\n{names}"
    return repository.commit(found.tree, [gitlab, here], told, committer, committer)
