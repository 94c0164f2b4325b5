"""A child of `bench.sync_kills`: changes random files of a site, and prints each commit once it is made."""

from __future__ import annotations

import random
import sys

from portal import build_runtime
from portal.accounts.principal import load_principal
from portal.errors import Conflict
from portal.settings import Settings
from portal.sync import files
from portal.sync.store import HERE, get_site, repository_of

FILES = 12


def main() -> None:
    """Edit until killed."""
    slug, user_id, organization_id = sys.argv[1:]
    runtime = build_runtime(Settings.from_environ())
    with runtime.database.reading() as session:
        principal = load_principal(session, int(user_id), int(organization_id))
    assert principal is not None
    while True:
        site = get_site(runtime, principal, slug).site
        own = repository_of(runtime, site)
        path, head = f"file-{random.randrange(FILES)}.md", own.head(HERE) or ""
        entry = own.entry(head, path)
        try:
            commit = files.save_file(
                runtime, principal, slug, path, f"here {random.random()}\n", entry.id if entry else None
            ).head
        except Conflict:
            continue
        print(commit, flush=True)


if __name__ == "__main__":
    main()
