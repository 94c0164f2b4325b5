"""Every sequence of what GitLab can do to a pair, against an oracle: what is reported, served and asked."""

from __future__ import annotations

import pytest

from tests.support.pair_model import LETTERS, explore


@pytest.fixture
def backend() -> str:
    """The state machine knows no database."""
    return "sqlite"


@pytest.mark.parametrize(("minutes_left", "length"), [(7.0, 6), (-1.0, 5)], ids=["alive", "expired"])
@pytest.mark.parametrize("is_stateless", [False, True], ids=["doorkeeper", "iam"])
def test_every_sequence_is_told_served_and_asked_as_the_rules_say(
    minutes_left: float, length: int, *, is_stateless: bool
) -> None:
    findings = explore(length, is_stateless=is_stateless, minutes_left=minutes_left)

    assert findings.differences[:5] == []
    # Each end was reached: a model in which nothing can go wrong proves nothing.
    assert all(findings.verdicts[end] for end in ("renewed", "lost", "revoked", "open"))
    assert findings.sequences > len(LETTERS) ** (length - 1) / 3
