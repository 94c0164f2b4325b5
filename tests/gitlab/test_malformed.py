from __future__ import annotations

from collections.abc import Callable

import pytest

from portal.errors import Layer
from portal.gitlab import oauth
from portal.gitlab.administration import OneTimeClient
from portal.gitlab.answers import GitLabError
from portal.gitlab.client import GitLabClient
from portal.gitlab.identification import identify
from portal.net import HostSession, OutboundError
from portal.vault import Secret
from tests.gitlab.malformed import CASES, ScriptedServer

APPLICATION = oauth.ClientCredentials("client", Secret("gloas-" + "9b1e" * 16))
TOKEN = Secret("7f3a" * 16)
CALLBACK = "http://127.0.0.1:8000/oauth/callback/gitlab"

BAD_ROWS = ("ids_repeat", "ids_go_backwards", "id_as_float", "name_is_a_list", "name_is_null")
CALLS: dict[str, Callable[[HostSession], object]] = {
    "user": lambda http: client(http).current_user(),
    "metadata": lambda http: client(http).metadata(),
    "token_info": lambda http: oauth.token_info(http, TOKEN),
    "identification": identify,
    "projects": lambda http: client(http).projects_page(id_after=0),
    "newest_project": lambda http: client(http).newest_project(),
    "groups": lambda http: list(client(http).group_pages()),
    "exchange": lambda http: oauth.exchange_code(http, APPLICATION, "c0de" * 16, CALLBACK, oauth.new_verifier()),
    "refresh": lambda http: oauth.refresh(http, APPLICATION, TOKEN, CALLBACK),
    "revoke": lambda http: oauth.revoke(http, APPLICATION, TOKEN),
    "check_client": lambda http: oauth.check_client(http, APPLICATION, CALLBACK),
    "create_application": lambda http: OneTimeClient(http, TOKEN).create_application("/applications", {"name": "x"}),
    "applications": lambda http: list(OneTimeClient(http, TOKEN).applications("/applications")),
}
# Bodies that this endpoint may legitimately give: `/oauth/revoke` answers any object, and a bad row only loses that row
# of a list.
HONEST = {
    *((endpoint, case) for endpoint in ("projects", "newest_project", "applications") for case in BAD_ROWS),
    ("revoke", "id_as_text"),
    ("revoke", "empty_object"),
    ("revoke", "object_for_list"),
    ("revoke", "lone_surrogate_key"),
    # GitLab's IAM service answers nothing; whether the token is dead is checked afterwards anyway.
    ("revoke", "empty"),
    ("revoke", "no_content"),
}


def client(http: HostSession) -> GitLabClient:
    return GitLabClient(http, TOKEN, sleep=lambda seconds: None)


def test_there_are_at_least_forty_of_them() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("endpoint", CALLS)
def test_malformed_answer_is_a_card_that_names_the_layer(
    server: ScriptedServer, http: HostSession, endpoint: str, case: str
) -> None:
    server.answer = CASES[case]

    try:
        CALLS[endpoint](http)
    except (GitLabError, OutboundError) as error:
        card = error.card()
        assert card.layer in Layer
        assert card.sentence.endswith(".")
        assert len(card.words) <= 200
        assert "\x1b" not in card.words + card.request_id
    else:
        assert (endpoint, case) in HONEST
