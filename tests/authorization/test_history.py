"""The credential's page: its history without a secret, and what it says in each state."""

from __future__ import annotations

import pytest

from portal.credentials.models import CredentialState
from portal.runtime import Runtime
from tests.support.paired import Paired
from tests.support.visitor import Visitor

PAGE = "/connections/gitlab/credential"


def test_history_tells_each_pair_and_no_token(paired: Paired, auditor: Visitor) -> None:
    for _ in range(2):
        paired.make_due()
        paired.demand()

    page = auditor.get(PAGE)

    assert page.status_code == 200
    assert page.text.count("GitLab issued the next token") == 2
    assert "token pair 3" in page.text
    assert not any(token.access_token in page.text or token.refresh_token in page.text for token in paired.issued)


def test_dead_credential_says_why_and_who_mends_it(paired: Paired, owner: Visitor) -> None:
    paired.sandbox.world.oauth.revoke_token(paired.issued[0])
    paired.make_due()
    paired.refusal()

    page = owner.get(PAGE).text

    assert "GitLab has ended this authorization" in page
    assert "credential_revoked" in page
    assert "Authorize the connection again" in page


@pytest.mark.parametrize("state", CredentialState)
def test_every_state_has_a_word(paired: Paired, owner: Visitor, state: CredentialState) -> None:
    paired.change(state=state)

    assert owner.get(PAGE).status_code == 200


DOUBTS = {
    "refused": ({"refusals": 2}, "GitLab refused to renew the pair (2 times in a row)"),
    "client refused": ({"client_refusals": 1}, "GitLab refused the application&#39;s ID and Secret (once)"),
    "may be spent": ({"may_be_spent": True}, "so the pair may be used up"),
    "unsettled": ({"intent_id": "a", "may_be_spent": True}, "does not know whether GitLab did it"),
    "access refused": ({"is_access_refused": True}, "GitLab no longer accepts the access token"),
}


@pytest.mark.parametrize("name", DOUBTS)
@pytest.mark.parametrize("backend", ["sqlite"])
def test_doubt_is_told_in_plain_words_until_there_is_a_verdict(paired: Paired, owner: Visitor, name: str) -> None:
    columns, sentence = DOUBTS[name]
    assert "In doubt" not in owner.get(PAGE).text
    paired.change(**columns)

    page = owner.get(PAGE).text

    assert sentence in page
    assert "<h2>In doubt</h2>" in page
    paired.change(state=CredentialState.LOST)
    assert "In doubt" not in owner.get(PAGE).text


def test_connection_without_authorization_says_what_to_do(owner: Visitor, paired: Paired, runtime: Runtime) -> None:
    with runtime.database.transaction() as session:
        session.delete(paired.credential)

    assert "This connection has no credential yet" in owner.get(PAGE).text


def test_outsider_finds_nothing(paired: Paired, outsider: Visitor) -> None:
    assert outsider.get(PAGE).status_code == 404
