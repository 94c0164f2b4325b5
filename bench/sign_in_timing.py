"""Whether the time of a refused sign-in reveals that an account exists: medians for unknown ones and wrong
passwords.
"""

from __future__ import annotations

import itertools
import re
import statistics

from bench.figures import console, measure, show
from bench.portal_setup import fresh_runtime, new_organization
from portal import create_app
from portal.accounts.people import add_member, check_person
from portal.actor import Role
from portal.runtime import Runtime

EMAIL, PASSWORD = "owner@example.com", "quiet lantern over marsh"
MAX_DIFFERENCE = 0.05
_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


def run(tries: int) -> None:
    """Measure, print, and say whether the medians differ by less than five per cent."""
    with fresh_runtime() as runtime:
        person = check_person("Olga Owner", EMAIL, PASSWORD)
        organization_id = new_organization(runtime)
        with runtime.database.transaction() as session:
            add_member(session, organization_id, person, Role.OWNER)
        sign_in = _signing_in(runtime)
        sign_in("warm@example.com")
        figures = measure(
            {
                "wrong password": lambda: sign_in(EMAIL),
                "unknown account": lambda: sign_in("nobody@example.com"),
                "wrong password again": lambda: sign_in(EMAIL),
            },
            tries,
        )
    show("Refused sign-in", figures, unit=1000, per="ms")
    wrong, unknown, again = (statistics.median(figure.seconds) for figure in figures)
    difference = abs(unknown - wrong) / wrong
    noise = abs(again - wrong) / wrong
    verdict = "below" if difference < MAX_DIFFERENCE else "[red]NOT below[/red]"
    console.print(f"The medians differ by {difference:.1%}, {verdict} {MAX_DIFFERENCE:.0%}; equal ones by {noise:.1%}.")


def _signing_in(runtime: Runtime):
    """Return a function that tries a wrong password from its own address, so that nothing is throttled."""
    client, numbers = create_app(runtime=runtime).test_client(), itertools.count()
    base_url = runtime.settings.base_url
    found = _TOKEN.search(client.get("/sign-in", base_url=base_url).text)
    assert found

    def sign_in(email: str) -> None:
        number = next(numbers)
        answer = client.post(
            "/sign-in",
            data={"email": email, "password": "something else entirely", "csrf_token": found[1]},
            base_url=base_url,
            headers={"Sec-Fetch-Site": "same-origin"},
            environ_overrides={"REMOTE_ADDR": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"},
        )
        assert answer.status_code == 422, answer.status_code

    return sign_in


if __name__ == "__main__":
    run(tries=1000)
