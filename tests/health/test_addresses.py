"""Which of the four addresses to change, and where, if they don't agree."""

from __future__ import annotations

import pytest

from portal.connections.models import Connection
from portal.health.addresses import API, BROWSER, GIT, HOOK, what_to_change

DOMAIN, INNER, OTHER = "https://git.example.com", "https://gitlab.internal:8443", "https://old.example.com"


@pytest.mark.parametrize(
    ("told", "where", "words"),
    [
        ({"issuer": DOMAIN, "git": INNER}, "", ""),
        ({"issuer": f"{DOMAIN}:443/", "git": INNER}, "", ""),
        ({"issuer": INNER, "git": INNER}, BROWSER, f"external_url in GitLab to {DOMAIN}"),
        ({"issuer": "http://git.example.com", "git": INNER}, BROWSER, "differ in http and https"),
        (
            {"issuer": OTHER, "git": INNER},
            BROWSER,
            "change the Domain here to it. If not, have GitLab's",
        ),
        ({"issuer": OTHER, "git": OTHER}, GIT, "corrects both"),
        ({"issuer": DOMAIN, "git": OTHER}, GIT, f"Custom Git clone URL for HTTP(S): it says {OTHER}"),
        ({"issuer": DOMAIN, "git": DOMAIN}, GIT, f"If this portal cannot reach {DOMAIN}"),
        ({"failed": ["gitlab"]}, API, f"change the API URL here ({INNER})"),
        ({"failed": ["name"], "api": DOMAIN}, API, "change the Domain here"),
        ({"failed": ["token"]}, "", ""),
        ({"base_url": "http://localhost:8000", "hooks": True}, HOOK, "GATEHOUSE_BASE_URL"),
        ({"base_url": "https://10.1.2.3", "hooks": True}, HOOK, "Outbound requests"),
        ({"base_url": "https://10.1.2.3"}, "", ""),
        ({"base_url": "https://gatehouse.example.com", "hooks": True}, "", ""),
    ],
)
def test_matrix_says_which_address_to_change(told: dict[str, object], where: str, words: str) -> None:
    connection = Connection(  # type: ignore[call-arg]
        external_url=DOMAIN, api_url=told.pop("api", INNER), hooks_wanted=bool(told.pop("hooks", False))
    )

    found = what_to_change(
        connection, **{"issuer": "", "git": "", "base_url": "https://gatehouse.example.com", "failed": [], **told}
    )

    assert words in found.pop(where, "")
    assert not found or where == GIT
