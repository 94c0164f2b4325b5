"""From rows to figures: when the first commit of a merge request was written, and what happened in each week.

The definitions that reports show to people are those of this file.
"""

from __future__ import annotations

import re
import struct
from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlmodel import Session, col

from portal.ingestion.models import (
    Deployment,
    FigureBlock,
    GitCommit,
    Issue,
    Kind,
    MergeRequest,
    OpenWork,
    Reading,
    Review,
    ReviewerBlock,
)

DAY = 86_400
WEEK = 7
# `date.toordinal` of 1970-01-01.
EPOCH_DAY = 719_163
# Commits of one repository that are looked through for first commits: a few hundred bytes each.
MAX_COMMITS = 100_000
# How far back on both sides of a merge its branch may have begun.
MAX_STEPS = 2_000
# What is counted for each week. The first are numbers of things; `unknown` are merges whose first commit is not known.
# The rest are sums of seconds, over everything that was merged in the week.
COUNTED = ("commits", "opened", "merged", "closed", "issues_opened", "issues_closed", "deployments", "unknown")
LANES = (*COUNTED, "writing", "waiting", "reviewing", "unreviewed")
BLOCK_WEEKS = 26
# How long something took, together with the week of its block: below 2**30, which Python sorts fastest. What took more
# than a year and three weeks counts as that.
LENGTH_BITS = 25
LONGEST = (1 << LENGTH_BITS) - 1
_BLOCK = struct.Struct(f"<{BLOCK_WEEKS * len(LANES)}Q")
# GitLab's rule for the tier of an environment whose tier no one has set (ci/environments, "Deployment tier").
_OTHER_TIERS = re.compile(
    r"dev|review|trunk|test|tst|int|ac(ce|)pt|qa|qc|control|quality|st(a|)g|mod(e|)l|pre|demo|non"
)
_PRODUCTION = re.compile(r"pr(o|)d|live")


class Cycle(NamedTuple):
    """How many seconds a merge request took, from its first commit to the merge.

    Attributes:
        writing: until it was opened; 0 if its first commit is not known.
        waiting: until someone else first commented or approved.
        reviewing: from then to the merge.
        unreviewed: from the opening to the merge if no one else said anything.
    """

    writing: int
    waiting: int
    reviewing: int
    unreviewed: int

    @property
    def total(self) -> int:
        """All of it; from the opening if the first commit is not known."""
        return sum(self)


def week_of(at: int) -> int:
    """Return the number of the week of a time in seconds: it begins on Monday, in UTC, and week 0 with the year 1."""
    return (at // DAY + EPOCH_DAY - 1) // WEEK


def block_of(week: int) -> int:
    """Return the number of the half-year that a week is stored with."""
    return week // BLOCK_WEEKS


def packed_length(week: int, seconds: int) -> int:
    """Return a length of time as a block stores it: in the order of its weeks, then of the lengths."""
    return week % BLOCK_WEEKS << LENGTH_BITS | min(max(0, seconds), LONGEST)


def is_production(environment: str) -> bool:
    """Return whether deployments to it count: GitLab's rule for names."""
    name = environment.lower()
    return not _OTHER_TIERS.search(name) and bool(_PRODUCTION.search(name))


def cycle_of(created: int, merged: int, first_commit: int | None, first_review: int | None) -> Cycle:
    """Return how long a merge request took."""
    writing = 0 if first_commit is None else max(0, created - first_commit)
    if first_review is None or first_review > merged:
        return Cycle(writing, 0, 0, max(0, merged - created))
    first_review = max(first_review, created)
    return Cycle(writing, first_review - created, max(0, merged - first_review), 0)


def count_weeks(session: Session, repository_id: int) -> None:
    """Count everything of one repository by week, and forget that its figures are stale."""
    _trace_first_commits(session, repository_id)
    own = {table: col(table.repository_id) == repository_id for table in (MergeRequest, Review, Issue, Deployment)}
    readings = session.execute(select(Reading).where(col(Reading.repository_id) == repository_id)).scalars().all()
    if not readings:
        return
    weeks: defaultdict[int, Counter[str]] = defaultdict(Counter)
    cycles: defaultdict[int, list[int]] = defaultdict(list)
    deliveries: defaultdict[int, list[int]] = defaultdict(list)

    deployed = select(col(Deployment.updated), col(Deployment.environment)).where(own[Deployment])
    production = sorted(at for at, environment in session.execute(deployed).all() if is_production(environment))
    for at in production:
        weeks[week_of(at)]["deployments"] += 1

    columns: tuple[Any, ...] = (
        *(MergeRequest.iid, MergeRequest.state, MergeRequest.created, MergeRequest.merged, MergeRequest.closed),
        *(MergeRequest.first_commit, MergeRequest.author_id, MergeRequest.is_draft, MergeRequest.reviewer_ids),
    )
    requests = {row.iid: row for row in session.execute(select(*columns).where(own[MergeRequest])).all()}
    reviewed: dict[int, int] = {}
    answers: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    answered: set[tuple[int, int]] = set()
    said = select(col(Review.iid), col(Review.gitlab_user_id), col(Review.first)).where(own[Review])
    for iid, person, at in session.execute(said).all():
        request = requests.get(iid)
        if request is None or request.author_id == person:
            continue
        answered.add((iid, person))
        reviewed[iid] = min(reviewed.get(iid, at), at)
        week = week_of(at)
        answers[block_of(week), person].append(packed_length(week, at - request.created))
    drafts = open_issues = 0
    opened, waiting, asked = array("Q"), array("Q"), array("Q")
    for iid, state, created, merged, closed, first_commit, _, is_draft, reviewers in requests.values():
        weeks[week_of(created)]["opened"] += 1
        if merged is not None:
            week, cycle = week_of(merged), cycle_of(created, merged, first_commit, reviewed.get(iid))
            weeks[week].update(cycle._asdict() | {"merged": 1, "unknown": first_commit is None})
            cycles[block_of(week)].append(packed_length(week, cycle.total))
            place = bisect_left(production, merged)
            if place < len(production):
                deliveries[block_of(week)].append(packed_length(week, production[place] - merged))
        elif closed is not None:
            weeks[week_of(closed)]["closed"] += 1
        elif state == "opened" and is_draft:
            drafts += 1
        elif state == "opened":
            opened.append(created)
            if iid not in reviewed:
                waiting.append(created)
            for person in reviewers:
                if (iid, person) not in answered:
                    asked.extend((person, created))
    for created, closed in session.execute(select(col(Issue.created), col(Issue.closed)).where(own[Issue])).all():
        weeks[week_of(created)]["issues_opened"] += 1
        if closed is None:
            open_issues += 1
        else:
            weeks[week_of(closed)]["issues_closed"] += 1
    day = (col(GitCommit.committed) // DAY).label("day")
    counted = select(day, func.count()).where(col(GitCommit.repository_id) == repository_id).group_by(day)
    for number, count in session.execute(counted).all():
        weeks[week_of(number * DAY)]["commits"] += count
    first = min(week_of(reading.begin) for reading in readings)
    rows = []
    for block in sorted({block_of(week) for week in weeks if week >= first}):
        own_weeks = range(block * BLOCK_WEEKS, (block + 1) * BLOCK_WEEKS)
        lanes = [weeks[week][name] if week >= first and week in weeks else 0 for week in own_weeks for name in LANES]
        rows.append(
            {
                "connection_id": readings[0].connection_id,
                "repository_id": repository_id,
                "block": block,
                "lanes": _BLOCK.pack(*lanes),
                "cycles": array("I", sorted(cycles[block])).tobytes(),
                "deliveries": array("I", sorted(deliveries[block])).tobytes(),
            }
        )
    for table in (FigureBlock, ReviewerBlock, OpenWork):
        mine: Any = table.__table__.c.repository_id  # type: ignore[union-attr]
        session.execute(delete(table).where(mine == repository_id))
    if rows:
        session.execute(insert(FigureBlock), rows)
    ids = {"connection_id": readings[0].connection_id, "repository_id": repository_id}
    said_by = [
        {**ids, "block": block, "gitlab_user_id": person, "answers": array("I", sorted(some)).tobytes()}
        for (block, person), some in sorted(answers.items())
    ]
    if said_by:
        session.execute(insert(ReviewerBlock), said_by)
    packed = {"opened": opened.tobytes(), "waiting": waiting.tobytes(), "asked": asked.tobytes()}
    session.execute(insert(OpenWork), [{**ids, **packed, "drafts": drafts, "issues": open_issues}])
    session.execute(update(Reading).where(col(Reading.repository_id) == repository_id).values(is_stale=False))


def _trace_first_commits(session: Session, repository_id: int) -> None:
    """Find the first commit of each merge request that was merged with a merge commit, once its commits are there.

    A squashed or rebased branch leaves no commits behind, so its beginning stays unknown.
    """
    mine = (col(MergeRequest.repository_id) == repository_id, col(MergeRequest.is_traced).is_(False))
    columns: tuple[Any, ...] = (MergeRequest.id, MergeRequest.merge_sha)
    untraced = session.execute(select(*columns).where(*mine, col(MergeRequest.merge_sha).is_not(None))).all()
    of_commits = (col(Reading.repository_id) == repository_id, col(Reading.kind) == Kind.COMMITS)
    if not untraced or not session.execute(select(col(Reading.is_complete)).where(*of_commits)).scalar():
        return
    fields: tuple[Any, ...] = (GitCommit.sha, GitCommit.parents, GitCommit.authored, GitCommit.committed)
    found = select(*fields).where(col(GitCommit.repository_id) == repository_id)
    newest = found.order_by(col(GitCommit.committed).desc()).limit(MAX_COMMITS)
    commits = {row.sha: (row.parents, row.authored, row.committed) for row in session.execute(newest)}
    traced = [
        {"of": own_id, "at": _first_commit(commits, merge_sha)}
        for own_id, merge_sha in untraced
        if merge_sha in commits
    ]
    table = MergeRequest.__table__  # type: ignore[attr-defined]
    if traced:
        session.connection().execute(
            update(table).where(table.c.id == bindparam("of")).values(first_commit=bindparam("at"), is_traced=True),
            traced,
        )


def _first_commit(commits: dict[bytes, tuple[bytes, int, int]], merge_sha: bytes) -> int | None:
    """Return when the first commit of a merged branch was written.

    Both sides of the merge are followed back along first parents, the newer one first, until they meet.
    """
    size = len(merge_sha)
    parents = commits[merge_sha][0]
    if len(parents) != 2 * size:
        return None
    main, branch, first = parents[:size], parents[size:], None
    on_main_side = {main}
    for _ in range(MAX_STEPS):
        if branch in on_main_side or not branch:
            return first
        on_main, on_branch = commits.get(main), commits.get(branch)
        if on_main is not None and (on_branch is None or on_main[2] >= on_branch[2]):
            main = on_main[0][:size]
            on_main_side.add(main)
            continue
        if on_branch is None:
            return None  # It began before anything that is read, so there may be earlier ones.
        first = on_branch[1] if first is None else min(first, on_branch[1])
        branch = on_branch[0][:size]
    return None
