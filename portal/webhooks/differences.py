"""What is wrong with a hook, from what GitLab lists. Pure: it asks neither GitLab nor the database."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from portal.gitlab.hooks import Hook as Listed
from portal.gitlab.hooks import Hooks, Level

PATH = "/webhooks/gitlab/"
_PUBLIC_ID = re.compile(re.escape(PATH) + r"([A-Za-z0-9_-]{16,40})$")


class Difference(StrEnum):
    """One thing that differs from what is wanted; the value is stored, its words are in `SENTENCES`."""

    MISSING = "missing"
    ORPHAN = "orphan"
    DUPLICATE = "duplicate"
    INHERITED = "inherited"
    URL = "url"
    SECRET = "secret"
    SIGNATURE = "signature"
    ROTATION = "rotation"
    EVENTS = "events"
    DISABLED = "disabled"
    TLS = "tls"
    FILTER = "filter"


SENTENCES: dict[str, str] = {
    Difference.MISSING: "It was no longer there",
    Difference.ORPHAN: "One from an earlier installation was taken over or removed",
    Difference.DUPLICATE: "There were several; one was kept",
    Difference.INHERITED: "A webhook of its group reported the same; that one was removed",
    Difference.URL: "Its URL was not this portal's",
    Difference.SECRET: "Someone had changed its secret in GitLab",
    Difference.SIGNATURE: "Its deliveries are now signed",
    Difference.ROTATION: "It got new secrets",
    Difference.EVENTS: "It did not report the events that are needed",
    Difference.DISABLED: "GitLab had stopped sending to it",
    Difference.TLS: "It did not verify this portal's certificate",
    Difference.FILTER: "It reported only some branches",
}


@dataclass(frozen=True)
class Known:
    """What the portal knows of its hook.

    Attributes:
        public_id: in the URL of the hook, whatever the portal's address was when it was made.
        gitlab_hook_id: the one that was made; None if none was, or the answer was lost.
        is_refused: a delivery came with a wrong secret, and no valid one since.
        has_signing_token: GitLab confirmed one that the portal knows.
    """

    public_id: str
    url: str
    level: Level
    events: frozenset[str]
    gitlab_hook_id: int | None = None
    is_refused: bool = False
    is_rotated: bool = False
    has_signing_token: bool = False


@dataclass(frozen=True)
class Judgement:
    """What to do: `kept` is changed if there are differences; None has to be made. The others are removed."""

    kept: Listed | None
    removed: list[Listed] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    is_doubtful: bool = False


def public_id_in(url: str | None) -> str:
    """Return the public id in the URL of one of the portal's hooks; empty if it is someone else's hook."""
    found = _PUBLIC_ID.search(url or "")
    return found[1] if found else ""


def judge(known: Known, listed: Hooks, orphans: Iterable[int] = ()) -> Judgement:
    """Compare one hook with the hooks of its project, group or instance.

    Args:
        known: what is wanted.
        listed: what GitLab returned.
        orphans: ids of those among them that this portal's address shows to be its own, and that no row knows.
    """
    mine = [hook for hook in listed.found if public_id_in(hook.url) == known.public_id]
    # Someone may have changed the URL of the one that was made.
    mine += [hook for hook in listed.found if hook.id == known.gitlab_hook_id and hook not in mine]
    lost = [hook for hook in listed.found if hook.id in set(orphans) and hook not in mine]
    mine.sort(key=lambda hook: (hook.id != known.gitlab_hook_id, hook.id))
    found: list[Difference] = []
    if not mine and not listed.is_whole:
        return Judgement(None, is_doubtful=True)
    if not mine and lost:
        mine = [lost.pop(0)]
        found.append(Difference.ORPHAN)
    if not mine:
        return Judgement(None, differences=[Difference.MISSING])
    kept, *doubles = mine
    found += [Difference.DUPLICATE] * bool(doubles) + [Difference.ORPHAN] * bool(lost)
    return Judgement(kept, [*doubles, *lost], list(dict.fromkeys(found + _differences(known, kept))))


def _differences(known: Known, hook: Listed) -> list[Difference]:
    wrong = {
        Difference.URL: hook.url != known.url,
        Difference.SECRET: known.is_refused or hook.token_present is False,
        Difference.ROTATION: known.is_rotated,
        # Versions that cannot sign do not have the field.
        Difference.SIGNATURE: hook.signing_token_present is not None
        and not (hook.signing_token_present and known.has_signing_token),
        Difference.EVENTS: any(
            is_on != (name in known.events) for name, is_on in hook.switched(known.level.events).items()
        ),
        Difference.DISABLED: (hook.alert_status or "executable") != "executable",
        Difference.TLS: hook.enable_ssl_verification is False,
        Difference.FILTER: bool(hook.push_events_branch_filter),
    }
    return [difference for difference, is_there in wrong.items() if is_there]
